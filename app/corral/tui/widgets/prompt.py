"""The box a person types in: the text, what it may become, and what is going on around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import TextArea

from corral.tui import slash, wording
from corral.tui.widgets.completion import Choice, Completion, matching
from corral.tui.widgets.prompt_area import PromptArea

__all__ = ["Prompt", "PromptArea"]

METER = 10


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
        self.completion = Completion(id="completion")
        self.area = PromptArea(self.completion, id="prompt-area")
        self.choices_for: Callable[[str, str], Awaitable[Sequence[Choice]]] | None = None
        """What may complete an argument, by its kind and what is typed of it."""
        self._before = ""
        """What of the line stays before a choice: the command's name, for its argument."""
        self._dismissed = False
        self._said = ""

    def compose(self) -> ComposeResult:
        yield self.completion
        yield self.area

    @property
    def text(self) -> str:
        return self.area.whole

    @property
    def line(self) -> str:
        """What stands in the box where it is one line without anything folded; else nothing."""
        return self.area.text if self.area.document.line_count == 1 else ""

    def fill(self, text: str) -> None:
        self.area.fill(text)

    def note(self, text: str) -> None:
        """Say something in the upper border; "" takes it away. Costs nothing where it is there."""
        if text == self._said:
            return
        self._said = text
        self._tell_title()

    def _tell_title(self) -> None:
        """What was noted, after vim's mode where that is not the one for typing."""
        mode = self.area.vim.mode if self.area.vim is not None else "insert"
        parts = [(mode.upper(), "bold $primary")] if mode != "insert" else []
        if self._said:
            parts.append(((" · " if parts else "") + self._said, "$quiet"))
        self.border_title = Content.assemble(*parts) if parts else None

    def show_context(
        self,
        context: tuple[int, int] | None,
        *,
        about: bool = False,
        full: bool = False,
        left_out: int = 0,
    ) -> None:
        """Show how much of the context window is in use.

        Args:
            context: tokens in use, and tokens of the window.
            about: nobody counted them.
            full: what stands in the box does not fit.
            left_out: exchanges that the model would not see.
        """
        if context is None:
            self.border_subtitle = None
            return
        used, window = context
        style = "$text-warning" if used > 0.9 * window else "$primary"
        style = "$text-error" if full else style
        wide = self.size.width >= 40
        turns = "turn" if left_out == 1 else "turns"
        rest = f" · {wording.number(left_out)} {turns} left out" if left_out else ""
        rest = " · does not fit" if full else rest
        self.border_subtitle = Content.assemble(
            ("context " if wide else "", "$quiet"),
            (wording.meter(used / window, METER if wide else 5), style),
            (" about" if about else "", "$quiet"),
            (f" {wording.number(used)} / {wording.number(window)}", "$quiet"),
            (rest if self.size.width >= 60 or full else "", "$quiet"),
        )

    @on(PromptArea.ModeChanged)
    def _on_mode_changed(self, event: PromptArea.ModeChanged) -> None:
        event.stop()
        self._tell_title()

    @on(PromptArea.Send)
    def _on_send(self, event: PromptArea.Send) -> None:
        event.stop()
        text, choice = self.text, self.completion.chosen
        begun = not self._before and slash.parse(text) is None
        if choice is not None and (begun or self.completion.moved):
            self._take(choice, run=True)
        elif text.strip():
            self._submit(text)

    def _submit(self, text: str) -> None:
        self.completion.hide()
        if self.area.vim is not None:
            self.area.vim.switch("insert")
        self.post_message(self.Submitted(text))

    @on(TextArea.Changed)
    def _on_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self._complete()
        self.post_message(self.Changed())

    # --- completing a command ---------------------------------------------------------------------

    def _complete(self) -> None:
        """Offer what the text may become."""
        line = self.line
        if not line.startswith("/"):
            self._dismissed = False
            self.completion.hide()
        elif not self._dismissed:
            if (found := slash.argument(line)) is not None:
                command, typed = found
                self._complete_argument(command, typed, line)
            else:
                self._before = ""
                self.completion.offer([_choice(one) for one in slash.starting(line)])

    def _complete_argument(self, command: slash.Command, typed: str, line: str) -> None:
        self._before = f"/{command.name} "
        kind = command.completes
        if not kind:
            self.completion.hide()
        elif "|" in kind or self.choices_for is None:
            words = [Choice(word) for word in kind.split("|")] if "|" in kind else []
            self._offer(words, typed)
        else:
            self.run_worker(
                self._look_up(kind, typed, line),
                group="complete",
                exclusive=True,
                exit_on_error=False,
            )

    async def _look_up(self, kind: str, typed: str, line: str) -> None:
        assert self.choices_for is not None
        choices = await self.choices_for(kind, typed)
        if self.area.text == line and not self._dismissed:
            self._offer(choices, typed)

    def _offer(self, choices: Sequence[Choice], typed: str) -> None:
        found = matching(choices, typed)
        # What stands there already needs no completion.
        complete = len(found) == 1 and found[0].text == typed.strip()
        self.completion.offer([] if complete else found, first=False)

    def _take(self, choice: Choice, *, run: bool) -> None:
        """Put a choice into the box, and run the command where it is whole with it."""
        goes_on = choice.text.endswith(("/", " "))
        self.fill(self._before + choice.text)
        if run and not goes_on:
            self._submit(self.text)

    @on(PromptArea.Complete)
    def _on_complete(self, event: PromptArea.Complete) -> None:
        event.stop()
        if (choice := self.completion.chosen) is not None:
            self._take(choice, run=False)

    @on(PromptArea.Dismissed)
    def _on_dismissed(self, event: PromptArea.Dismissed) -> None:
        event.stop()
        self._dismissed = True
        self.completion.hide()

    @on(Completion.Picked)
    def _on_picked(self, event: Completion.Picked) -> None:
        event.stop()
        self._take(event.choice, run=True)
        self.area.focus()


def _choice(command: slash.Command) -> Choice:
    """A command as it is offered: one that takes an argument goes on after a space."""
    text = f"/{command.name} " if command.argument else f"/{command.name}"
    return Choice(text, command.text, f"/{command.name} {command.argument}".strip())
