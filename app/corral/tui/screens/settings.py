"""The settings: what each one does, what it is, and from when on a change of it counts.

A change is written into ``config.toml`` at once, so there is nothing to save and nothing to lose.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from corral.errors import CorralError
from corral.kept import KeptPrompts
from corral.settings import Settings
from corral.text import clean_line, shorten
from corral.tui.parameters import conflict
from corral.tui.screens.dialogs import ChoiceDialog, ConfirmDialog, TextDialog
from corral.tui.screens.kept import KeptScreen, amount
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hints, Modal, Notice, Top
from corral.tui.setting import SETTINGS, Setting

NAME_WIDTH = 22
VALUE_WIDTH, VALUE_WIDTH_NARROW = 20, 14
ROOMY = 64
"""Cells of a row from which on values have their full width."""
TALL = 30
"""Lines of a screen from which on there is room for reasons."""

KEPT = "Kept prompts"
KEPT_TEXT = (
    "What models have read already, by conversation. Enter lists it; one or all can be cleared."
)

Item = Setting | str
"""A line of the list: a setting, the heading of a group, or :data:`KEPT_ROW`."""

KEPT_ROW = "\0kept"

Keep = Callable[[Setting, Any, bool], str]
"""Writes and applies a change; True is the way back to the default. Gives one sentence where it is
not kept, else nothing."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the screen has to know besides the settings.

    Attributes:
        names: gives what can be chosen where that is a name: ``(value, label)`` pairs; called in a
            thread.
        notes: by setting, what is so at the moment: ``quiet now, on battery``.
        own: by setting, one sentence about what counts in its place, as a model's own.
        reasons: gives by setting what is taken here and why; called in a thread.
        kept: what is kept on disk; None where nothing can be.
        free: gives the bytes that would be free on the disk without it; called in a thread.
    """

    names: Mapping[str, Callable[[], Sequence[tuple[str, str]]]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    reasons: Callable[[], Mapping[str, str]] = dict
    kept: KeptPrompts | None = None
    free: Callable[[], int] = lambda: 0


class SettingsScreen(Modal[None]):
    """All of them in one list.

    Args:
        settings: those that hold now; changed in place.
    """

    AUTO_FOCUS = "OptionList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1)", show=False),
        Binding("right,l", "step(1)", show=False),
        Binding("space", "change", show=False),
        Binding("delete,backspace", "default", show=False),
    ]

    def __init__(
        self, settings: Settings, keep: Keep, around: Surroundings = Surroundings()
    ) -> None:
        super().__init__()
        self._settings = settings
        self._keep = keep
        self._around = around
        self._items: list[Item] = []
        for heading, group in SETTINGS.items():
            self._items += [heading, *group]
            if heading == KEPT and around.kept is not None:
                self._items.append(KEPT_ROW)
        self._kept = ""
        self._reasons: Mapping[str, str] = {}
        self._at: int | None = None

    def compose(self) -> ComposeResult:
        with Frame(classes="-tall"):
            with Top():
                yield Heading("Settings", "kept in config.toml")
            yield OptionList(markup=False, compact=True)
            with Bottom():
                yield Static("", markup=False, classes="explain")
                yield Notice()
                yield Hints(
                    [
                        ("Enter", "change", "change"),
                        ("←→", "next value", "step(1)"),
                        ("Del", "default", "default"),
                        ("Esc", "close", "close"),
                    ]
                )

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        for item in self._items:
            heading = isinstance(item, str) and item != KEPT_ROW
            options.add_option(Option(self._row(item, ROOMY), disabled=heading))
        options.action_first()
        self._look()

    # --- what is shown ----------------------------------------------------------------------------

    def on_resize(self) -> None:
        self.set_class(self.app.size.height >= TALL, "-reasons")
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        if not self.is_open:
            return
        options = self.query_one(OptionList)
        width = max(20, options.scrollable_content_region.width)
        for number, item in enumerate(self._items):
            options.replace_option_prompt_at_index(number, self._row(item, width))
        options.scroll_to_highlight()

    def _row(self, item: Item, width: int) -> Content:
        if item == KEPT_ROW:
            name, value, note, style = KEPT, self._kept or "…", "", ""
        elif isinstance(item, str):
            return Content.styled(item, f"bold {MUTED}")
        else:
            now = item.of(self._settings)
            default = item.shown(item.default)
            name, value, note, style = item.title, item.shown(now), "default", ""
            if now != item.default:
                note, style = f"default {default}".rstrip(), "bold"
            if item.name == "folder" and not now:
                value = self._around.notes.get("folder", "")
            elif item.name in self._around.notes:
                note = self._around.notes[item.name]
        room = VALUE_WIDTH if width >= ROOMY else VALUE_WIDTH_NARROW
        if item == KEPT_ROW or (isinstance(item, Setting) and item.name == "folder"):
            room, note = max(8, width - NAME_WIDTH - 2), ""
        shown = Content.styled(clean_line(value), style).truncate(room, ellipsis=True, pad=True)
        return Content.assemble(
            f"  {name}".ljust(NAME_WIDTH), shown, ("  " + clean_line(note), MUTED)
        )

    @property
    def _item(self) -> Item | None:
        number = self.query_one(OptionList).highlighted
        return self._items[number] if number is not None else None

    @on(OptionList.OptionHighlighted)
    def _on_highlighted(self) -> None:
        number = self.query_one(OptionList).highlighted
        if number != self._at:  # Rows that are drawn again are highlighted again, too.
            self._at = number
            self.query_one(Notice).say("")
        self._explain()

    def _explain(self) -> None:
        item, text = self._item, Content(KEPT_TEXT)
        if isinstance(item, Setting):
            own = self._around.own.get(item.name)
            why = "" if own or not self.has_class("-reasons") else self._reasons.get(item.name, "")
            last = [clean_line(line) for line in (why, own or item.when) if line]
            text = Content.assemble(item.text, *(("\n" + line, MUTED) for line in last))
        self.query_one(".explain", Static).update(text)

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        """Find out how much is kept, and what is taken here and why."""
        kept = self._around.kept
        try:
            if kept is not None:
                prompts = await asyncio.to_thread(kept.all)
                self._kept = amount(prompts, await asyncio.to_thread(self._limit, kept))
        except CorralError as error:
            self._kept = shorten(error.message, 60)
        with contextlib.suppress(CorralError):  # Without them the list is still of use.
            self._reasons = await asyncio.to_thread(self._around.reasons)
        if self.is_open:
            self._show()
            self._explain()

    def _limit(self, kept: KeptPrompts) -> int:
        return kept.limit(self._settings.engine.kv_disk, self._around.free())

    # --- changing ---------------------------------------------------------------------------------

    @on(OptionList.OptionSelected)
    def _on_selected(self) -> None:
        self.action_change()

    @work(exclusive=True, group="deed")
    async def action_change(self) -> None:
        """Ask for another value; what is on or off just changes."""
        item = self._item
        if item == KEPT_ROW and self._around.kept is not None:
            try:
                limit = await asyncio.to_thread(self._limit, self._around.kept)
            except CorralError as error:
                self.query_one(Notice).fail(error)
                return
            await self.app.push_screen_wait(KeptScreen(self._around.kept, limit))
            self._look()
        elif not isinstance(item, Setting):
            return
        elif item.holds == "file":
            self.query_one(Notice).say(item.when)
        elif item.is_number:
            await self._ask(item)
        elif len(item.choices) == 2:
            self.action_step(1)
        else:
            await self._choose(item)

    async def _ask(self, setting: Setting) -> None:
        unit = f", in {setting.unit}" if setting.unit else ""
        named = "".join(f", or {word}" for word in setting.words)
        now = super(Setting, setting).shown(setting.of(self._settings))

        def problem(typed: str) -> str:
            try:
                setting.read(typed)
            except ValueError as error:
                return str(error)
            return ""

        hint = f"{setting.text}\n\n{setting.limits[0].upper()}{setting.limits[1:]}{unit}{named}."
        dialog = TextDialog(setting.title, now, hint, check=problem)
        typed = await self.app.push_screen_wait(dialog)
        if typed is not None:
            self._put(setting, setting.read(typed))

    async def _choose(self, setting: Setting) -> None:
        names = self._around.names.get(setting.name)
        try:
            choices = await asyncio.to_thread(names) if names else self._plain(setting)
        except CorralError as error:
            self.query_one(Notice).fail(error)
            return
        now = str(setting.of(self._settings))
        dialog = ChoiceDialog(setting.title, choices, setting.text, selected=now)
        chosen = await self.app.push_screen_wait(dialog)
        if chosen is not None:
            self._put(setting, chosen)

    def _plain(self, setting: Setting) -> list[tuple[str, str]]:
        """The choices of a setting that has a fixed few."""
        return [
            (str(choice), f"{setting.shown(choice)}{_mark(choice == setting.default)}")
            for choice in setting.choices
        ]

    def action_step(self, step: int) -> None:
        """The next of a few values, without a question; no press of a held key is lost."""
        item = self._item
        if isinstance(item, Setting) and item.choices:
            at = item.choices.index(item.of(self._settings)) + step
            self._put(item, item.choices[at % len(item.choices)])

    def action_default(self) -> None:
        item = self._item
        if isinstance(item, Setting) and item.holds != "file":
            self._put(item, item.default, reset=True)

    def _put(self, setting: Setting, value: Any, *, reset: bool = False) -> None:
        notice = self.query_one(Notice)
        values = {**self._settings.engine.model_dump(), setting.name: value}
        found = conflict(values) if setting.table == "engine" else None
        if found is not None:
            notice.say(f"{found[1]}: not changed", error=True)
            return
        problem = self._keep(setting, value, reset)
        notice.say(problem, error=bool(problem))
        self._show()
        self._explain()
        if setting.name == "kv_disk" and value == 0:
            self._offer_to_clear()
        self._look()

    @work(exclusive=True, group="clear")
    async def _offer_to_clear(self) -> None:
        """Nothing is kept any more: what is there already could go, too."""
        kept = self._around.kept
        try:
            prompts = await asyncio.to_thread(kept.all) if kept is not None else []
            if kept is None or not prompts:
                return
            what = f"{amount(prompts, 0)} from before."
            text = f"{what} Conversations stay; they are only read again."
            if await self.app.push_screen_wait(ConfirmDialog("Clear what is kept?", text, "clear")):
                for prompt in prompts:
                    await asyncio.to_thread(kept.remove, prompt)
        except CorralError as error:
            if self.is_open:
                self.query_one(Notice).fail(error)
        if self.is_open:
            self._look()


def _mark(is_default: bool) -> str:
    return "\tdefault" if is_default else ""
