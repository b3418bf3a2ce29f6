"""Commands that are typed into the box, as ``/model 13b``; anything else is a message."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One of them."""

    name: str
    argument: str
    """What may follow, as the help shows it; "" for nothing."""
    text: str
    action: str
    """Textual's; a command with an argument names a method that takes it."""


COMMANDS = (
    Command("model", "WORDS", "Answer with another model: /model 13b q8", "model_command"),
    Command("models", "", "Every model, downloads, and what fits", "screen.models"),
    Command("new", "", "New conversation", "screen.new_conversation"),
    Command("parameters", "", "Parameters and system prompt", "screen.parameters"),
    Command("settings", "", "Settings, and kept prompts", "screen.settings"),
    Command("bench", "", "Measure how fast the model is here", "app.bench"),
    Command("help", "", "This help", "screen.help"),
    Command("quit", "", "Quit; all is saved already", "app.quit"),
)


def parse(text: str) -> tuple[Command, str] | None:
    """The command a text is, and what follows its name; None for a message."""
    if not text.startswith("/") or "\n" in text.strip():
        return None
    name, _, rest = text.strip()[1:].partition(" ")
    command = next((one for one in COMMANDS if one.name == name.casefold()), None)
    if command is None or (rest.strip() and not command.argument):
        return None
    return command, rest.strip()


def hint(text: str) -> str:
    """The commands that go on as a text begins, for the border of the box; else nothing."""
    if not text.startswith("/") or len(text.split()) > 1 or "\n" in text:
        return ""
    start = text[1:].strip().casefold()
    found = [one for one in COMMANDS if one.name.startswith(start)]
    return " · ".join(f"/{one.name} {one.argument}".strip() for one in found)
