"""The manual page corral.1, written from the command tree, the help's texts and the key table.

Nothing of it is written by hand, so it says what the program does. In roff with man(7)'s macros.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from corral import __version__
from corral.cli import manual
from corral.cli.tree import Command, Option, whole
from corral.tui import keys, slash

SUMMARY = "chat with Llama 2 models in your terminal, offline"

FOLDERS = {
    "config": "~/.config/corral",
    "data": "~/.local/share/corral",
    "cache": "~/.cache/corral",
    "logs": "~/.local/state/corral/log",
}
"""Where platformdirs puts them on Linux, unless XDG_* variables say otherwise."""


def page(date: str) -> str:
    """The page as roff.

    Args:
        date: of the release, as 2026-11-21; it stands in the footer.
    """
    root = whole()
    return "\n".join([*_head(date), *_description(), *_commands(root), *_keys(), *_rest()]) + "\n"


def _head(date: str) -> Iterator[str]:
    yield '.\\" Written by packaging/linux/manual.py from the program itself.'
    yield f'.TH CORRAL 1 "{date}" "corral {__version__}" "User commands"'
    yield ".SH NAME"
    yield f"corral \\- {_text(SUMMARY)}"
    yield ".SH SYNOPSIS"
    yield ".B corral"
    yield "[\\fB\\-\\-offline\\fR]"
    yield ".br"
    yield ".B corral"
    yield "[\\fB\\-\\-offline\\fR] \\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]..."


def _description() -> Iterator[str]:
    yield ".SH DESCRIPTION"
    yield _prose(
        "corral talks with Llama 2 models and their relatives in GGUF files through llama.cpp, on "
        "this machine alone, and remembers everything that was written. Without a command it "
        "opens the chat screen. Only a download or a search on the hub opens a connection."
    )
    yield ".PP"
    yield _prose(manual.MODEL_NAMES)
    yield ".PP"
    yield _prose(manual.STREAMS)


def _commands(root: Command) -> Iterator[str]:
    yield ".SH OPTIONS"
    for option in root.options:
        yield from _option(option)
    yield ".SH COMMANDS"
    for command in root.all():
        if not command.path:
            continue
        usage = " ".join(one.metavar for one in command.arguments)
        if command.children:
            usage = "COMMAND"
        yield f'.SS "{_text(" ".join(("corral", *command.path, usage)).rstrip())}"'
        for number, paragraph in enumerate(command.help.split("\n\n")):
            if number:
                yield ".PP"
            yield _prose(paragraph)
        for option in command.options:
            if "--help" not in option.names:
                yield from _option(option)


def _option(option: Option) -> Iterator[str]:
    names = ", ".join(f"\\fB{_text(name)}\\fR" for name in option.names)
    yield ".TP"
    yield f"{names} \\fI{_text(option.metavar)}\\fR" if option.metavar else names
    yield _prose(option.text) or "\\&"


def _keys() -> Iterator[str]:
    yield ".SH KEYS"
    yield "Of the chat screen."
    for where, heading in keys.HEADINGS.items():
        yield f'.SS "{_text(heading)}"'
        yield from _list([(key.shown.replace(" / ", ", "), key.text) for key in keys.group(where)])
    yield ".SH TYPED INTO THE BOX"
    yield from _list([(f"/{one.name} {one.argument}".strip(), one.text) for one in slash.COMMANDS])


def _rest() -> Iterator[str]:
    files = []
    for place, text in manual.FILES:
        room, _, rest = place.partition("/")
        files.append((f"{FOLDERS[room]}/{rest}".rstrip("/"), text))
    yield ".SH ENVIRONMENT"
    yield from _list(manual.ENVIRONMENT)
    yield ".SH FILES"
    yield from _list(files)
    yield ".SH EXIT STATUS"
    yield from _list(manual.EXIT_CODES)
    yield ".SH EXAMPLES"
    yield from _list(manual.EXAMPLES)
    yield ".SH SEE ALSO"
    yield "F1 on the chat screen, and \\fBcorral\\fR \\fICOMMAND\\fR \\fB\\-\\-help\\fR."


def _list(lines: Sequence[tuple[str, str]]) -> Iterator[str]:
    for term, text in lines:
        yield ".TP"
        yield f"\\fB{_text(term)}\\fR"
        yield _prose(text)


def _prose(text: str) -> str:
    """A paragraph in short lines."""
    lines = textwrap.wrap(_text(text), 78, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)


def _text(text: str) -> str:
    """Words as roff takes them: nothing in them is an escape or, at the start, a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("^", "\\(ha").replace("~", "\\(ti")
    text = text.replace("`", "\\(ga").replace("'", "\\(aq").replace('"', "\\(dq")
    text = re.sub(r"[^\x20-\x7e]", lambda found: f"\\[u{ord(found[0]):04X}]", text)
    return f"\\&{text}" if text.startswith((".", "'")) else text
