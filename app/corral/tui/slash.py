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
    completes: str = ""
    """What completes the argument: the words themselves, as ``oldest|ends``, or a kind of thing,
    as ``model``, for which the screen has a method ``model_choices``; "" for nothing."""


COMMANDS = (
    Command("model", "WORDS", "Answer with another model: /model 13b q8", "model_command", "model"),
    Command("models", "", "Every model, downloads, and what fits", "screen.models"),
    Command("adapter", "NAME:SCALE", "LoRA adapters; NAME off, off", "adapter_command", "adapter"),
    Command("new", "", "New conversation", "screen.new_conversation"),
    Command("open", "WORDS", "Open a conversation by its title", "open_command", "conversation"),
    Command("recall", "WORDS", "Take up an earlier prompt", "recall_command"),
    Command("editor", "", "Write in your own editor", "screen.editor"),
    Command(
        "window",
        "WORDS",
        "What goes when the context window is full, and its size: /window 8192 yarn",
        "window_command",
        "drop|stop|ends|summarise|auto",
    ),
    Command("again", "MODEL", "Another answer: /again 13b seed=7", "again_command", "model"),
    Command(
        "compare",
        "MODELS",
        "The same question to several models: /compare 7b 13b blind",
        "compare_command",
        "compare",
    ),
    Command("continue", "", "Go on with an answer that was cut", "screen.go_on"),
    Command("complete", "TEXT", "A text that the model writes on in", "complete_command"),
    Command("tree", "", "The whole tree of the conversation", "screen.tree"),
    Command("fork", "", "Fork into a new conversation", "screen.fork"),
    Command("undo", "", "Bring back what was deleted here", "screen.undo_deletion"),
    Command(
        "preset",
        "NAME",
        "A persona or a task: /preset classify spam, other",
        "preset_command",
        "preset",
    ),
    Command("form", "FILE", "A schema or grammar for every answer; off", "form_command", "path"),
    Command(
        "export",
        "FORMAT PATH",
        "Write it as Markdown, JSON, HTML or text; all of them: all",
        "export_command",
        "markdown|json|html|text|all",
    ),
    Command("import", "PATH", "Take in corral's or ChatGPT's export", "import_command", "path"),
    Command("backup", "PATH", "Everything but the models in one file", "backup_command", "path"),
    Command(
        "folder", "NAME", "File it into a folder; off takes it out", "folder_command", "folder"
    ),
    Command("archive", "", "Archive the conversation, or take it back", "screen.archive"),
    Command("trash", "", "Deleted conversations: bring back, or for good", "screen.trash"),
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


def starting(text: str) -> list[Command]:
    """The commands a text may become: those that begin so, then those that have it inside.

    None where it is a message, or has a command's name already and goes on after it.
    """
    if not text.startswith("/") or any(sign.isspace() for sign in text):
        return []
    start = text[1:].casefold()
    begin = [one for one in COMMANDS if one.name.startswith(start)]
    return begin + [one for one in COMMANDS if start in one.name and one not in begin]


def argument(text: str) -> tuple[Command, str] | None:
    """The command whose argument is being typed, and what there is of it; None elsewhere."""
    name, space, rest = text.partition(" ")
    if not space or "\n" in text or not text.startswith("/"):
        return None
    command = next((one for one in COMMANDS if one.name == name[1:].casefold()), None)
    return (command, rest) if command is not None and command.argument else None


def hint(text: str) -> str:
    """How the command that is being typed goes on, for the border of the box; else nothing."""
    found = argument(text)
    return f"/{found[0].name} {found[0].argument} · {found[0].text}" if found else ""
