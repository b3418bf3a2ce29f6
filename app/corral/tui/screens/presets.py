"""Personas and tasks: looked at, chosen for a conversation, and written anew."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, TextArea

from corral import forming
from corral.chat.presets import Preset, PresetError, checked_labels
from corral.errors import CorralError
from corral.presets import Presets
from corral.text import clean, clean_line, shorten
from corral.tui.screens.dialogs import ConfirmDialog, TextDialog
from corral.tui.screens.listing import CLOSE, Listing
from corral.tui.screens.modal import (
    MUTED,
    Bottom,
    CleanTextArea,
    Frame,
    Heading,
    Hint,
    Hints,
    Modal,
    Notice,
    Top,
)

HINT = "A persona is a system prompt. A task frames every message, and its answers keep its form."
NONE = "No system prompt of its own, and no form: as Meta advises for Llama 2."
KEYS: list[Hint] = [
    ("Enter", "use it", "choose"),
    ("e", "edit", "edit"),
    ("c", "copy", "copy"),
    ("Del", "delete yours", "remove"),
    CLOSE,
]
BROAD = 70
"""Cells of a row from which on it says what the preset does."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a conversation is gone on with; no name is no preset."""

    name: str
    labels: tuple[str, ...] = ()


class PresetsScreen(Listing["Chosen | None", "Preset | None"]):
    """A line a preset; the first one is none.

    Args:
        now: the name of the conversation's.
    """

    HEADING = "Presets"
    ABOUT = HINT
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit", show=False),
        Binding("c", "copy", show=False),
        Binding("delete,x", "remove", show=False),
    ]

    def __init__(self, presets: Presets, now: str = "") -> None:
        super().__init__(at=now)
        self._presets = presets
        self._now = now
        self._problems: list[str] = []

    # --- what there is ----------------------------------------------------------------------------

    def read(self) -> list[Preset | None]:
        """None, and all there are; runs in a thread."""
        found = self._presets.all()
        self._problems = self._presets.problems()
        return [None, *found]

    def line(self, item: Preset | None, width: int) -> Content:
        """Title, kind, and what it does."""
        if item is not None:
            return _row(item, item.name == self._now, width)
        mark = " " if self._now else "✓"
        return Content.assemble(f"{mark} none", ("  the model as it is", MUTED))

    def tell(self) -> None:
        """How many there are, and which file is none."""
        found = [preset for preset in self.items if preset is not None]
        own = sum(preset.own for preset in found)
        self.query_one(Heading).tell(f"{len(found)}, {own} of them yours")
        self.query_one(Hints).tell(KEYS)
        if self._problems:
            more = f" (and {len(self._problems) - 1} more)" if len(self._problems) > 1 else ""
            problem = shorten(self._problems[0], 300)
            self.query_one(Notice).say(f"Left out: {problem}{more}", error=True)

    def place(self, at: str) -> int:
        """The line of a preset by its name."""
        names = [preset.name if preset else "" for preset in self.items]
        return names.index(at) if at in names else 0

    @on(OptionList.OptionHighlighted)
    def _on_highlighted(self) -> None:
        self.detail(clean(_about(self.chosen) if self.chosen else NONE))

    # --- choosing ---------------------------------------------------------------------------------

    @on(OptionList.OptionSelected)
    @work(exclusive=True, group="deed")
    async def action_choose(self) -> None:
        preset = self.chosen
        if preset is None:
            self.dismiss(Chosen(""))
            return
        labels: tuple[str, ...] = ()
        if preset.answer == "label":
            typed = await self.app.push_screen_wait(
                TextDialog(
                    "Which labels?",
                    ", ".join(preset.labels),
                    "Answers are one of them; commas between.",
                    check=_wrong_labels,
                )
            )
            if typed is None or not self.is_open:
                return
            labels = tuple(forming.split_labels(typed))
        self.dismiss(Chosen(preset.name, () if labels == preset.labels else labels))

    # --- one's own --------------------------------------------------------------------------------

    @work(exclusive=True, group="deed")
    async def action_edit(self) -> None:
        """Edit it; what comes with corral stays, and a person's own file stands before it."""
        if (preset := self.chosen) is not None:
            await self._edit(preset, preset.name)

    @work(exclusive=True, group="deed")
    async def action_copy(self) -> None:
        if (preset := self.chosen) is None:
            return
        names = {one.name for one in self.items if one is not None}
        own = self._presets.has_own
        name = await self.app.push_screen_wait(
            TextDialog(
                "What is the copy called?",
                f"my-{preset.name}",
                "Small letters, digits and hyphens.",
                check=lambda name: "There is one already" if name in names or own(name) else "",
            )
        )
        if name and self.is_open:
            await self._edit(preset, name)

    async def _edit(self, preset: Preset, name: str) -> None:
        try:
            text = await asyncio.to_thread(self._presets.text_of, preset)
        except CorralError as error:
            self.query_one(Notice).fail(error)
            return
        saved = await self.app.push_screen_wait(PresetEditor(self._presets, name, text))
        if saved is not None and self.is_open:
            self.query_one(Notice).say(f"Saved: {saved.path}")
            self.look(saved.name)

    @work(exclusive=True, group="deed")
    async def action_remove(self) -> None:
        preset, notice = self.chosen, self.query_one(Notice)
        if preset is None:
            return
        if not preset.own:
            notice.say(f"{preset.name} comes with corral and stays; e makes one of your own")
            return
        dialog = ConfirmDialog("Delete your preset?", clean_line(preset.path), "delete")
        if not await self.app.push_screen_wait(dialog) or not self.is_open:
            return
        try:
            await asyncio.to_thread(self._presets.remove, preset)
        except CorralError as error:
            notice.fail(error)
            return
        notice.say(f"{preset.name} is deleted")
        self.look(preset.name)


class PresetEditor(Modal[Preset | None]):
    """The file of a preset as text. What is no preset is not saved, and the reason is said."""

    AUTO_FOCUS = "TextArea"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+s", "save", show=False, priority=True)]

    def __init__(self, presets: Presets, name: str, text: str) -> None:
        super().__init__()
        self._presets = presets
        self._file = name
        self._text = clean(text)

    def compose(self) -> ComposeResult:
        with Frame(classes="-tall"):
            with Top():
                yield Heading(self._file, "TOML · examples, labels, schema and parameters, too")
            yield CleanTextArea(self._text, soft_wrap=True, show_line_numbers=True, compact=True)
            with Bottom():
                yield Notice()
                yield Hints([("Ctrl+S", "save", "save"), ("Esc", "close", "close")])

    @work(exclusive=True, group="deed")
    async def action_save(self) -> None:
        text, notice = self.query_one(TextArea).text, self.query_one(Notice)
        try:
            saved = await asyncio.to_thread(self._presets.save, self._file, text)
        except CorralError as error:
            if self.is_open:
                notice.fail(error)
            return
        if self.is_open:
            self.dismiss(saved)

    @work(exclusive=True, group="deed")
    async def action_close(self) -> None:  # type: ignore[override]
        if self.query_one(TextArea).text != self._text:
            dialog = ConfirmDialog("Close without saving?", "What you changed is lost.", "discard")
            if not await self.app.push_screen_wait(dialog):
                return
        self.dismiss(None)


def _wrong_labels(typed: str) -> str:
    try:
        checked_labels(forming.split_labels(typed))
    except PresetError as error:
        return error.reason
    return ""


def _row(preset: Preset, now: bool, width: int) -> Content:
    name = Content(shorten(preset.title, 26).ljust(26))
    kind = "yours" if preset.own else preset.kind
    parts: list[str | Content | tuple[str, str]] = [
        f"{'✓' if now else ' '} ",
        name,
        (f"  {kind:8}", MUTED),
    ]
    if width >= BROAD:
        parts.append((f"  {shorten(preset.text, width - 40)}", MUTED))
    return Content.assemble(*parts)


def _about(preset: Preset) -> str:
    """What it is made of, in a few lines."""
    answers = {
        "label": f"one of {', '.join(preset.labels)}" if preset.labels else "one of your labels",
        "schema": "JSON of one schema, with any model",
        "grammar": "text that its grammar allows, with any model",
    }.get(preset.answer, "free text")
    lines = [shorten(f"/preset {preset.name} · {preset.text}", 200), f"Answers: {answers}"]
    if preset.examples:
        count = len(preset.examples)
        lines[-1] += f" · {count} {'example' if count == 1 else 'examples'} shown to the model"
    said = preset.note or preset.system or preset.template
    experimental = "Experimental. " if preset.experimental else ""
    return "\n".join([*lines, shorten(experimental + said, 260)])
