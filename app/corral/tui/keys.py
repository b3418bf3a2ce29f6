"""Every key of the chat screen in one table: bindings, footer, help screen and README read it.

``keys`` and ``action`` are what a Textual binding takes, so a screen can bind a row as it stands;
this file itself needs no Textual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Where = Literal["anywhere", "prompt", "transcript", "sidebar"]


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
    Key("escape", "stop", "Stop the answer, keep its text", "anywhere", "stop"),
    Key("ctrl+o", "models", "Models: choose, import", "anywhere", "models"),
    Key("ctrl+n", "new_conversation", "New conversation", "anywhere", "new"),
    Key("ctrl+f", "search", "Search the conversations", "anywhere", "search"),
    Key("ctrl+g", "parameters", "Parameters and system prompt", "anywhere", "parameters"),
    Key("ctrl+r", "regenerate", "Another answer, or try again", "anywhere", "again"),
    Key("ctrl+b", "sidebar", "Show or hide the sidebar", "anywhere"),
    Key("ctrl+y", "copy_answer", "Copy the last answer", "anywhere"),
    Key("f4", "copy_code", "Copy a code block, then the next", "anywhere"),
    Key("f2", "rename", "Rename the conversation", "anywhere"),
    Key("f3", "pin", "Pin or unpin the conversation", "anywhere"),
    Key("f8", "engine_log", "The engine's log", "anywhere"),
    Key("ctrl+p", "command_palette", "Every command by name", "anywhere", "palette"),
    Key("f1", "help", "This help", "anywhere", "help"),
    Key("ctrl+q", "quit", "Quit; all is saved already", "anywhere"),
    Key("tab,shift+tab", "", "To sidebar, transcript, prompt", "anywhere"),
    Key("up,down,pageup,pagedown,home,end", "", "Scroll", "transcript"),
    Key("c", "copy_message", "Copy the message", "transcript"),
    Key("y", "copy_message_code", "Copy its code", "transcript"),
    Key("e", "edit", "Edit a message and send it again", "transcript"),
    Key("left_square_bracket", "sibling(-1)", "The branch before", "transcript"),
    Key("right_square_bracket", "sibling(1)", "The branch after", "transcript"),
    Key("enter", "open", "Open the conversation", "sidebar"),
    Key("delete", "delete", "Delete the conversation", "sidebar"),
    Key("u", "undo_delete", "Undo the delete", "sidebar"),
)

HEADINGS: dict[Where, str] = {
    "prompt": "In the prompt",
    "anywhere": "Anywhere",
    "transcript": "In the transcript",
    "sidebar": "In the sidebar",
}
"""The groups in the order they are read."""

_SHOWN = {
    "escape": "Esc",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "delete": "Del",
    "up": "↑",
    "down": "↓",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
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
