"""Every key of the chat screen in one table: bindings, footer, help screen and README read it.

``keys`` and ``action`` are what a Textual binding takes, so a screen can bind a row as it stands;
this file itself needs no Textual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Where = Literal["anywhere", "prompt", "transcript", "sidebar", "tree", "text", "models"]


@dataclass(frozen=True, slots=True)
class Key:
    """One thing a person can do with a key."""

    keys: str
    """Textual's names, separated by commas, the one to show first."""
    action: str
    """Name of the action; "" where the widget in focus does it by itself."""
    text: str
    """What it does, in a few words."""
    where: Where
    footer: str = ""
    """One word for the footer; "" keeps the key out of it."""

    @property
    def shown(self) -> str:
        """All the keys as people write them: ``Ctrl+J / Shift+Enter``."""
        return " / ".join(_shown(key) for key in self.keys.split(","))

    @property
    def short(self) -> str:
        """The first key as a footer writes it: ``^J``."""
        return _shown(self.keys.split(",")[0]).replace("Ctrl+", "^")


KEYS: tuple[Key, ...] = (
    Key("enter", "send", "Send the message", "prompt", "send"),
    Key("ctrl+j,shift+enter", "newline", "New line", "prompt", "newline"),
    Key("ctrl+up,f6", "recall", "Search your earlier prompts", "prompt"),
    Key("f7", "editor", "Write in your own editor", "prompt"),
    Key("ctrl+l", "fold", "Unfold a long paste; fold a selection", "prompt"),
    Key("escape", "stop", "Stop the answer, keep its text", "anywhere", "stop"),
    Key("ctrl+o", "models", "Models: choose, swap, download", "anywhere", "models"),
    Key("ctrl+n", "new_conversation", "New conversation", "anywhere", "new"),
    Key("ctrl+f", "search", "Search the conversations", "anywhere", "search"),
    Key("ctrl+g", "parameters", "Parameters and system prompt", "anywhere", "parameters"),
    Key("ctrl+r", "regenerate", "Another answer, or try again", "anywhere", "again"),
    Key("ctrl+t", "tree", "The whole tree of the conversation", "anywhere"),
    Key("ctrl+b", "sidebar", "Show or hide the sidebar", "anywhere"),
    Key("ctrl+y", "copy_answer", "Copy the last answer", "anywhere"),
    Key("f4", "copy_code", "Copy a code block, then the next", "anywhere"),
    Key("f5", "download_recommended", "Download what suits this machine", "anywhere"),
    Key("f2", "rename", "Rename the conversation", "anywhere"),
    Key("f3", "pin", "Pin or unpin the conversation", "anywhere"),
    Key("f8", "engine_log", "The engine's log", "anywhere"),
    Key("f9,ctrl+comma", "settings", "Settings, and kept prompts", "anywhere"),
    Key("ctrl+p", "command_palette", "Every command by name", "anywhere", "palette"),
    Key("f1", "help", "This help", "anywhere", "help"),
    Key("ctrl+q", "quit", "Quit; all is saved already", "anywhere"),
    Key("tab,shift+tab", "", "To sidebar, transcript, prompt", "anywhere"),
    Key("up,down,pageup,pagedown,home,end", "", "Scroll", "transcript"),
    Key("c", "copy_message", "Copy the message", "transcript"),
    Key("y", "copy_message_code", "Copy its code", "transcript"),
    Key("e", "edit", "Edit a message and send it again", "transcript"),
    Key("p", "pin_message", "Pin it: the model goes on seeing it", "transcript"),
    Key("s", "edit_summary", "Edit the summary of what is above", "transcript"),
    Key("left_square_bracket", "sibling(-1)", "The branch before", "transcript"),
    Key("right_square_bracket", "sibling(1)", "The branch after", "transcript"),
    Key("g", "go_on", "Go on with a cut answer", "transcript"),
    Key("v", "compare", "Compare models on this question", "transcript"),
    Key("f", "fork", "Fork into a new conversation", "transcript"),
    Key("delete", "delete_message", "Delete it and all below it", "transcript"),
    Key("x", "delete_only", "Delete only it", "transcript"),
    Key("u", "undo_deletion", "Undo the delete", "transcript"),
    Key("enter", "open", "Open the conversation", "sidebar"),
    Key("delete", "delete", "Delete the conversation", "sidebar"),
    Key("u", "undo_delete", "Undo the delete", "sidebar"),
    Key("f", "file", "File it into a folder", "sidebar"),
    Key("a", "archive", "Archive it, or take it back", "sidebar"),
    Key("p", "pin", "Pin it on top, or let it go", "sidebar"),
    Key("left,right", "", "Fold or unfold a folder", "sidebar"),
    Key("enter", "open", "Go to the message", "tree"),
    Key("up,down,pageup,pagedown,home,end", "", "Move", "tree"),
    Key("left_square_bracket,right_square_bracket", "", "To the sibling before, after", "tree"),
    Key("r", "again", "Another answer", "tree"),
    Key("m", "again_with", "The same, by another model", "tree"),
    Key("g", "go_on", "Go on with a cut answer", "tree"),
    Key("e", "edit", "Edit it; sending makes a branch", "tree"),
    Key("f", "fork", "Fork into a new conversation", "tree"),
    Key("delete", "delete", "Delete it and all below it", "tree"),
    Key("x", "delete_only", "Delete only it", "tree"),
    Key("u", "undo", "Undo the delete", "tree"),
    Key("c", "copy", "Copy the message", "tree"),
    Key("tab", "go_on", "Let the model go on", "text"),
    Key("escape", "stop", "Stop it; close the text", "text"),
    Key("ctrl+z", "undo", "Undo what was typed, then piece by piece", "text"),
    Key("ctrl+y,ctrl+shift+z", "redo", "Redo it", "text"),
    Key("ctrl+r", "candidates", "Three more candidates, one after another", "text"),
    Key("f3", "candidate(-1)", "The candidate before", "text"),
    Key("f4", "candidate(1)", "The candidate after", "text"),
    Key("ctrl+l", "alternatives", "Likeliest tokens at the cursor", "text"),
    Key("left,right", "", "In their list: the token before, after", "text"),
    Key("f5", "length", "How long a piece is", "text"),
    Key("enter", "choose", "Choose, download, or go on with it", "models"),
    Key("space", "pause", "Pause a download, or go on", "models"),
    Key("x", "cancel", "Cancel a download or a check", "models"),
    Key("less_than_sign,K", "forward(-1)", "Download it sooner", "models"),
    Key("greater_than_sign,J", "forward(1)", "Download it later", "models"),
    Key("m", "every", "Show all, or the short choice", "models"),
    Key("slash", "filter", "Filter by words", "models"),
    Key("s", "sort", "Sort: name, size, fits, speed, state", "models"),
    Key("d", "details", "Everything about it", "models"),
    Key("f", "set_format", "Set its prompt format", "models"),
    Key("v", "verify", "Verify its file, repair it", "models"),
    Key("i", "import_file", "Import a GGUF file", "models"),
    Key("a", "adopt", "Adopt what other programs have", "models"),
    Key("h", "search_hub", "Search the hub", "models"),
    Key("delete", "remove", "Remove it; what goes is said first", "models"),
    Key("c", "clean_up", "Clean up: copies, leftovers", "models"),
    Key("escape", "close", "Back to the conversation", "models"),
)

HEADINGS: dict[Where, str] = {
    "prompt": "In the prompt",
    "anywhere": "Anywhere",
    "transcript": "In the transcript",
    "sidebar": "In the sidebar",
    "tree": "In the tree",
    "text": "In a text",
    "models": "Among the models",
}
"""The groups in the order they are read."""

_SHOWN = {
    "escape": "Esc",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "delete": "Del",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "slash": "/",
    "comma": ",",
    "space": "Space",
}


def _shown(key: str) -> str:
    *held, last = key.split("+")
    last = _SHOWN.get(last) or (last if len(last) == 1 and not held else last.capitalize())
    return "+".join([*(part.capitalize() for part in held), last])


def group(where: Where) -> list[Key]:
    """The keys that work in one place, in the order they are shown."""
    return [key for key in KEYS if key.where == where]


def markdown_table() -> str:
    """The whole table in Markdown, for the README."""
    lines = ["| Key | Does | Where |", "| --- | --- | --- |"]
    for where, heading in HEADINGS.items():
        lines += [
            f"| `{key.shown.replace(' / ', '` `')}` | {key.text} | {heading.lower()} |"
            for key in group(where)
        ]
    return "\n".join(lines)
