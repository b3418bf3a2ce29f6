"""The editor of a text: what the model wrote is tinted, what it no longer sees is dim."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import Edit, Selection

from corral.chat import texts
from corral.tui.widgets.prompt_area import typed

if TYPE_CHECKING:
    from textual.widgets.text_area import EditResult

LONGEST = 1_000_000
"""Most characters of a text; far more than any window of Llama 2 holds."""


class TextEditor(TextArea):
    """A text and who wrote what of it.

    ``written`` is what is stored; what a person changed since is in the text alone.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"text-editor--model", "text-editor--unseen"}
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+shift+z", "redo", show=False)]

    class Step(Message):
        """Undo (-1) or redo (1) where nothing that was typed can be undone or redone."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    class TooLong(Message):
        """Something was typed or pasted that does not fit."""

    def __init__(self) -> None:
        super().__init__(
            compact=True,
            highlight_cursor_line=False,
            placeholder="Write a beginning; the model goes on with Tab",
            tab_behavior="focus",
        )
        self.written = ""
        self.unseen = 0
        """So many characters at the beginning the model did not see."""
        self._pieces: list[tuple[bool, str]] = []
        self._spans: list[tuple[int, int]] = []
        self._rows: list[int] = [0]
        """Where each row begins."""
        self._undone = 0
        """Steps of typing that can be redone."""

    # --- what it shows ----------------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether a person changed something that is not stored."""
        return self.text != self.written

    def show(
        self, pieces: Sequence[tuple[bool, str]], text: str | None = None, at: int | None = None
    ) -> None:
        """Show pieces that are stored.

        Args:
            pieces: for each, whether the model wrote it, and its words.
            text: what a person made of it, and is not stored.
            at: the character the cursor goes to; None for the end.
        """
        self._pieces = list(pieces)
        self.written = "".join(words for _, words in pieces)
        self.unseen = 0
        text = self.written if text is None else text
        if text != self.text:
            self.load_text(text)
        else:
            self.history.clear()
        self._undone = 0
        self.tint()
        self.put_cursor(len(text) if at is None else at)

    def extend(self, words: str) -> None:
        """The model wrote these behind the end; a cursor that is there goes with them."""
        end = self.document.end
        follows = self.selection == Selection.cursor(end)
        super().edit(Edit(typed(words), end, end, maintain_selection_offset=not follows))
        self.history.clear()
        self._pieces.append((True, typed(words)))
        self.written = self.text
        self.tint()
        if follows:
            self.scroll_cursor_visible(animate=False)

    def tint(self) -> None:
        """Find out again whose words are where; after every change."""
        text = self.text
        self._spans = texts.spans(self._pieces, text)
        lengths = (len(row) + 1 for row in text.split("\n"))
        self._rows = [0, *accumulate(lengths)]
        self.refresh()

    def get_line(self, line_index: int) -> Text:
        """A row as it is drawn."""
        line = super().get_line(line_index)
        if line_index + 1 >= len(self._rows):
            return line
        start, end = self._rows[line_index], self._rows[line_index + 1]
        style = self.get_component_rich_style("text-editor--model")
        first = bisect_right(self._spans, start, key=lambda span: span[1])
        for begin, finish in self._spans[first:]:
            if begin >= end:
                break
            line.stylize(style, max(0, begin - start), finish - start)
        if self.unseen > start:
            dim = self.get_component_rich_style("text-editor--unseen")
            line.stylize(dim, 0, self.unseen - start)
        return line

    # --- places -----------------------------------------------------------------------------------

    @property
    def cursor(self) -> int:
        """The character the cursor is at, counted from the beginning."""
        row, column = self.cursor_location
        return self._rows[row] + column if row < len(self._rows) else len(self.text)

    def put_cursor(self, at: int) -> None:
        self.selection = Selection.cursor(self._place(at))
        self.scroll_cursor_visible(animate=False)

    def mark(self, start: int, end: int) -> None:
        """Select characters."""
        self.selection = Selection(self._place(start), self._place(end))
        self.scroll_cursor_visible(animate=False)

    def _place(self, at: int) -> tuple[int, int]:
        row = max(0, bisect_right(self._rows, at) - 1)
        row = min(row, self.document.line_count - 1)
        return row, min(at - self._rows[row], len(self.document.get_line(row)))

    # --- what comes in ----------------------------------------------------------------------------

    def edit(self, edit: Edit) -> EditResult:
        """All ways into the text lead through here: typing, pasting, replacing."""
        edit.text = typed(edit.text)
        if len(edit.text) + len(self.text) > LONGEST and len(edit.text) > 1:
            self.post_message(self.TooLong())
            edit.text = ""
            edit.to_location = edit.from_location
        self._undone = 0
        result = super().edit(edit)
        self.tint()
        return result

    def action_undo(self) -> None:
        """Undo what was typed; where nothing was, go back by a piece."""
        self._step(-1)

    def action_redo(self) -> None:
        self._step(1)

    def _step(self, step: int) -> None:
        if not self.read_only and not self.step_typed(step):
            self.post_message(self.Step(step))

    def step_typed(self, step: int) -> bool:
        """Undo (-1) or redo (1) what was typed; False where there is nothing of that."""
        before = self.text
        if step < 0 and self.changed:
            self.undo()
        elif step > 0 and self._undone:
            self.redo()
        if self.text == before:
            return False
        self._undone -= step
        self.tint()
        return True
