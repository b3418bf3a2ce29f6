"""Making room: models that are here twice, files that downloads left, and kept prompts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from corral.errors import CorralError
from corral.kept import KeptPrompt, KeptPrompts
from corral.models.downloads.files import Leftover
from corral.models.library import cleaning
from corral.models.library.cleaning import Copy, Findings
from corral.text import shorten
from corral.tui import wording
from corral.tui.screens.dialogs import ConfirmDialog
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hints, Modal, Notice, Top
from corral.tui.screens.models.words import middle_cut, shown_path, what_goes
from corral.units import age, gigabytes

if TYPE_CHECKING:
    from corral.models.downloads.downloads import Downloads
    from corral.models.library.library import Library

CLEAN_HINT = (
    "What is marked goes; it is named once more before that. Of models with the same contents "
    "one always stays."
)
NOTHING = "There is nothing to clean up: no model is here twice, and no download left a file."
PROMPT_TEXT = "What a model has read of it; without it the next answer reads it again."

Chosen = Copy | Leftover | KeptPrompt
Item = Chosen | str
"""A line of the list; a ``str`` is the heading of those that follow."""


class CleanScreen(Modal["str | None"]):
    """Gives one sentence about what is gone, or None where nothing is.

    Args:
        kept: what models have read and is kept on disk, where anything is.
    """

    AUTO_FOCUS = "OptionList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", show=False),
        Binding("enter", "clean", show=False, priority=True),
    ]

    def __init__(
        self, library: Library, downloads: Downloads, kept: KeptPrompts | None = None
    ) -> None:
        super().__init__()
        self._kept = kept
        self._library = library
        self._downloads = downloads
        self._items: list[Item] = []
        self._busy: list[Leftover] = []
        self._marked: set[int] = set()
        self._is_removing = False

    def compose(self) -> ComposeResult:
        with Frame(classes="-wide"):
            with Top():
                yield Heading("Clean up", "looking …")
                yield Static(CLEAN_HINT, markup=False, classes="hint")
            yield OptionList(markup=False, compact=True)
            with Bottom():
                yield Static("", markup=False, classes="detail")
                yield Notice()
                yield Hints([("Esc", "close", "close")])

    def on_mount(self) -> None:
        self._look()

    # --- what there is ----------------------------------------------------------------------------

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        failed, found = None, None
        try:
            found = await asyncio.to_thread(
                cleaning.look, self._library, self._downloads, time.time(), self._kept
            )
        except CorralError as error:
            failed = error
        if not self.is_open:
            return
        self.query_one(Heading).tell("")
        self.query_one(".detail").display = found is not None and not found.empty
        if found is None:
            assert failed is not None  # one of the two came
            self.query_one(Notice).fail(failed)
        elif found.empty:
            self.query_one(".hint").display = False
            self.query_one(Notice).say(NOTHING)
        else:
            self._take(found)

    def _take(self, found: Findings) -> None:
        items, self._busy = _items(found), found.busy
        # Models, and what is still of use, are marked by the person alone.
        self._marked = {n for n, item in enumerate(items) if _is_useless(item, found)}
        self._items = items
        self._show()
        options = self.query_one(OptionList)
        options.action_first()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        if not self.is_open:
            return
        options = self.query_one(OptionList)
        highlighted = options.highlighted
        width = max(20, options.scrollable_content_region.width - 2)
        now = time.time()
        options.clear_options()
        for number, item in enumerate(self._items):
            can_go = self._can_go(item)
            row = _row(item, width, now, marked=number in self._marked, can_go=can_go)
            options.add_option(Option(row, disabled=not can_go))
        options.highlighted = highlighted
        count = len(self._marked)
        if self._items:
            self.query_one(Heading).tell(f"{gigabytes(_freed(self._chosen), 2)} marked")
        hints = [("space", "mark", "mark")] if any(map(self._can_go, self._items)) else []
        hints += [("Enter", f"remove {count}", "clean")] if count else []
        self.query_one(Hints).tell([*hints, ("Esc", "close", "close")])

    def _can_go(self, item: Item) -> bool:
        if isinstance(item, Copy):
            return item.removable
        return not isinstance(item, str) and item not in self._busy

    @property
    def _chosen(self) -> list[Chosen]:
        chosen = [self._items[number] for number in sorted(self._marked)]
        return [item for item in chosen if not isinstance(item, str)]

    @on(OptionList.OptionHighlighted)
    def _on_highlighted(self) -> None:
        number = self.query_one(OptionList).highlighted
        if number is None or number >= len(self._items):
            return
        item, detail = self._items[number], self.query_one(".detail", Static)
        width = max(20, detail.size.width - 4)
        if isinstance(item, Copy):
            detail.update(Content(shorten(item.removal.sentence, width)))
        elif isinstance(item, Leftover):
            detail.update(Content(middle_cut(shown_path(str(item.path)), width)))
        elif isinstance(item, KeptPrompt):
            detail.update(Content(shorten(PROMPT_TEXT, width)))

    # --- what goes --------------------------------------------------------------------------------

    @on(OptionList.OptionSelected)
    def action_mark(self) -> None:
        number = self.query_one(OptionList).highlighted
        if number is None or number >= len(self._items) or self._is_removing:
            return
        item, notice = self._items[number], self.query_one(Notice)
        notice.say("")
        if number not in self._marked and isinstance(item, Copy) and self._is_last(number, item):
            notice.say("One copy stays. To keep another one, take its mark away first.")
        else:
            self._marked ^= {number}
        self._show()

    def _is_last(self, number: int, copy: Copy) -> bool:
        """Whether all other copies are marked."""
        return all(
            other in self._marked
            for other, item in enumerate(self._items)
            if other != number and isinstance(item, Copy) and item.model.sha256 == copy.model.sha256
        )

    @work(exclusive=True, group="clean")
    async def action_clean(self) -> None:
        """Say what goes, then remove it."""
        chosen = self._chosen
        if self._is_removing or not chosen:
            return
        question = ConfirmDialog("Remove it?", _question(chosen), "remove")
        if not await self.app.push_screen_wait(question):
            return
        self._is_removing = True
        self.query_one(Notice).say("Removing …")
        gone, failed = await asyncio.to_thread(self._remove, chosen)
        if failed is not None:
            from corral.tui.toasts import fail

            fail(self, failed)
        self.dismiss(f"{_count(gone)} gone; {gigabytes(_freed(gone), 2)} freed" if gone else None)

    def _remove(self, chosen: Iterable[Chosen]) -> tuple[list[Chosen], CorralError | None]:
        """What is gone, and the last failure; runs in a thread."""
        gone: list[Chosen] = []
        failed = None
        for item in chosen:
            try:
                if isinstance(item, Copy):
                    self._library.remove(item.model)
                elif isinstance(item, KeptPrompt):
                    if self._kept is not None:
                        self._kept.remove(item)
                else:
                    cleaning.remove(self._downloads, item)
                gone.append(item)
            except CorralError as error:
                failed = error
        return gone, failed

    def action_close(self) -> None:
        if not self._is_removing:  # It is a matter of a moment, and closes by itself.
            self.dismiss(None)


def _items(found: Findings) -> list[Item]:
    items: list[Item] = []
    for group in found.duplicates:
        items += [f"Here {len(group)} times with the same contents", *group]
    if left := [*found.leftovers, *found.busy]:
        items += ["Left behind by downloads", *left]
    if found.prompts:
        items += ["Kept prompts: what models have read of conversations", *found.prompts]
    return items


def _is_useless(item: Item, found: Findings) -> bool:
    if isinstance(item, KeptPrompt):
        return item.title is None
    return item in found.leftovers


def _freed(items: Iterable[Chosen]) -> int:
    """Bytes that removing them frees."""
    return sum(one.removal.bytes if isinstance(one, Copy) else one.bytes for one in items)


def _count(items: Iterable[Chosen]) -> str:
    """``1 model and 3 files``."""
    items = list(items)
    kinds = {"model": Copy, "file": Leftover, "kept prompt": KeptPrompt}
    counts = [(sum(isinstance(item, kind) for item in items), word) for word, kind in kinds.items()]
    words = [f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count]
    return " and ".join(words) + (" is" if len(items) == 1 else " are")


def _question(items: Iterable[Chosen]) -> str:
    """All that goes, and what stays."""
    parts, files, prompts = [], [], []
    for item in items:
        if isinstance(item, Copy):
            parts.append(what_goes(item.model, item.removal))
        elif isinstance(item, KeptPrompt):
            prompts.append(f"Cleared: what was read of “{item.name}”, {gigabytes(item.bytes, 2)}")
        else:
            files.append(f"Deleted: {shown_path(str(item.path))}, {gigabytes(item.bytes, 2)}")
    return "\n\n".join([*parts, *files, *prompts])


def _row(item: Item, width: int, now: float, *, marked: bool, can_go: bool) -> Content:
    if isinstance(item, str):
        return Content.styled(item, MUTED)
    box = Content.styled("[x] " if marked else "[ ] " if can_go else "    ", "$accent")
    if isinstance(item, Copy):
        size = item.removal.bytes
        right = f"frees {gigabytes(size, 2)}" if size else "frees nothing"
        name, right = item.model.name, right if can_go else "stays with its package"
        place = "\n    " + middle_cut(shown_path(item.model.path or ""), width - 4)
    elif isinstance(item, Leftover):
        why = f"{cleaning.kind(item)}, {age(now - item.changed)} old" if can_go else "in use"
        name, right, place = item.path.name, f"{why}{gigabytes(item.bytes, 2).rjust(10)}", ""
    else:
        why = f"{wording.tokens(item.tokens)}, {age(now - item.used)} old"
        name, right, place = item.name, f"{why}{gigabytes(item.bytes, 2).rjust(10)}", ""
    left = Content(shorten(name, 200))
    left = left.truncate(max(8, width - len(right) - 6), ellipsis=True, pad=True)
    return Content.assemble(box, left, ("  " + right, MUTED), (place, MUTED))
