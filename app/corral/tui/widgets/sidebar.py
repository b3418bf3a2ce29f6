"""The conversations by folder and by day, and what a search finds in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from corral.chat import finding
from corral.chat.conversation import Conversation
from corral.errors import CorralError
from corral.store.filing import ARCHIVE, Filed, Listing
from corral.store.search import Hit
from corral.store.store import Store
from corral.text import shorten
from corral.tui import wording
from corral.tui.toasts import fail
from corral.tui.widgets.conversation_list import ConversationList, heading, is_inside, marked
from corral.tui.widgets.downloads import DownloadsPanel
from corral.tui.widgets.finder import Finder, SearchBox

LISTED = 300
"""Conversations in each part of the list; older ones are found by searching."""

FOUND = 60
PAUSE = 0.08
"""Seconds without a key before a search starts."""

ELSEWHERE = 2.0
"""Seconds between two looks at whether another corral changed the history."""

LEAST_TITLE = 16
"""Cells of a title that a note beside it may not take."""

DEEPEST = 3
"""Levels of folders that are set off from each other."""

UNTITLED = "Untitled"
_TITLE_LENGTH = 120


def title_of(conversation: Conversation, untitled: str = UNTITLED) -> str:
    return shorten(conversation.title, _TITLE_LENGTH) or untitled


class Sidebar(Vertical):
    """A search box over the list of conversations, and what is being downloaded below it.

    Args:
        clock: gives the seconds since the epoch, for the headings.
    """

    class Opened(Message):
        """A conversation was chosen, perhaps at one of its messages."""

        def __init__(self, conversation: int, message: int | None) -> None:
            super().__init__()
            self.conversation = conversation
            self.message = message

    def __init__(self, store: Store, clock: Callable[[], float], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._store = store
        self._clock = clock
        self._listing = Listing()
        self._hits: list[Hit] | None = None
        self._found_for: finding.Query | None = None
        self._searched: object = None
        """Stands for the latest search: those before it are given up."""
        self._active: int | None = None
        self._after_fold: str | None = None
        """The row of a folder that was just folded: the cursor goes there."""
        self._busy: frozenset[int] = frozenset()
        self._pause: Timer | None = None
        self.finder = Finder(store, clock, id="finder")
        self.box = self.finder.box
        self.rows = ConversationList(id="conversations", markup=False)

        self.downloads = DownloadsPanel(id="downloads")

    def compose(self) -> ComposeResult:
        yield self.finder
        yield self.rows
        yield self.downloads

    def on_mount(self) -> None:
        self.set_interval(ELSEWHERE, self._look_elsewhere)

    # --- what is listed ---------------------------------------------------------------------------

    @property
    def searching(self) -> bool:
        return bool(self.box.value)

    @property
    def chosen(self) -> Conversation | None:
        """The conversation under the cursor, while the list has the focus."""
        option = self.rows.highlighted_option
        if not self.rows.has_focus or option is None or option.id is None:
            return None
        return next((one for one in self._shown() if f"c{one.id}" == option.id), None)

    def title(self, id: int) -> str:
        """The title of a conversation, be it listed, folded away or far down."""
        listed = next((one for one in self._all_listed() if one.id == id), None)
        try:
            return title_of(listed or self._store.conversation(id))
        except CorralError:
            return UNTITLED

    def _shown(self) -> Iterable[Conversation]:
        if self._hits is None:
            return self._all_listed()
        return (hit.conversation for hit in self._hits)

    def _all_listed(self) -> Iterator[Conversation]:
        listing = self._listing
        yield from listing.recent
        for filed in (*listing.folders.values(), listing.archive):
            yield from filed.shown or ()

    async def reload(self) -> None:
        """Read the list again, and the search where there is one."""
        try:
            self._listing = await asyncio.to_thread(self._read)
        except CorralError as error:
            fail(self, error)
            return
        if self.searching:
            self._search()
        else:
            self._draw()

    def _read(self) -> Listing:
        self._store.changed_elsewhere()  # What is read now needs no other look.
        return self._store.listing(LISTED + 1)

    def _look_elsewhere(self) -> None:
        # Not a coroutine: Python complains about one that a closing screen never starts.
        self.run_worker(self._keep_up, group="elsewhere", exclusive=True, exit_on_error=False)  # type: ignore[arg-type]

    async def _keep_up(self) -> None:
        """Show what another corral did meanwhile."""
        try:
            changed = await asyncio.to_thread(self._store.changed_elsewhere)
        except CorralError:
            return
        if changed:
            await self.reload()

    def mark(self, active: int | None, busy: Iterable[int]) -> None:
        """Show which conversation is open, and where answers are being written."""
        busy = frozenset(busy)
        if (active, busy) != (self._active, self._busy):
            follow = active != self._active
            self._active, self._busy = active, busy
            self._draw(to=active if follow else None)

    def _draw(self, to: int | None = None) -> None:
        options = self._list() if self._hits is None else self._found(self._hits)
        rows = self.rows
        highlighted = rows.highlighted_option.id if rows.highlighted_option else None
        if folding := self._after_fold is not None:
            highlighted, self._after_fold = self._after_fold, None
        elif to is not None or highlighted is None:
            highlighted = f"c{self._active if to is None else to}"
        before = rows.highlighted
        position = rows.scroll_offset.y
        with self.app.batch_update():
            rows.set_options(options)
            places = [n for n, option in enumerate(options) if not option.disabled]
            at = next((n for n in places if options[n].id == highlighted), None)
            if at is None and places and (self._hits or rows.has_focus):
                # What was there is gone: the next one is as near as can be.
                at = next((n for n in places if n >= (before or 0)), places[-1])
            rows.highlighted = at
            if folding and at is not None:
                self._bring_up(options, at)
            elif to is None and not rows.has_focus:
                # Somebody may be looking through the list with the mouse.
                rows.scroll_to(y=position, animate=False)

    def _bring_up(self, options: Sequence[Option], at: int) -> None:
        """Scroll so far that a folder and as much as can be of what is in it are seen."""
        heights = [str(option.prompt).count("\n") + 1 for option in options]
        inside = next(
            (n for n in range(at + 1, len(options)) if not is_inside(options[n])), len(options)
        )
        top, height = sum(heights[:at]), self.rows.scrollable_content_region.height
        end = sum(heights[:inside])
        least = min(top, end - height)
        if self.rows.scroll_offset.y < least:
            self.call_after_refresh(self.rows.scroll_to, y=least, animate=False)

    def _list(self) -> list[Option]:
        """Pinned ones, the folders, the days, the archive."""
        listing = self._listing
        pinned = [one for one in listing.recent if one.pinned]
        options = [heading("Pinned", first=True)] if pinned else []
        options += [self._option(one) for one in pinned[:LISTED]]
        if listing.folders:
            options.append(heading("Folders", first=not options))
            options += self._folders(listing.folders)
        options += self._by_day(listing.recent[len(pinned) : LISTED], first=not options)
        if len(listing.recent) > LISTED:
            options.append(heading("Search for older ones", first=False))
        if listing.archive.count:
            options.append(Option("", disabled=True))
            options += self._filed(ARCHIVE, "Archive", listing.archive, listing.archive.count, 0)
        return options

    def _by_day(self, conversations: Sequence[Conversation], *, first: bool) -> list[Option]:
        options: list[Option] = []
        now, before = self._clock(), ""
        for conversation in conversations:
            group = wording.group(conversation.updated, now)
            if group != before:
                before = group
                options.append(heading(group, first=first and not options))
            options.append(self._option(conversation))
        return options

    def _folders(self, folders: Mapping[str, Filed]) -> list[Option]:
        options: list[Option] = []
        hidden = ""
        for name, filed in folders.items():
            if hidden and finding.is_below(name, hidden):
                continue
            hidden = name if filed.shown is None else ""
            inside = sum(
                one.count for other, one in folders.items() if finding.is_below(other, name)
            )
            level = name.count("/")
            options += self._filed(name, name.rpartition("/")[2], filed, inside, level)
        return options

    def _filed(self, name: str, title: str, filed: Filed, count: int, level: int) -> list[Option]:
        """The row of a folder, and where it is unfolded what stands directly in it."""
        space = "  " * min(level, DEEPEST)
        row = Content.assemble(
            (space + ("▸ " if filed.shown is None else "▾ "), "$quiet"),
            shorten(title, _TITLE_LENGTH),
            (f" {count}", "$quiet"),
        )
        options = [Option(row, id=f"f{name}")]
        shown = filed.shown or []
        options += [self._option(one, space + "  ") for one in shown[:LISTED]]
        if len(shown) > LISTED:
            options.append(Option(Content(f"{space}    Search for older ones"), disabled=True))
        return options

    def _option(self, conversation: Conversation, space: str = "") -> Option:
        return Option(self._row(conversation, space), id=f"c{conversation.id}")

    def _row(self, conversation: Conversation, space: str = "", note: str = "") -> Content:
        """The title, and at the right a note, else how large the model is that answered last."""
        row = Content.assemble(space, self._gutter(conversation), title_of(conversation))
        note = note or wording.model_size(conversation.answered_by or "")
        room = self.rows.scrollable_content_region.width - 2 - len(note) - 1
        if not note or room < LEAST_TITLE:
            return row
        return Content.assemble(row.truncate(room, ellipsis=True, pad=True), (f" {note}", "$quiet"))

    def on_resize(self) -> None:
        self._draw()

    def _gutter(self, conversation: Conversation) -> tuple[str, str]:
        if conversation.id in self._busy:
            return "● ", "$primary"
        if conversation.id == self._active:
            return "▸ ", "$primary"
        return ("★ ", "$primary") if conversation.pinned else ("  ", "")

    def _found(self, hits: Sequence[Hit]) -> list[Option]:
        if not hits:
            return [heading("Nothing found", first=True)]
        options: list[Option] = []
        for hit in hits:
            conversation = hit.conversation
            row = self._row(conversation, note="archived" if conversation.archived else "")
            snippet = marked(hit.snippet)
            if hit.message is not None:
                row = Content.assemble(row, "\n  ", snippet.stylize_before("$quiet"))
            elif hit.snippet:
                row = Content.assemble(self._gutter(conversation), snippet)
            options.append(Option(row, id=f"c{conversation.id}"))
        return options

    # --- searching --------------------------------------------------------------------------------

    @on(Input.Changed)
    def _on_typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._pause is not None:
            self._pause.stop()
        self._pause = self.set_timer(PAUSE, self._search)

    def _search(self) -> None:
        query = self.finder.query_typed
        self._searched = None
        if not query.words and not query.filters:
            self._hits = None
            self._draw()
            return
        self.run_worker(self._find(query), group="search", exclusive=True, exit_on_error=False)

    async def _find(self, query: finding.Query) -> None:
        mine = self._searched = object()
        try:
            hits = await asyncio.to_thread(
                self._store.search, query.words, FOUND, query.filters,
                lambda: self._searched is not mine,
            )  # fmt: skip
        except CorralError as error:
            fail(self, error)
            return
        if self.finder.query_typed == query:
            self._hits = hits
            fresh, self._found_for = query != self._found_for, query
            # The best one first, unless somebody went to another one.
            self._draw(to=hits[0].conversation.id if fresh and hits else None)

    def close_search(self) -> None:
        """Back to the list by day."""
        self._hits = self._searched = None
        self.box.value = ""
        self._draw(to=self._active)

    @on(SearchBox.Moved)
    def _on_moved(self, event: SearchBox.Moved) -> None:
        event.stop()
        getattr(self.rows, f"action_{event.action}")()

    @on(Input.Submitted)
    def _on_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.rows.action_select()

    @on(OptionList.OptionSelected)
    def _on_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_id is None:
            return
        kind, rest = event.option_id[0], event.option_id[1:]
        if kind == "f":
            self.fold(rest)
            return
        id = int(rest)
        hit = next((hit for hit in self._hits or () if hit.conversation.id == id), None)
        self.post_message(self.Opened(id, hit.message if hit else None))

    # --- folding ----------------------------------------------------------------------------------

    def fold(self, folder: str, folded: bool | None = None) -> None:
        """Hide or show what is in a folder, where it is not so already; None turns it round."""
        listing = self._listing
        filed = listing.archive if folder == ARCHIVE else listing.folders.get(folder)
        if filed is not None and folded is not (is_folded := filed.shown is None):
            self.run_worker(self._fold(folder, folded=not is_folded), group="fold")

    async def _fold(self, folder: str, *, folded: bool) -> None:
        try:
            await asyncio.to_thread(self._store.fold, folder, folded=folded)
        except CorralError as error:
            fail(self, error)
            return
        self._after_fold = f"f{folder}"
        await self.reload()

    @on(ConversationList.FoldWanted)
    def _on_fold_wanted(self, event: ConversationList.FoldWanted) -> None:
        event.stop()
        option = self.rows.highlighted_option
        if self._hits is not None or option is None or option.id is None:
            return
        if option.id[0] == "f":
            self.fold(option.id[1:], event.folded)
        elif event.folded and (inside := self._folder_of(option.id)):
            self.fold(inside, True)

    def _folder_of(self, option: str) -> str:
        """The folder in which a row stands, "" for none."""
        listing = self._listing
        for name, filed in (*listing.folders.items(), (ARCHIVE, listing.archive)):
            if any(f"c{one.id}" == option for one in filed.shown or ()):
                return name
        return ""

    @on(OptionList.OptionHighlighted)
    def _on_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
