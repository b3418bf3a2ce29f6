"""The LoRA adapters of this machine: put on, scaled and taken off for one conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList

from corral import adapting
from corral.adapting import Choice
from corral.errors import CorralError
from corral.text import shorten
from corral.tui.screens.completing import typed_path
from corral.tui.screens.dialogs import ConfirmDialog, TextDialog
from corral.tui.screens.importing import PathDialog
from corral.tui.screens.listing import CLOSE, Listing
from corral.tui.screens.modal import MUTED, Heading, Hints, Notice
from corral.units import room

if TYPE_CHECKING:
    from corral.models.library.adapters import LocalAdapter
    from corral.models.library.library import Library
    from corral.models.library.local import LocalModel

HINT = "An adapter changes how a model answers, without loading it again. It holds for the next "
HINT += "answer of this conversation."
NOTHING = (
    "No adapter is here yet. i takes in a GGUF file that convert_lora_to_gguf.py made; one that "
    "lies beside a model is found by itself."
)
STEP = 0.1
HINTS = [
    ("Enter", "on, off", "switch"),
    ("←→", "scale", ""),
    ("s", "type it", "type_scale"),
    ("Del", "forget", "forget"),
]
BROAD = 64
"""Cells of a row from which on it says what kind of file it is."""

Keep = Callable[[tuple[Choice, ...]], Awaitable[CorralError | None]]
"""Lets choices hold in the conversation; gives what stood in the way."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list."""

    adapter: LocalAdapter | None
    """None for one that the conversation wants and that is not here."""
    name: str
    """As the conversation has it, or would."""
    reason: str
    """Why it cannot be used here; "" where it can."""
    scale: float | None
    """None while it is off."""

    @property
    def key(self) -> str:
        """What tells it apart; one that was found may have the name of another one."""
        return self.adapter.path if self.adapter is not None else self.name


class AdaptersScreen(Listing[None, Row]):
    """A line an adapter; what is changed holds at once.

    Args:
        model: what answers in the conversation; None where none can.
        choices: those of the conversation.
        keep: told of every change.
    """

    HEADING = "Adapters"
    ABOUT = HINT
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "switch", show=False),
        Binding("right,plus,equals_sign", f"scale({STEP})", show=False, priority=True),
        Binding("left,minus", f"scale({-STEP})", show=False, priority=True),
        Binding("s", "type_scale", show=False),
        Binding("i", "import_file", show=False),
        Binding("delete,x", "forget", show=False),
    ]

    def __init__(
        self,
        library: Library,
        model: LocalModel | None,
        choices: Sequence[Choice],
        keep: Keep,
    ) -> None:
        super().__init__()
        self._library = library
        self._model = model
        self._choices = tuple(choices)
        self._keep = keep
        self._typed_path = "~/"
        self._setting = asyncio.Lock()
        self._at = ""
        """Key of the row at the cursor."""

    # --- what there is ----------------------------------------------------------------------------

    def read(self) -> list[Row]:
        """Those that are here, and those that the conversation wants; runs in a thread."""
        wanted = dict(self._choices)
        rows: list[Row] = []
        for one in self._library.adapters():
            name = next((name for name in (one.name, one.path) if name in wanted), one.name)
            scale = wanted.pop(name, None)
            rows.append(Row(one, name, self._reason(one), scale))
        for name, scale in wanted.items():
            try:
                found = self._library.adapter(name)
                rows.insert(0, Row(found, name, self._reason(found), scale))
            except CorralError as error:
                rows.insert(0, Row(None, name, error.message, scale))
        return rows

    def place(self, at: str) -> int | None:
        """The line of an adapter by its path."""
        places = [row.adapter.path if row.adapter else None for row in self.items]
        return places.index(at) if at in places else None

    def line(self, item: Row, width: int) -> Content:
        """Name, scale, and what kind of file it is."""
        return line(item, width)

    def _reason(self, adapter: LocalAdapter) -> str:
        if adapter.state == "missing":
            return "its file is gone"
        if adapter.state == "damaged":
            return "its file was changed since it came; take it in again (i)"
        if self._model is None:
            return ""
        try:
            return self._library.adapter_mismatch(adapter, self._model)
        except CorralError as error:
            return error.message

    def tell(self) -> None:
        """How many are used, and by which model."""
        self._at = self.chosen.key if self.chosen else ""
        used = sum(1 for row in self.items if row.scale is not None)
        model = shorten(self._model.name, 40) if self._model else "no model"
        self.query_one(Heading).tell(f"{used} used · {model}" if used else model)
        keys = HINTS if self.items else []
        self.query_one(Hints).tell([*keys, ("i", "import", "import_file"), CLOSE])
        if not self.items:
            self.query_one(Notice).say(NOTHING)
        self._tell_detail()

    @on(OptionList.OptionHighlighted)
    def _on_highlighted(self) -> None:
        key = self.chosen.key if self.chosen else ""
        if key != self._at:  # What was said is about the row that the cursor left.
            self._at = key
            self.query_one(Notice).say("")
        self._tell_detail()

    def _tell_detail(self) -> None:
        if (row := self.chosen) is not None:
            width = max(8, self.query_one(OptionList).scrollable_content_region.width - 3)
            self.detail(shorten(detail(row), width))

    # --- what is changed --------------------------------------------------------------------------

    @on(OptionList.OptionSelected)
    def _on_selected(self) -> None:
        self.action_switch()

    def action_switch(self) -> None:
        if (row := self.chosen) is not None:
            self._set(row.key, lambda scale: 1.0 if scale is None else None)

    def action_scale(self, step: float) -> None:
        """Scale it up or down; one that is off begins at its full strength."""

        def scaled(scale: float | None) -> float:
            scale = 1.0 if scale is None else round(scale + step, 2) + 0.0
            return max(-adapting.MOST_SCALE, min(adapting.MOST_SCALE, scale))

        if (row := self.chosen) is not None:
            self._set(row.key, scaled)

    @work(exclusive=True, group="deed")
    async def action_type_scale(self) -> None:
        row = self.chosen
        if row is None:
            return
        typed = await self.app.push_screen_wait(
            TextDialog(
                f"Scale of {shorten(row.name, 40)}",
                f"{1.0 if row.scale is None else row.scale:g}",
                "1 is as it was trained, 0 as if it were not there; below 0 turns it round.",
                check=wrong_scale,
            )
        )
        if typed is not None and (scale := adapting.number(typed)) is not None:
            self._set(row.key, lambda _: scale)

    @work(group="set")
    async def _set(self, key: str, change: Callable[[float | None], float | None]) -> None:
        """Put it on, scale it or take it off; one change after the other.

        Args:
            change: gives the new scale for the one it has; None is off.
        """
        async with self._setting:
            row = next((row for row in self.items if row.key == key), None)
            if row is not None and self.is_open:
                await self._change(row, change(row.scale))

    async def _change(self, row: Row, scale: float | None) -> None:
        notice = self.query_one(Notice)
        notice.say("")
        if scale is not None and row.reason:
            notice.say(f"{shorten(row.name, 60)} cannot be used here: {row.reason}", error=True)
            return
        name = row.name
        if scale is not None and row.adapter is not None and row.scale is None:
            try:
                name = await self._take_in(row.adapter)
            except CorralError as error:
                if self.is_open:
                    notice.fail(error)
                return
        own = {name} if row.scale is None else {row.name, name}
        choices = [(other, s) for other, s in self._choices if other not in own]
        places = [other for other, _ in self._choices]
        on = row.scale is not None and row.name in places  # It may have been forgotten meanwhile.
        at = places.index(row.name) if on else len(choices)
        if scale is not None:
            choices.insert(at, (name, scale))
        failed = await self._keep(tuple(choices))
        if failed is None:
            self._choices = tuple(choices)
        if not self.is_open:
            return
        if failed is not None:
            notice.fail(failed)
            return
        if name != row.name:
            self.look(row.adapter.path if row.adapter else "")
            return
        self.items = [replace(one, scale=scale) if one is row else one for one in self.items]
        self.redraw()

    async def _take_in(self, adapter: LocalAdapter) -> str:
        """Read it to its end where nobody did: what is damaged is refused now and not later."""
        if adapter.sha256:
            return adapter.name
        self.query_one(Notice).say("Reading it …")
        taken = await asyncio.to_thread(self._library.import_adapter, Path(adapter.path))
        if self.is_open:
            self.query_one(Notice).say("")
        return taken.name

    @work(exclusive=True, group="deed")
    async def action_import_file(self) -> None:
        dialog = PathDialog(self._typed_path, "Import an adapter", PATH_HINT)
        typed = await self.app.push_screen_wait(dialog)
        if typed is None:
            return
        self._typed_path = typed
        notice = self.query_one(Notice)
        notice.say("Reading it …")
        try:
            taken = await asyncio.to_thread(self._library.import_adapter, typed_path(typed))
        except CorralError as error:
            if self.is_open:
                notice.fail(error)
            return
        if self.is_open:
            notice.say(f"{taken.name} is here; Enter puts it on")
            self.look(taken.path)

    @work(exclusive=True, group="deed")
    async def action_forget(self) -> None:
        """Forget one that was taken in; its file stays."""
        row = self.chosen
        if row is None:
            return
        if row.adapter is None or row.adapter.state in ("found", "file"):
            self._set(row.key, lambda _: None)
            return
        text = f"corral forgets {shorten(row.name, 60)}; its file stays where it lies."
        if not await self.app.push_screen_wait(ConfirmDialog("Forget it?", text, "forget")):
            return
        try:
            await asyncio.to_thread(self._library.forget_adapter, row.adapter)
        except CorralError as error:
            self.query_one(Notice).fail(error)
            return
        kept = tuple(choice for choice in self._choices if choice[0] != row.name)
        if kept != self._choices and await self._keep(kept) is None:
            self._choices = kept
        if self.is_open:
            self.look()


PATH_HINT = "The path of a LoRA adapter, a GGUF file. It is read once and stays where it lies."


def wrong_scale(typed: str) -> str:
    """What is wrong with a scale that was typed, in one sentence; "" where it is right."""
    scale = adapting.number(typed)
    if scale is None:
        return "Type a number, as 0.5"
    if not abs(scale) <= adapting.MOST_SCALE:
        return f"Allowed are {-adapting.MOST_SCALE:g} to {adapting.MOST_SCALE:g}"
    return ""


def line(row: Row, width: int) -> Content:
    """``● cats  ×0.50   rank 16   F16   33.2 MB``; dim where it cannot be used here."""
    one = row.adapter
    sign = "●" if row.scale is not None else "✗" if row.reason else "○"
    scale = f"×{row.scale:.2f}" if row.scale is not None else ""
    parts = [scale.rjust(8)]
    if one is not None:
        if width >= BROAD:
            parts += [f"rank {one.rank}".ljust(11), one.type.ljust(4)]
        parts.append(room(one.bytes).rjust(8))
    right = "  ".join(parts)
    name = shorten(adapting.shown(row.name, 1.0), 200)
    title = Content(name).truncate(max(6, width - len(right) - 4), ellipsis=True, pad=True)
    signed = Content.assemble((sign + " ", "$accent" if row.scale is not None else MUTED), title)
    if row.reason:
        signed = signed.stylize(MUTED)
    return Content.assemble(signed, ("  " + right, MUTED))


def detail(row: Row) -> str:
    """The line below the list."""
    if row.reason:
        return row.reason[0].upper() + row.reason[1:]
    one = row.adapter
    if one is None:
        return ""
    made = f"made for {one.base}" if one.base else "made for a model it does not name"
    matrices = f"{one.pairs} {'matrix' if one.pairs == 1 else 'matrices'}"
    alpha = f", alpha {one.alpha:g}" if one.alpha else ""
    return f"{made} · rank {one.rank}{alpha} · {matrices} · {one.path}"
