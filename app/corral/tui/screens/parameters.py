"""The system prompt and the parameters of one conversation, checked while they are typed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus
from textual.widgets import Input, Static, TextArea

from corral.adapting import KEY
from corral.chat.conversation import Conversation
from corral.chat.formats import FORMATS
from corral.settings import Settings
from corral.text import clean, shorten
from corral.tui.parameter import Parameter
from corral.tui.parameters import GROUPS, PARAMETERS, conflict, defaults
from corral.tui.screens.dialogs import ChoiceDialog, ConfirmDialog
from corral.tui.screens.modal import (
    MUTED,
    Bottom,
    CleanInput,
    CleanTextArea,
    Frame,
    Heading,
    Hints,
    Modal,
    Top,
)

if TYPE_CHECKING:
    from corral.models.library.local import LocalModel

ELSEWHERE = {KEY}
"""What is stored among the parameters and has a screen of its own."""
SYSTEM_TEXT = (
    "What the model is told before the first message: who it is, how it should answer. "
    "It is followed best when it is short."
)
NO_SYSTEM = "None. Chat models do well without one; say here how yours should answer."


@dataclass(frozen=True, slots=True)
class Changes:
    """What a conversation should hold from now on; ``parameters`` has only what differs."""

    system: str
    parameters: dict[str, Any] = field(default_factory=dict)


class SystemPrompt(CleanTextArea):
    """The text field on top; the arrow keys leave it at its end."""

    def action_cursor_down(self, select: bool = False) -> None:
        if self.cursor_at_last_line and not select:
            self.screen.focus_next()
        else:
            super().action_cursor_down(select)


class Rows(VerticalScroll, can_focus=False, inherit_bindings=False):
    """Scrolls with the focus; the arrow keys belong to the screen."""


class Row(Horizontal):
    """One parameter: its title, a field, and what counts while the field is empty."""

    def __init__(self, parameter: Parameter, text: str, default: Any, *, classes: str = "") -> None:
        self._input = CleanInput(text, placeholder=parameter.shown(default), select_on_focus=True)
        self._note = Static("", markup=False, classes="default")
        name = Static(parameter.title, markup=False, classes="name")
        super().__init__(name, self._input, self._note, classes=classes)
        self.parameter = parameter
        self._default = parameter.shown(default)
        self.check()

    @property
    def typed(self) -> str:
        return self._input.value.strip()

    @typed.setter
    def typed(self, text: str) -> None:
        self._input.value = text

    def value(self) -> Any:
        """What was typed, checked. Raises ``ValueError`` with a sentence."""
        return self.parameter.read(self.typed)

    @property
    def problem(self) -> str:
        """What is wrong with what was typed, in one sentence; "" where nothing is."""
        if not self.typed:
            return ""
        try:
            self.value()
        except ValueError as error:
            return str(error)
        return ""

    def check(self) -> None:
        """Mark the row while it is wrong, also for those who see no colour."""
        wrong = bool(self.problem)
        self.set_class(wrong, "-wrong")
        self.set_class(bool(self.typed), "-own")
        note = f"default {self._default}" if self.typed else "default"
        if wrong:
            note = f"✗ {self.parameter.limits}"
        self._note.update(Content(note))


class ParametersScreen(Modal[Changes | None]):
    """Gives the changes that were saved, or None.

    Args:
        conversation: whose system prompt and parameters these are.
        model: the model it talks to, for the defaults that come with it.
        settings: the person's own defaults.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", show=False, priority=True),
        Binding("ctrl+r", "reset", show=False, priority=True),
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
        Binding("pagedown", "move(8)", show=False),
        Binding("pageup", "move(-8)", show=False),
    ]

    def __init__(
        self,
        conversation: Conversation,
        model: LocalModel | None,
        *,
        settings: Settings | None = None,
    ) -> None:
        super().__init__()
        self._conversation = conversation
        self._model = model
        self._defaults = defaults(model, settings)
        stored = conversation.parameters
        self._texts = {
            name: parameter.shown(stored[name]) if name in stored else ""
            for name, parameter in PARAMETERS.items()
        }
        self._others = {name: stored[name] for name in stored if name not in PARAMETERS}
        self._refused = ("", "")
        """A parameter that excludes another one, and a sentence about it."""

    def compose(self) -> ComposeResult:
        model = self._model
        note = f"{model.title} · {model.quant}" if model else ""
        with Frame(classes="-tall"):
            with Top():
                yield Heading("Parameters", shorten(note, 48))
                yield SystemPrompt(
                    clean(self._conversation.system),
                    placeholder=Content(clean(self._system_default())),
                    compact=True,
                )
            with Rows():
                for heading, parameters in GROUPS.items():
                    yield Static(heading, markup=False, classes="group")
                    for parameter in parameters:
                        default = self._defaults[parameter.name]
                        last = parameter is parameters[-1]
                        text = self._texts[parameter.name]
                        yield Row(parameter, text, default, classes="-last" if last else "")
                if others := self._others.keys() - ELSEWHERE:
                    names = ", ".join(shorten(name, 40) for name in sorted(others))
                    yield Static("Also stored", markup=False, classes="group")
                    yield Static(shorten(names, 300), markup=False, classes="muted")
            with Bottom():
                yield Static("", markup=False, classes="explain")
                yield Hints(
                    [
                        ("^S", "save", "save"),
                        ("^R", "all to default", "reset"),
                        ("Tab ↑↓", "move", ""),
                        ("Esc", "close", "close"),
                    ]
                )

    def _system_default(self) -> str:
        model = self._model
        if model is None:
            return NO_SYSTEM
        format = FORMATS.get(model.format or "")
        own = model.default_system or (format.default_system if format else "")
        return f"The model's own: {own}" if own else NO_SYSTEM

    def on_mount(self) -> None:
        self._system = self.query_one(SystemPrompt).text

    @on(Input.Changed)
    def _on_typed(self, event: Input.Changed) -> None:
        row = event.input.parent
        if isinstance(row, Row):
            row.check()
            self._refused = ("", "")
            self._explain()

    @on(DescendantFocus)
    def _on_focused(self) -> None:
        current = self._row
        for row in self.query(Row):
            row.set_class(row is current, "-current")
        self._explain()

    def _explain(self) -> None:
        row = self._row
        text = Content(SYSTEM_TEXT)
        if row is not None:
            problem, parameter = row.problem, row.parameter
            limits = parameter.limits[0].upper() + parameter.limits[1:] + "."
            first = (f"✗ {problem}. ", "$error") if problem else ""
            last = "" if problem else ("\n" + limits, MUTED)
            text = Content.assemble(first, parameter.text, last)
            if self._refused[0] == parameter.name:
                text = Content.styled(f"✗ {self._refused[1]}.", "$error")
        self.query_one(".explain", Static).update(text)

    @property
    def _row(self) -> Row | None:
        """The row that has the focus."""
        parent = self.focused.parent if self.focused is not None else None
        return parent if isinstance(parent, Row) else None

    def action_move(self, steps: int) -> None:
        fields: list[Any] = [self.query_one(SystemPrompt), *self.query("Row Input")]
        if self.focused in fields:
            number = fields.index(self.focused) + steps
            fields[max(0, min(len(fields) - 1, number))].focus()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        row = self._row
        if row is not None and row.parameter.choices:
            self._choose(row)
        else:
            self.action_move(1)

    @work(exclusive=True, group="deed")
    async def _choose(self, row: Row) -> None:
        choices = [(str(value), row.parameter.shown(value)) for value in row.parameter.choices]
        selected = str(row.value()) if row.typed and not row.problem else None
        dialog = ChoiceDialog(
            row.parameter.title, [("", "default"), *choices], row.parameter.text, selected=selected
        )
        chosen = await self.app.push_screen_wait(dialog)
        if chosen is not None:
            row.typed = chosen

    def action_reset(self) -> None:
        """Every parameter to its default; the system prompt stays, and nothing is saved yet."""
        self._others = {name: self._others[name] for name in self._others.keys() & ELSEWHERE}
        for row in self.query(Row):
            row.typed = ""

    # --- leaving ----------------------------------------------------------------------------------

    def action_save(self) -> None:
        rows = {row.parameter.name: row for row in self.query(Row)}
        wrong = [row for row in rows.values() if row.problem]
        if wrong:
            wrong[0].query_one(Input).focus()
            self._explain()
            return
        values = {name: row.value() for name, row in rows.items() if row.typed}
        found = conflict(self._defaults | values)
        if found is not None:
            name, sentence = found
            rows[name].query_one(Input).focus()
            self._refused = (name, sentence)
            self._explain()
            return
        self.dismiss(Changes(self._edited_system(), self._others | values))

    def _edited_system(self) -> str:
        """The system prompt; as it was stored, to the letter, where nobody touched it."""
        text = self.query_one(SystemPrompt).text
        return self._conversation.system if text == self._system else text.strip()

    @property
    def _changed(self) -> bool:
        texts = {row.parameter.name: row.typed for row in self.query(Row)}
        others = {name for name in self._conversation.parameters if name not in PARAMETERS}
        return (
            texts != self._texts
            or self._others.keys() != others
            or self.query_one(TextArea).text != self._system
        )

    @work(exclusive=True, group="deed")
    async def action_close(self) -> None:  # type: ignore[override]
        if self._changed:
            dialog = ConfirmDialog("Close without saving?", "What you changed is lost.", "discard")
            if not await self.app.push_screen_wait(dialog):
                return
        self.dismiss(None)
