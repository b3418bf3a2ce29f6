"""What an empty conversation says: who answers, what one could ask, and which keys help."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.style import Style
from textual.widgets import Static

from corral.models import GET_STARTER

EXAMPLES = (
    "Plan three days in Cusco for people who like to walk",
    "Explain how a language model chooses its next word",
    "Write an e-mail that moves a meeting to Thursday",
)


class _Text(Static):
    """The words, in which an example can be clicked."""

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self.auto_links = False

    def action_choose(self, number: int) -> None:
        self.post_message(Welcome.Chosen(EXAMPLES[number]))


class Welcome(VerticalScroll, can_focus=False):
    """Shown where there are no messages yet."""

    class Chosen(Message):
        """An example was clicked."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = _Text()

    def compose(self) -> ComposeResult:
        yield self._text

    def greet(self, model: str, better: str = "") -> None:
        """There is a model; its title is given, cleaned.

        Args:
            better: which model would suit the machine better, in one line; cleaned.
        """
        lines: list[Content] = [
            Content.styled("Keep your llamas at home.", "bold"),
            Content.assemble(
                (model, "$primary"),
                (" answers on this machine. Nothing you write leaves it.", "$quiet"),
            ),
            Content(),
            Content.styled("Type a message, or take one of these with ↑", "$quiet"),
        ]
        for number, example in enumerate(EXAMPLES):
            click = Style.from_meta({"@click": f"choose({number})"})
            lines.append(Content.assemble(("❯ ", "$primary"), Content(example).stylize(click)))
        if better:
            get = Content.assemble(("F5", "$primary bold"), (" downloads it meanwhile", "$quiet"))
            click = Style.from_meta({"@click": "screen.download_recommended"})
            lines += [Content(), Content.styled(better, "$quiet"), get.stylize(click)]
        lines += [Content(), _keys([("^O", "models"), ("^G", "parameters"), ("F1", "help")])]
        self._text.update(Content("\n").join(lines))

    def explain(self, better: str = "") -> None:
        """There is no model yet; ``better`` as for :meth:`greet`."""
        lines: list[Content] = [
            Content.styled("No model is installed yet.", "bold"),
            Content.styled("Nothing can answer before one is. Ways to change that:", "$quiet"),
            Content(),
            Content.assemble(("  1  ", "$primary"), "A small one, 98 MB, that can talk at once:"),
            Content.styled(f"     {GET_STARTER}", "$quiet"),
            Content(),
            Content.assemble(("  2  ", "$primary"), "One that suits this machine:"),
            Content.assemble(("     F5", "$primary"), (f"  {better}" if better else "", "$quiet")),
            Content(),
            Content.assemble(
                ("  3  ", "$primary"), "A .gguf file, or what another program has downloaded:"
            ),
            Content.assemble(("     ^O", "$primary"), (" imports and adopts", "$quiet")),
            Content(),
            _keys([("^O", "models"), ("F1", "help"), ("^Q", "quit")]),
        ]
        self._text.update(Content("\n").join(lines))


def _keys(keys: Sequence[tuple[str, str]]) -> Content:
    parts = [Content.assemble((key, "$primary bold"), (f" {text}", "$quiet")) for key, text in keys]
    return Content("   ").join(parts)
