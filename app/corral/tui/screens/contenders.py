"""Who is to be compared: models, presets and sets of parameters, and the question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from corral.contenders import Contender, contenders
from corral.errors import CorralError
from corral.text import clean, clean_line, shorten
from corral.tui.screens.modal import (
    MUTED,
    Bottom,
    CleanInput,
    CleanTextArea,
    Frame,
    Heading,
    Hints,
    Modal,
    Notice,
    Top,
)

HINT = "Every model answers with every preset and every set of parameters."
SETS = "Parameters: temperature=0.2 | temperature=1 top_k=40"
LONGEST = 44
BROAD = 60
"""Cells of a row from which on it says more than a name."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that can be chosen."""

    name: str
    note: str = ""
    """A few words about it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be compared."""

    question: str
    contenders: tuple[Contender, ...]
    blind: bool


@dataclass(slots=True)
class Found:
    """What there is to choose from."""

    models: Sequence[Candidate] = ()
    presets: Sequence[Candidate] = ()


@dataclass(slots=True)
class _Row:
    kind: str
    candidate: Candidate
    chosen: bool = field(default=False)


class ContendersScreen(Modal[Wish | None]):
    """Asks what to compare.

    Args:
        find: gives what there is; called in a thread.
        question: what stands in the box for it.
        chosen: names of models that are chosen at first.
    """

    AUTO_FOCUS = "OptionList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "choose", show=False),
        Binding("b", "blind", show=False),
        Binding("ctrl+s,f10", "compare", show=False, priority=True),
    ]

    def __init__(
        self, find: Callable[[], Found], question: str, chosen: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self._find = find
        self._question = clean(question)
        self._chosen = frozenset(chosen)
        self._rows: list[_Row] = []
        self._blind = False

    def compose(self) -> ComposeResult:
        with Frame(classes="-wide"):
            with Top():
                yield Heading("Compare", "looking …")
                yield Static(HINT, markup=False, classes="hint")
                yield CleanTextArea(
                    self._question,
                    soft_wrap=True,
                    compact=True,
                    tab_behavior="focus",
                    id="question",
                )
            yield OptionList(markup=False, compact=True)
            with Bottom():
                yield CleanInput(placeholder=SETS, id="sets")
                yield Notice()
                yield Hints(
                    [
                        ("Space", "choose", "choose"),
                        ("Tab", "question, parameters", ""),
                        ("b", "blind", "blind"),
                        ("Enter", "compare", "compare"),
                        ("Esc", "close", "close"),
                    ]
                )

    def on_mount(self) -> None:
        self._look()

    # --- what there is ----------------------------------------------------------------------------

    @work(exclusive=True, group="look", thread=True)
    def _look(self) -> None:
        try:
            found = self._find()
        except CorralError as error:
            self.app.call_from_thread(self._failed, error)
            return
        self.app.call_from_thread(self._take, found)

    def _failed(self, error: CorralError) -> None:
        if self.is_open:
            self.query_one(Heading).tell("")
            self.query_one(Notice).fail(error)

    def _take(self, found: Found) -> None:
        if not self.is_open:
            return
        self._rows = [_Row("model", one, one.name in self._chosen) for one in found.models]
        self._rows += [_Row("preset", one) for one in found.presets]
        self._show(0)

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self, at: int | None = None) -> None:
        if not self._rows or not self.is_open:
            return
        options = self.query_one(OptionList)
        at = (options.highlighted or 0) if at is None else at
        width = max(20, options.scrollable_content_region.width - 2)
        longest = max(len(row.candidate.name) + 7 * (row.kind == "preset") for row in self._rows)
        names = min(longest, LONGEST)
        options.set_options(Option(_line(row, width, names)) for row in self._rows)
        options.highlighted = min(at, len(self._rows) - 1)
        self._count()

    @on(Input.Changed)
    def _count(self) -> None:
        """Say how many there would be."""
        models, presets, sets = self._wanted()
        count = max(1, len(models)) * max(1, len(presets)) * max(1, len(sets))
        parts = [f"{count} {'answer' if count == 1 else 'answers'}"]
        parts += ["blind: names after your vote"] if self._blind else []
        self.query_one(Heading).tell(" · ".join(parts))
        self.query_one(Notice).say("")

    def _wanted(self) -> tuple[list[str], list[str], list[str]]:
        chosen = {
            kind: [row.candidate.name for row in self._rows if row.chosen and row.kind == kind]
            for kind in ("model", "preset")
        }
        typed = self.query_one("#sets", Input).value
        sets = [one.strip() for one in typed.split("|")] if typed.strip() else []
        return chosen["model"], chosen["preset"], sets

    # --- what can be done -------------------------------------------------------------------------

    def action_choose(self) -> None:
        at = self.query_one(OptionList).highlighted
        if at is not None and at < len(self._rows):
            self._rows[at].chosen = not self._rows[at].chosen
            self._show(at)

    def action_blind(self) -> None:
        self._blind = not self._blind
        self._count()

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def action_compare(self) -> None:
        question = self.query_one(CleanTextArea).text
        notice = self.query_one(Notice)
        if not question.strip():
            notice.say("What shall they answer? Write it above the list", error=True)
            self.query_one(CleanTextArea).focus()
            return
        try:
            wanted = contenders(*self._wanted())
        except CorralError as error:
            if not self._several():
                notice.say("Choose two or more: models, presets, or sets with | between")
            else:
                notice.fail(error)
            return
        self.dismiss(Wish(question, tuple(wanted), self._blind))

    def _several(self) -> bool:
        return any(len(one) > 1 for one in self._wanted())


def _line(row: _Row, width: int, names: int) -> Content:
    """Args:
    names: cells for the kind and the name, where a few words follow.
    """
    mark = "✓ " if row.chosen else "  "
    kind = "preset " if row.kind == "preset" else ""
    name = shorten(row.candidate.name, min(LONGEST, width - 4) - len(kind))
    style = "bold" if row.chosen else ""
    parts: list[str | Content | tuple[str, str]] = [mark, (kind, MUTED), (name, style)]
    if width >= BROAD and row.candidate.note:
        parts[-1] = (name.ljust(names - len(kind)), style)
        parts.append(("  " + shorten(clean_line(row.candidate.note), width - names - 4), MUTED))
    return Content.assemble(*parts)
