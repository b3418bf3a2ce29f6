"""The three small questions: for a line of text, for a yes, and for one of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from corral.text import clean, clean_line
from corral.tui.screens.modal import (
    MUTED,
    Bottom,
    CleanInput,
    Frame,
    Heading,
    Hints,
    Modal,
    Notice,
    Top,
)

FILTER_FROM = 9
"""Lists of at least this many choices can be filtered by typing."""


class TextDialog(Modal[str | None]):
    """Asks for one line; gives it without spaces around it, or None where it was cancelled.

    Args:
        value: what stands in the field at first, all of it selected.
        hint: one sentence above the field.
        check: gives one sentence about what is wrong with what was typed, else nothing.
    """

    def __init__(
        self,
        title: str,
        value: str = "",
        hint: str = "",
        *,
        check: Callable[[str], str] = lambda typed: "",
    ) -> None:
        super().__init__()
        self._heading = title
        self._value = value
        self._hint = hint
        self._check = check

    def compose(self) -> ComposeResult:
        with Frame(classes="-small"):
            with Top():
                yield Heading(self._heading)
                if self._hint:
                    yield Static(clean(self._hint), markup=False, classes="hint")
            yield CleanInput(clean_line(self._value), select_on_focus=True)
            with Bottom():
                yield Notice()
                yield Hints([("Enter", "take it", "submit"), ("Esc", "cancel", "close")])

    @on(Input.Submitted)
    def action_submit(self) -> None:
        typed = self.query_one(Input).value.strip()
        if problem := self._check(typed):
            self.query_one(Notice).say(problem, error=True)
        else:
            self.dismiss(typed)

    @on(Input.Changed)
    def _on_typed(self) -> None:
        self.query_one(Notice).say("")


class ConfirmDialog(Modal[bool]):
    """Asks before something that cannot be taken back. Enter or y agrees, Esc or n does not.

    Args:
        yes: the verb of the deed, so that nobody has to read "OK" twice.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "agree", show=False),
        Binding("n", "close", show=False),
    ]

    def __init__(self, title: str, text: str, yes: str = "Delete") -> None:
        super().__init__()
        self._heading = title
        self._text = text
        self._yes = yes

    def compose(self) -> ComposeResult:
        with Frame(classes="-small"):
            with Top():
                yield Heading(self._heading)
            with VerticalScroll():
                yield Static(clean(self._text), markup=False, classes="text")
            with Bottom():
                yes = clean_line(self._yes).lower()
                yield Hints([("Enter", yes, "agree"), ("Esc", "cancel", "close")])

    def action_agree(self) -> None:
        self.dismiss(True)

    def action_close(self) -> None:
        self.dismiss(False)


class ChoiceDialog(Modal[str | None]):
    """Asks for one of several; gives its value, or None where it was cancelled.

    Args:
        choices: ``(value, label)`` pairs; the label may be split by a tab into name and remark.
        hint: one sentence above the list.
        selected: the value to start at.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key, f"move('{action}')", show=False)
        for key, action in (
            ("down", "cursor_down"),
            ("up", "cursor_up"),
            ("pagedown", "page_down"),
            ("pageup", "page_up"),
        )
    ]

    def __init__(
        self,
        title: str,
        choices: Sequence[tuple[str, str]],
        hint: str = "",
        *,
        selected: str | None = None,
    ) -> None:
        super().__init__()
        self._heading = title
        self._choices = list(choices)
        self._hint = hint
        self._selected = selected
        names = [clean_line(label.partition("\t")[0]) for _, label in choices]
        self._width = max(map(len, names), default=0)
        self._labels = [
            _label(name, clean_line(label.partition("\t")[2]), self._width)
            for name, (_, label) in zip(names, choices, strict=True)
        ]
        self._shown: list[int] = []

    def compose(self) -> ComposeResult:
        with Frame(classes="-small"):
            with Top():
                yield Heading(self._heading)
                if self._hint:
                    yield Static(clean(self._hint), markup=False, classes="hint")
                if len(self._choices) >= FILTER_FROM:
                    yield CleanInput(placeholder="Type to filter", classes="filter")
            yield OptionList(markup=False, compact=True)
            with Bottom():
                yield Hints(
                    [("↑↓", "move", ""), ("Enter", "choose", "choose"), ("Esc", "cancel", "close")]
                )

    def on_mount(self) -> None:
        self._filter("")
        values = [value for value, _ in self._choices]
        if self._selected in values:
            self.query_one(OptionList).highlighted = values.index(self._selected)

    @on(Input.Changed)
    def _on_typed(self, event: Input.Changed) -> None:
        self._filter(event.value)

    def _filter(self, typed: str) -> None:
        words = typed.casefold().split()
        self._shown = [
            number
            for number, label in enumerate(self._labels)
            if all(word in label.plain.casefold() for word in words)
        ]
        options = self.query_one(OptionList)
        options.clear_options()
        if self._shown:
            options.add_options(Option(self._labels[number]) for number in self._shown)
            options.highlighted = 0
        else:
            options.add_option(Option(Content("Nothing matches"), disabled=True))

    def action_move(self, action: str) -> None:
        """The list moves also while the filter has the focus."""
        getattr(self.query_one(OptionList), f"action_{action}")()

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def action_choose(self) -> None:
        highlighted = self.query_one(OptionList).highlighted
        if self._shown and highlighted is not None:
            self.dismiss(self._choices[self._shown[highlighted]][0])


def _label(name: str, remark: str, width: int) -> Content:
    if not remark:
        return Content(name)
    return Content.assemble(name.ljust(width + 2), (remark, MUTED))
