"""The conversations by day, and what a search finds in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from corral.chat.conversation import Conversation
from corral.errors import CorralError
from corral.store.search import MATCH_END, MATCH_START, Hit
from corral.store.store import Store
from corral.text import clean_line, shorten
from corral.tui import keys, wording
from corral.tui.toasts import fail
from corral.tui.widgets.downloads import DownloadsPanel

LISTED = 300
"""Conversations in the list; older ones are found by searching."""

FOUND = 60
PAUSE = 0.08
"""Seconds without a key before a search starts."""

LEAST_TITLE = 16
"""Cells of a title that a note beside it may not take."""

UNTITLED = "Untitled"
_TITLE_LENGTH = 120


def title_of(conversation: Conversation, untitled: str = UNTITLED) -> str:
    return shorten(conversation.title, _TITLE_LENGTH) or untitled


class ConversationList(OptionList):
    """The rows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key.keys, f"screen.{key.action}", key.text, show=False)
        for key in keys.group("sidebar")
        if key.keys != "enter"
    ]


class SearchBox(Input):
    """One line that cannot hold anything a terminal would obey."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move('cursor_down')", show=False),
        Binding("up", "move('cursor_up')", show=False),
    ]

    class Moved(Message):
        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    def validate_value(self, value: str) -> str:
        return clean_line(value)

    def action_move(self, action: str) -> None:
        self.post_message(self.Moved(action))


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
        self._listed: list[Conversation] = []
        self._hits: list[Hit] | None = None
        self._active: int | None = None
        self._busy: frozenset[int] = frozenset()
        self._pause: Timer | None = None
        self.box = SearchBox(placeholder="⌕ search all chats", id="search", select_on_focus=False)
        self.rows = ConversationList(id="conversations", markup=False)

        self.downloads = DownloadsPanel(id="downloads")

    def compose(self) -> ComposeResult:
        yield self.box
        yield self.rows
        yield self.downloads

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
        """The title of a listed conversation."""
        return next((title_of(one) for one in self._listed if one.id == id), UNTITLED)

    def _shown(self) -> Iterable[Conversation]:
        return self._listed if self._hits is None else (hit.conversation for hit in self._hits)

    async def reload(self) -> None:
        """Read the list again, and the search where there is one."""
        try:
            listed = await asyncio.to_thread(self._store.conversations, limit=LISTED + 1)
        except CorralError as error:
            fail(self, error)
            return
        self._listed = listed
        if self.searching:
            self._search()
        else:
            self._draw()

    def mark(self, active: int | None, busy: Iterable[int]) -> None:
        """Show which conversation is open, and where answers are being written."""
        busy = frozenset(busy)
        if (active, busy) != (self._active, self._busy):
            follow = active != self._active
            self._active, self._busy = active, busy
            self._draw(to=active if follow else None)

    def _draw(self, to: int | None = None) -> None:
        options = self._by_day() if self._hits is None else self._found(self._hits)
        rows = self.rows
        highlighted = rows.highlighted_option.id if rows.highlighted_option else None
        if to is not None or highlighted is None:
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
            if to is None and not rows.has_focus:
                # Somebody may be looking through the list with the mouse.
                rows.scroll_to(y=position, animate=False)

    def _by_day(self) -> list[Option]:
        options: list[Option] = []
        now, heading = self._clock(), ""
        for conversation in self._listed[:LISTED]:
            group = "Pinned" if conversation.pinned else wording.group(conversation.updated, now)
            if group != heading:
                heading = group
                options.append(_heading(heading, first=not options))
            options.append(Option(self._row(conversation), id=f"c{conversation.id}"))
        if len(self._listed) > LISTED:
            options.append(_heading("Search for older ones", first=False))
        return options

    def _row(self, conversation: Conversation) -> Content:
        """The title, and at the right how large the model is that answered last."""
        row = Content.assemble(self._gutter(conversation), title_of(conversation))
        size = wording.model_size(conversation.answered_by or "")
        room = self.rows.scrollable_content_region.width - 2 - len(size) - 1
        if not size or room < LEAST_TITLE:
            return row
        return Content.assemble(row.truncate(room, ellipsis=True, pad=True), (f" {size}", "$quiet"))

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
            return [_heading("Nothing found", first=True)]
        options: list[Option] = []
        for hit in hits:
            conversation = hit.conversation
            title = Content.assemble(self._gutter(conversation), title_of(conversation))
            snippet = _marked(hit.snippet)
            if hit.message is None:
                row = Content.assemble(self._gutter(conversation), snippet)
            else:
                row = Content.assemble(title, "\n  ", snippet.stylize_before("$quiet"))
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
        query = self.box.value.strip()
        if not query:
            self._hits = None
            self._draw()
            return
        self.run_worker(self._find(query), group="search", exclusive=True, exit_on_error=False)

    async def _find(self, query: str) -> None:
        try:
            hits = await asyncio.to_thread(self._store.search, query, FOUND)
        except CorralError as error:
            fail(self, error)
            return
        if self.box.value.strip() == query:
            self._hits = hits
            self._draw()

    def close_search(self) -> None:
        """Back to the list by day."""
        self._hits = None
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
        id = int(event.option_id[1:])
        hit = next((hit for hit in self._hits or () if hit.conversation.id == id), None)
        self.post_message(self.Opened(id, hit.message if hit else None))

    @on(OptionList.OptionHighlighted)
    def _on_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()


def _heading(text: str, *, first: bool) -> Option:
    return Option(Content(text if first else f"\n{text}"), disabled=True)


def _marked(snippet: str) -> Content:
    """A snippet with its matches highlighted, and the first of them near its beginning."""
    line = " ".join(clean_line(snippet).split())
    start = line.find(MATCH_START)
    if start > 14:
        cut = line.find(" ", start - 14)
        line = "…" + line[cut + 1 if 0 <= cut < start else start :]
    parts: list[str | tuple[str, str]] = []
    while line:
        before, found, line = line.partition(MATCH_START)
        parts.append(before)
        if found:
            word, _, line = line.partition(MATCH_END)
            parts.append((word, "bold $primary"))
    return Content.assemble(*parts)
