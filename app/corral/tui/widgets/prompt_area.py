"""The text of the box: cleaned, recalled, folded where it is long, with vim's keys if wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import Selection

from corral.text import clean
from corral.tui import keys
from corral.tui.widgets.completion import Completion
from corral.tui.widgets.folds import (
    PASTED_LENGTH,
    PASTED_LINES,
    UNFOLDED_LENGTH,
    UNFOLDED_LINES,
    Folds,
    is_long,
)

if TYPE_CHECKING:
    from textual.widgets.text_area import Edit, EditResult

    from corral.tui.widgets.vim import Vim

LONGEST = 20_000_000
"""Most characters the box takes; far more than any window of Llama 2 holds."""

_UNCLEAN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""What :func:`corral.text.clean` replaces; to look for it is ten times faster than to replace."""

ARROWS = {"left": "h", "down": "j", "up": "k", "right": "l", "home": "0", "end": "$"}
"""What they are in vim's visual modes."""

Place = tuple[int, int]
"""Row and column."""


def typed(text: str) -> str:
    """Text as it may stand in the box: cleaned, but tabs stay, and every line break is one."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _UNCLEAN.search(text) is None:
        return text
    return "\t".join(clean(piece) for piece in text.split("\t"))


class PromptArea(TextArea):
    """The text itself.

    Args:
        completion: the list that goes with it.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"prompt-area--fold"}
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

    class Complete(Message):
        """Tab was pressed while something is offered."""

    class Dismissed(Message):
        """Esc was pressed while something is offered."""

    class ModeChanged(Message):
        """Vim's mode is another one, or vim was switched on or off."""

    class TooLong(Message):
        """Something was typed or pasted that the box does not take."""

        def __init__(self, length: int) -> None:
            super().__init__()
            self.length = length

    class TooLongToUnfold(Message):
        """A folded text is longer than the box can show."""

    def __init__(self, completion: Completion, *, id: str | None = None) -> None:
        self._folds = Folds()
        super().__init__(
            id=id,
            compact=True,
            highlight_cursor_line=False,
            placeholder="Ask anything",
            tab_behavior="focus",
        )
        self.completion = completion
        self.vim: Vim | None = None
        self.busy: Callable[[], bool] = lambda: False
        """Whether Esc has something to stop, which it does also on its way to normal mode."""
        self._recallable: Sequence[str] = ()
        self._back = 0
        """How many prompts back the text in the box is; 0 for one that was not sent yet."""
        self._left: dict[int, str] = {}
        """What was written at each of these places when it was left: the arrows lose nothing."""

    def recallable(self, texts: Sequence[str]) -> None:
        """What ↑ and ↓ go through, the last one first; the same again changes nothing."""
        before = self._recallable
        if list(texts) != list(before):
            self._recallable, most = texts, min(len(texts), len(before))
            self._left = {
                at: text
                for at, text in self._left.items()
                if at == 0 or (at <= most and texts[-at] == before[-at])
            }

    def use_vim(self, on: bool) -> None:
        """Switch vim's keys on or off."""
        if on == (self.vim is not None):
            return
        from corral.tui.widgets.vim import Vim

        self.vim = Vim(self, self._mode_changed) if on else None
        self._mode_changed()

    def _mode_changed(self) -> None:
        self.set_class(self.vim is not None and self.vim.mode != "insert", "-normal")
        self.post_message(self.ModeChanged())

    # --- what comes in ----------------------------------------------------------------------------

    def edit(self, edit: Edit) -> EditResult:
        """All ways into the text lead through here: typing, pasting, replacing."""
        edit.text = typed(edit.text)
        # A folded text goes as one piece.
        start, end = sorted((edit.from_location, edit.to_location))
        edit.from_location = self._edge(start, 0) if start != end else start
        edit.to_location = self._edge(end, 1) if start != end else start
        return super().edit(edit)

    def on_paste(self, event: events.Paste) -> None:
        """Only what is short comes in as it is."""
        event.prevent_default()
        event.stop()
        self.take(event.text)
        self.focus()

    def action_paste(self) -> None:
        self.take(self.app.clipboard)

    def take(self, text: str) -> None:
        """Put a pasted text in for what is selected, folded where it is long."""
        if len(text) + self._folds.length(self.text) > LONGEST:
            self.post_message(self.TooLong(len(text)))
            return
        if is_long(text, PASTED_LINES, PASTED_LENGTH):
            text = self._folds.fold(typed(text))
        self.replace(text, *self.selection, maintain_selection_offset=False)

    def fill(self, text: str) -> None:
        """Put another text in, with the cursor at its end."""
        self._back = 0
        self._left.clear()
        self._put(text)

    def _put(self, text: str) -> None:
        self._folds.clear()
        text = typed(text)
        self.load_text(self._folds.fold_middle(text) if is_long(text) else text)
        self.move_cursor(self.document.end)

    # --- folded texts -----------------------------------------------------------------------------

    @property
    def whole(self) -> str:
        """The text with everything that is folded."""
        return self._folds.unfold(self.text)

    @property
    def fold_note(self) -> str:
        """What can be done with the folded text at the cursor; "" where there is none."""
        if self._fold_here() is None:
            return ""
        return "a long text, sent whole · Ctrl+L unfolds it · F7 edits it"

    def _fold_here(self) -> tuple[Place, Place] | None:
        """Where the folded text at the cursor begins and ends."""
        if not self._folds:
            return None
        row, column = self.cursor_location
        spans = self._folds.spans(self.document.get_line(row))
        found = next((span for span in spans if span[0] <= column <= span[1]), None)
        return ((row, found[0]), (row, found[1])) if found else None

    def action_fold(self) -> None:
        """Show the folded text at the cursor; else fold what is selected."""
        if (here := self._fold_here()) is not None:
            text = self._folds.text(self.get_text_range(*here)) or ""
            if is_long(text, UNFOLDED_LINES, UNFOLDED_LENGTH):
                self.post_message(self.TooLongToUnfold())
            else:
                self.replace(text, *here, maintain_selection_offset=False)
        else:
            start, end = self._selected()
            text = self._folds.unfold(self.get_text_range(start, end))
            if text:
                self.replace(self._folds.fold(text), start, end, maintain_selection_offset=False)

    def _edge(self, place: Place, side: int) -> Place:
        """A place, or the begin (0) or end (1) of the folded text it is inside of."""
        row, column = place
        if self._folds and row < self.document.line_count:
            for span in self._folds.spans(self.document.get_line(row)):
                if span[0] < column < span[1]:
                    return row, span[side]
        return place

    def validate_selection(self, selection: Selection) -> Selection:
        """The cursor steps over a folded text."""
        if not self._folds:
            return selection
        return Selection(self._beside(selection.start), self._beside(selection.end))

    def _beside(self, place: Place) -> Place:
        begin, end = self._edge(place, 0), self._edge(place, 1)
        if begin == end:
            return place
        before = self.selection.end
        if before in (begin, end):
            return end if before == begin else begin
        return begin if place[1] - begin[1] < end[1] - place[1] else end

    def get_line(self, line_index: int) -> Text:
        """A line as it is drawn: what stands for a folded text has another colour."""
        line = super().get_line(line_index)
        for start, end in self._folds.spans(line.plain):
            line.stylize(self.get_component_rich_style("prompt-area--fold"), start, end)
        return line

    def action_copy(self) -> None:
        """Copy what is selected, folded texts whole."""
        start, end = self._selected()
        if start == end:
            raise SkipAction
        self.app.copy_to_clipboard(self._folds.unfold(self.get_text_range(start, end)))

    def _selected(self) -> tuple[Place, Place]:
        """Where what is selected begins and ends; vim's visual modes are left with it."""
        start, end = sorted(self.selection)
        if self.vim is not None and self.vim.selecting:
            start, end = self.vim.selected
            self.vim.switch("normal")
        return start, end

    def action_cut(self) -> None:
        """The same, and take it out; without a selection the line."""
        start, end = self._selected()
        if start == end:
            start, end = (start[0], 0), (start[0] + 1, 0)
        result = self.delete(start, end, maintain_selection_offset=False)
        self.app.copy_to_clipboard(self._folds.unfold(result.replaced_text))

    # --- keys -------------------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        """What the list and vim take for themselves."""
        if self.completion.open and event.key in ("tab", "escape"):
            self.post_message(self.Complete() if event.key == "tab" else self.Dismissed())
        elif self.vim is None:
            return
        elif event.key == "escape":
            if self.vim.mode == "normal" or self.busy():
                self.vim.switch("normal")
                return
            self.vim.switch("normal")
        elif self.vim.mode == "insert":
            return
        elif event.is_printable and event.character:
            if event.character == "/" and not self.text:
                self.vim.switch("insert")
                return
            self.vim.key(event.character)
        elif event.key == "ctrl+r":
            self.redo()
        elif event.key == "backspace" or (self.vim.selecting and event.key in ARROWS):
            self.vim.key(ARROWS.get(event.key, "h"))
        else:
            return
        event.stop()
        event.prevent_default()

    def press(self, character: str) -> None:
        """A printable key that was pressed elsewhere and is meant for the text."""
        if self.vim is not None and self.vim.mode != "insert":
            self.vim.key(character)
        else:
            self.insert(character)

    async def action_recall(self) -> None:
        await self.screen.run_action("recall")

    async def action_editor(self) -> None:
        await self.screen.run_action("editor")

    def action_send(self) -> None:
        self.post_message(self.Send())

    def action_newline(self) -> None:
        self.insert("\n")
        self.scroll_cursor_visible()

    def action_cursor_up(self, select: bool = False) -> None:
        if self.completion.open and not select:
            self.completion.move(-1)
        elif select or not self.navigator.is_first_wrapped_line(self.cursor_location):
            super().action_cursor_up(select)
        else:
            self._recall(-1)

    def action_cursor_down(self, select: bool = False) -> None:
        if self.completion.open and not select:
            self.completion.move(1)
        elif select or not self.navigator.is_last_wrapped_line(self.cursor_location):
            super().action_cursor_down(select)
        else:
            self._recall(1)

    def _recall(self, step: int) -> None:
        at = min(self._back, len(self._recallable))
        to = at - step
        if not 0 <= to <= len(self._recallable):
            return
        self._left[at] = self.whole
        self._put(self._left.get(to, self._recallable[-to] if to else ""))
        self._back = to
