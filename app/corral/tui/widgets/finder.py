"""The box for searching, with what its filters may become, and what is wrong with one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from corral.chat import finding
from corral.errors import CorralError
from corral.store.store import Store
from corral.text import clean_line
from corral.tui.widgets.completion import Choice, Completion, matching


class SearchBox(Input):
    """One line that cannot hold anything a terminal would obey."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move('cursor_down')", show=False),
        Binding("up", "move('cursor_up')", show=False),
        Binding("tab", "complete", show=False),
    ]

    class Moved(Message):
        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    class Complete(Message):
        """Tab was pressed."""

    def validate_value(self, value: str) -> str:
        return clean_line(value)

    def action_move(self, action: str) -> None:
        self.post_message(self.Moved(action))

    def action_complete(self) -> None:
        self.post_message(self.Complete())


class Finder(Vertical):
    """The box, a line below it, and the list of what a filter may become.

    What is typed and sent bubbles on as :class:`Input.Changed` and :class:`Input.Submitted`.

    Args:
        clock: gives the seconds since the epoch.
    """

    def __init__(self, store: Store, clock: Callable[[], float], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._store = store
        self._clock = clock
        self._known: tuple[str, list[Choice]] = ("", [])
        """The key of a filter, and what it may be; read once while that filter is written."""
        self.box = SearchBox(placeholder="⌕ search all chats", id="search", select_on_focus=False)
        self.note = Static("", markup=False, id="search-note")
        self.completion = Completion(id="filters")

    def compose(self) -> ComposeResult:
        yield self.box
        yield self.note
        yield self.completion

    @property
    def query_typed(self) -> finding.Query:
        return finding.parse(self.box.value, self._clock())

    def on_descendant_focus(self) -> None:
        self._tell()

    def on_descendant_blur(self) -> None:
        self.completion.hide()
        self._tell()

    @on(Input.Changed)
    def _on_typed(self) -> None:
        self._tell()
        self._complete()

    def _tell(self) -> None:
        """What is wrong, what the filter that is being written means, or which ones there are."""
        text, style = self.query_typed.problem, "$text-error"
        if not text and self.box.has_focus:
            style = "$quiet"
            writing = finding.unfinished(self.box.value)
            if writing is not None:
                text = finding.KEYS[writing[1]]
            elif not self.box.value:
                text = " ".join(f"{key}:" for key in finding.KEYS)
        self.note.display = bool(text)
        self.note.update(Content.styled(clean_line(text), style))

    # --- completing a filter ----------------------------------------------------------------------

    def _complete(self) -> None:
        writing = finding.unfinished(self.box.value)
        if writing is None or not self.box.has_focus:
            self._known = ("", [])
            self.completion.hide()
        elif writing[1] == self._known[0]:
            self._offer(writing[2])
        else:
            self.run_worker(
                self._look_up(writing[1]), group="complete", exclusive=True, exit_on_error=False
            )

    async def _look_up(self, key: str) -> None:
        try:
            names = await asyncio.to_thread(self._names, key)
        except CorralError:
            names = []
        writing = finding.unfinished(self.box.value)
        if writing is not None and writing[1] == key and self.box.has_focus:
            self._known = key, [Choice(clean_line(name)) for name in names]
            self._offer(writing[2])

    def _names(self, key: str) -> Sequence[str]:
        match key:
            case "model":
                return self._store.model_names()
            case "preset":
                return self._store.presets_used()
            case "folder":
                return list(self._store.folders())
            case "is":
                return finding.STATES
        return finding.DAYS

    def _offer(self, typed: str) -> None:
        found = matching(self._known[1], typed)
        # What stands there already needs no completion.
        complete = any(one.text.casefold() == typed.casefold() for one in found)
        self.completion.offer([] if complete else found, first=False)

    def _take(self, choice: Choice) -> None:
        writing = finding.unfinished(self.box.value)
        if writing is not None:
            before, key, _ = writing
            self.box.value = f"{before}{finding.written(key, choice.text)} "
            self.box.action_end()

    @on(SearchBox.Complete)
    def _on_complete(self, event: SearchBox.Complete) -> None:
        event.stop()
        if (choice := self.completion.chosen) is not None:
            self._take(choice)
        else:
            self.screen.focus_next()

    @on(SearchBox.Moved)
    def _on_moved(self, event: SearchBox.Moved) -> None:
        if self.completion.open:
            event.stop()
            self.completion.move(1 if event.action == "cursor_down" else -1)

    @on(Input.Submitted)
    def _on_submitted(self, event: Input.Submitted) -> None:
        if self.completion.moved and (choice := self.completion.chosen) is not None:
            event.stop()
            self._take(choice)

    @on(Completion.Picked)
    def _on_picked(self, event: Completion.Picked) -> None:
        event.stop()
        self._take(event.choice)
        self.box.focus()
