"""What all modal screens share: the frame, its heading, the line of keys, and cleaned text fields.

Everything a person pastes or a file brings in is cleaned before a widget sees it, and no foreign
text is ever read as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual import events, on
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.style import Style
from textual.widgets import Input, Static, TextArea

from corral.errors import CorralError
from corral.text import clean, clean_line, shorten

if TYPE_CHECKING:
    from textual.widgets.text_area import Edit, EditResult

Result = TypeVar("Result")

MUTED = "$foreground-muted"
"""Style of what is not looked at first, inside of :class:`Content`."""

Hint = tuple[str, str, str]
"""A key as it is written, what it does, and the action a click on it runs (may be "")."""


class Modal(ModalScreen[Result]):
    """A screen over the chat. Esc closes it without a result."""

    CSS_PATH = Path(__file__).with_name("modals.tcss")
    HORIZONTAL_BREAKPOINTS: ClassVar[list[tuple[int, str]]] = [  # type: ignore[misc]
        (0, "-narrow"),
        (72, "-roomy"),
        (112, "-broad"),
    ]
    VERTICAL_BREAKPOINTS: ClassVar[list[tuple[int, str]]] = [  # type: ignore[misc]
        (0, "-tiny"),
        (15, "-low"),
        (24, "-high"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", show=False)]
    _late: tuple[Result | None] | None = None
    """The result of a screen that is to close and lies under another one."""

    @property
    def is_open(self) -> bool:
        """Whether it was not closed meanwhile; to be asked after everything that was awaited, and
        where a message was on its way."""
        return self.app.is_running and self in self.app.screen_stack

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Close it with a result; under another screen, as the palette, once that is gone.

        Textual would close whatever lies on top.
        """
        if self.app.screen is self:
            return super().dismiss(result)
        if self.is_open:
            self._late = (result,)
        return AwaitComplete.nothing()

    @on(events.ScreenResume)
    def _close_late(self) -> None:
        if self._late is not None:
            self.dismiss(*self._late)

    def action_close(self) -> None:
        self.dismiss(None)


class Frame(Vertical):
    """The one box of a modal screen; ``-small``, ``-wide`` or ``-tall`` give it its size."""


class Top(Vertical):
    """What stands still above the part of a frame that scrolls."""


class Bottom(Vertical):
    """What stands still below it."""


class Heading(Horizontal):
    """The title on the left, a dim note on the right."""

    def __init__(self, title: str, note: str = "") -> None:
        super().__init__()
        self._title = shorten(title, 200)
        self._note = note

    def compose(self) -> ComposeResult:
        yield Static(self._title, markup=False, classes="title")
        yield Static(clean_line(self._note), markup=False, classes="note")

    def tell(self, note: str) -> None:
        """Put another note on the right."""
        self.query_one(".note", Static).update(Content(clean_line(note)))


class Hints(Static):
    """The keys that work here, in the order of their use; each can be clicked, too."""

    def __init__(self, hints: Sequence[Hint]) -> None:
        super().__init__(markup=False)
        self._hints = hints

    def tell(self, hints: Sequence[Hint]) -> None:
        """Show other keys."""
        self._hints = hints
        self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        """Fill line after line; a key and its meaning stay together."""
        lines: list[Content] = []
        for key, text, action in self._hints:
            label = Content.assemble((key, "bold $accent"), (" " + text, MUTED))
            label = label.stylize(Style.from_meta({"hint": action}))
            longer = Content("   ").join([lines[-1], label]) if lines else label
            if lines and longer.cell_length <= self.size.width:
                lines[-1] = longer
            else:
                lines.append(label)
        self.update(Content("\n").join(lines))

    async def on_click(self, event: events.Click) -> None:
        action = event.style.meta.get("hint")
        if action:
            await self.screen.run_action(action)


def bar(fraction: float, width: int, style: str) -> Content:
    """A line that fills up, also for those who see no colour; anything over nothing shows."""
    fraction = min(1.0, max(0.0, fraction))
    filled = max(int(fraction * width), int(fraction > 0))
    return Content.assemble(("━" * filled, style), ("─" * (width - filled), "$foreground 30%"))


class Notice(Static):
    """One sentence about what happened; takes no room while there is nothing to say."""

    def __init__(self) -> None:
        super().__init__("", markup=False)

    def say(self, text: str, *, error: bool = False) -> None:
        self.set_class(bool(text), "-shown")
        self.set_class(error, "-error")
        self.update(Content(("✗ " if error and text else "") + clean(text)))

    def fail(self, error: CorralError) -> None:
        """An error as a person reads it: what happened, and what helps."""
        hint = f". {error.hint}" if error.hint else ""
        self.say(shorten(f"{error.title}: {error.message}{hint}", 300), error=True)


class CleanInput(Input):
    """One line of text that cannot hold anything a terminal would obey."""

    def validate_value(self, value: str) -> str:
        return clean_line(value)


class CleanTextArea(TextArea):
    """Several lines of the same."""

    def edit(self, edit: Edit) -> EditResult:
        edit.text = clean(edit.text)
        return super().edit(edit)
