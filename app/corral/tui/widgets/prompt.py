"""The box a person types in: it grows, recalls, and never sends what is pasted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import TextArea

from corral.text import clean
from corral.tui import keys, wording

if TYPE_CHECKING:
    from textual.widgets.text_area import Edit, EditResult

LONGEST = 4_000_000
"""Most characters the box takes; far more than any window of Llama 2 holds."""

FOLDED_LINES = 1_000
FOLDED_LENGTH = 100_000
"""From here on a pasted text is kept aside, and a few words stand for it in the box."""

METER = 10


def typed(text: str) -> str:
    """Text as it may stand in the box: cleaned, but tabs stay, and every line break is one."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "\t".join(clean(piece) for piece in text.split("\t"))


def _is_big(text: str) -> bool:
    lines = text.count("\n") + text.count("\r")
    return len(text) > FOLDED_LENGTH or lines > FOLDED_LINES


class PromptArea(TextArea):
    """The text itself."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key.keys, key.action, key.text, show=False, priority=key.action == "send")
            for key in keys.group("prompt")
            if key.action
        ),
        Binding("ctrl+y,super+y", "screen.copy_answer", show=False),
        Binding("ctrl+shift+z", "redo", show=False),
        Binding("pageup", "screen.scroll_transcript(-1)", show=False),
        Binding("pagedown", "screen.scroll_transcript(1)", show=False),
        Binding("ctrl+home", "screen.transcript_start", show=False),
        Binding("ctrl+end", "screen.transcript_end", show=False),
    ]

    class Send(Message):
        """Enter was pressed."""

    class TooLong(Message):
        """Something was typed or pasted that the box does not take."""

        def __init__(self, length: int) -> None:
            super().__init__()
            self.length = length

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            id=id,
            compact=True,
            highlight_cursor_line=False,
            placeholder="Ask anything",
            tab_behavior="focus",
        )
        self._recallable: Sequence[str] = ()
        self._recalled: int | None = None
        self._unsent = ""
        self._folded: dict[str, str] = {}
        """Long pasted texts by the words that stand for them."""

    def recallable(self, texts: Sequence[str]) -> None:
        """What ↑ and ↓ go through, the last one first; the same again changes nothing."""
        if list(texts) != list(self._recallable):
            self._recallable = texts
            self._recalled = None

    def edit(self, edit: Edit) -> EditResult:
        """All ways into the text lead through here: typing, pasting, replacing."""
        edit.text = typed(edit.text)
        return super().edit(edit)

    def on_paste(self, event: events.Paste) -> None:
        """Textual puts the text in; here it is only kept from doing so where it is too much."""
        if len(event.text) + len(self.whole) > LONGEST:
            event.prevent_default()
            event.stop()
            self.post_message(self.TooLong(len(event.text)))
        elif _is_big(event.text):
            event.prevent_default()
            self.insert(self._fold(event.text))

    @property
    def whole(self) -> str:
        """The text with everything that was pasted."""
        text = self.text
        for sign, folded in self._folded.items():
            text = text.replace(sign, folded)
        return text

    def _fold(self, text: str) -> str:
        """Keep a long text aside; gives the words that stand for it."""
        text = typed(text)
        lines = wording.number(text.count("\n") + 1)
        sign = f"[{lines} lines, {wording.number(len(text))} characters #{len(self._folded) + 1}]"
        self._folded[sign] = text
        return sign

    def fill(self, text: str) -> None:
        """Put another text in, with the cursor at its end."""
        self._folded.clear()
        self.load_text(self._fold(text) if _is_big(text) else typed(text))
        self.move_cursor(self.document.end)

    def action_send(self) -> None:
        self.post_message(self.Send())

    def action_newline(self) -> None:
        self.insert("\n")
        self.scroll_cursor_visible()

    def action_cursor_up(self, select: bool = False) -> None:
        if select or not self.navigator.is_first_wrapped_line(self.cursor_location):
            super().action_cursor_up(select)
        else:
            self._recall(-1)

    def action_cursor_down(self, select: bool = False) -> None:
        if select or not self.navigator.is_last_wrapped_line(self.cursor_location):
            super().action_cursor_down(select)
        else:
            self._recall(1)

    def _recall(self, step: int) -> None:
        count = len(self._recallable)
        at = count if self._recalled is None else self._recalled
        to = at + step
        if not 0 <= to <= count:
            return
        if at == count:
            self._unsent = self.whole
        elif self.whole != self._recallable[at]:
            # A recalled text that was changed is no longer one: it is not thrown away.
            return
        self.fill(self._unsent if to == count else self._recallable[to])
        self._recalled = None if to == count else to


class Prompt(Vertical):
    """The box with its border: what is going on above, the context window below."""

    class Submitted(Message):
        """A person wants this sent."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Changed(Message):
        """The text is another one."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.area = PromptArea(id="prompt-area")
        self._said = ""

    def compose(self) -> ComposeResult:
        yield self.area

    @property
    def text(self) -> str:
        return self.area.whole

    def fill(self, text: str) -> None:
        self.area.fill(text)

    def note(self, text: str) -> None:
        """Say something in the upper border; "" takes it away. Costs nothing where it is there."""
        if text == self._said:
            return
        self._said = text
        self.border_title = Content.styled(text, "$quiet") if text else None

    def show_context(self, context: tuple[int, int] | None) -> None:
        """Show how much of the context window is in use."""
        if context is None:
            self.border_subtitle = None
            return
        used, window = context
        style = "$text-warning" if used > 0.9 * window else "$primary"
        wide = self.size.width >= 40
        self.border_subtitle = Content.assemble(
            ("context " if wide else "", "$quiet"),
            (wording.meter(used / window, METER if wide else 5), style),
            (f" {wording.number(used)} / {wording.number(window)}", "$quiet"),
        )

    @on(PromptArea.Send)
    def _on_send(self) -> None:
        if (text := self.text).strip():
            self.post_message(self.Submitted(text))

    @on(TextArea.Changed)
    def _on_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())
