"""The LoRA adapters of this machine: put on, scaled and taken off for one conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from corral import adapting
from corral.adapting import Choice
from corral.errors import CorralError
from corral.text import shorten
from corral.tui.screens.completing import typed_path
from corral.tui.screens.dialogs import ConfirmDialog, TextDialog
from corral.tui.screens.importing import PathDialog
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hints, Modal, Notice, Top
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


class AdaptersScreen(Modal[None]):
    """A line an adapter; what is changed holds at once.

    Args:
        model: what answers in the conversation; None where none can.
        choices: those of the conversation.
        keep: told of every change.
    """

    AUTO_FOCUS = "OptionList"
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
        self._rows: list[Row] = []
        self._looked = False
        self._typed_path = "~/"
        self._setting = asyncio.Lock()
        self._at = ""
        """Name of the row at the cursor."""

    def compose(self) -> ComposeResult:
        with Frame(classes="-wide"):
            with Top():
                yield Heading("Adapters", "looking …")
                yield Static(HINT, markup=False, classes="hint")
            yield OptionList(markup=False, compact=True)
            with Bottom():
                yield Static("", markup=False, classes="detail")
                yield Notice()
                yield Hints([("Esc", "close", "close")])

    def on_mount(self) -> None:
        self._look()

    # --- what there is ----------------------------------------------------------------------------

    @work(exclusive=True, group="look")
    async def _look(self, show: str = "") -> None:
        """Args:
        show: path of the adapter to put the cursor at.
        """
        try:
            rows = await asyncio.to_thread(self._read, self._choices)
        except CorralError as error:
            if self.is_open:
                self.query_one(Heading).tell("")
                self.query_one(Notice).fail(error)
            return
        if not self.is_open:
            return
        self._rows, self._looked = rows, True
        self._show(next((n for n, r in enumerate(rows) if r.adapter and r.adapter.path == show), 0))

    def _read(self, choices: Sequence[Choice]) -> list[Row]:
        """Runs in a thread."""
        wanted = dict(choices)
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

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self, at: int | None = None) -> None:
        if not self._looked:
            return
        options = self.query_one(OptionList)
        at = (options.highlighted or 0) if at is None else at
        width = max(20, options.scrollable_content_region.width - 2)
        options.set_options(Option(line(row, width)) for row in self._rows)
        options.highlighted = min(at, len(self._rows) - 1) if self._rows else None
        self._at = self._row.name if self._row else ""
        used = sum(1 for row in self._rows if row.scale is not None)
        model = shorten(self._model.name, 40) if self._model else "no model"
        self.query_one(Heading).tell(f"{used} used · {model}" if used else model)
        self.query_one(".detail").display = bool(self._rows)
        hints = [("i", "import", "import_file"), ("Esc", "close", "close")]
        if self._rows:
            hints = [*HINTS, *hints]
        self.query_one(Hints).tell(hints)
        if not self._rows:
            self.query_one(Notice).say(NOTHING)
        self._detail()

    @property
    def _row(self) -> Row | None:
        number = self.query_one(OptionList).highlighted
        return self._rows[number] if number is not None and number < len(self._rows) else None

    @on(OptionList.OptionHighlighted)
    def _on_highlighted(self) -> None:
        name = self._row.name if self._row else ""
        if name != self._at:  # What was said is about the row that the cursor left.
            self._at = name
            self.query_one(Notice).say("")
        self._detail()

    def _detail(self) -> None:
        if (row := self._row) is not None:
            width = max(8, self.query_one(OptionList).scrollable_content_region.width - 3)
            self.query_one(".detail", Static).update(Content(shorten(detail(row), width)))

    # --- what is changed --------------------------------------------------------------------------

    @on(OptionList.OptionSelected)
    def _on_selected(self) -> None:
        self.action_switch()

    def action_switch(self) -> None:
        if (row := self._row) is not None:
            self._set(row.name, lambda scale: 1.0 if scale is None else None)

    def action_scale(self, step: float) -> None:
        """Scale it up or down; one that is off begins at its full strength."""

        def scaled(scale: float | None) -> float:
            scale = 1.0 if scale is None else round(scale + step, 2) + 0.0
            return max(-adapting.MOST_SCALE, min(adapting.MOST_SCALE, scale))

        if (row := self._row) is not None:
            self._set(row.name, scaled)

    @work(exclusive=True, group="deed")
    async def action_type_scale(self) -> None:
        row = self._row
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
            self._set(row.name, lambda _: scale)

    @work(group="set")
    async def _set(self, name: str, change: Callable[[float | None], float | None]) -> None:
        """Put it on, scale it or take it off; one change after the other.

        Args:
            change: gives the new scale for the one it has; None is off.
        """
        async with self._setting:
            row = next((row for row in self._rows if row.name == name), None)
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
        choices = [(other, s) for other, s in self._choices if other not in (row.name, name)]
        places = [other for other, _ in self._choices]
        at = places.index(row.name) if row.name in places else len(choices)
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
            self._look(row.adapter.path if row.adapter else "")
            return
        self._rows = [replace(one, scale=scale) if one is row else one for one in self._rows]
        self._show()

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
            self._look(taken.path)

    @work(exclusive=True, group="deed")
    async def action_forget(self) -> None:
        """Forget one that was taken in; its file stays."""
        row = self._row
        if row is None:
            return
        if row.adapter is None or row.adapter.state in ("found", "file"):
            self._set(row.name, lambda _: None)
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
            self._look()


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
