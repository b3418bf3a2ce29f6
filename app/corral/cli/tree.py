"""The command tree as plain data, for the manual page and the completions of the shells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import click

Takes = Literal["nothing", "file", "folder", "choice", "text"]
"""What an option or an argument is followed by."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command."""

    names: tuple[str, ...]
    """As typed, the short ones first: ``-m``, ``--model``."""
    takes: Takes
    metavar: str
    """What stands for its value in a help; "" where it takes none."""
    choices: tuple[str, ...]
    text: str
    again: bool
    """Whether it may be given more than once."""


@dataclass(frozen=True, slots=True)
class Argument:
    """What a command takes without an option before it."""

    metavar: str
    takes: Takes
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A command or a group of them."""

    path: tuple[str, ...]
    """``("models", "pull")``; empty for corral itself."""
    text: str
    """One line."""
    help: str
    """All of it, paragraphs separated by an empty line."""
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    children: tuple[Command, ...]

    def all(self) -> Iterator[Command]:
        """This one and everything below it."""
        yield self
        for child in self.children:
            yield from child.all()


def whole() -> Command:
    """The tree of all commands; imports every one of them."""
    from corral.cli import main

    return _read(main, (), None)


def _read(command: click.Command, path: tuple[str, ...], parent: click.Context | None) -> Command:
    name = path[-1] if path else "corral"
    context = click.Context(command, parent, info_name=name, **command.context_settings)
    children: list[Command] = []
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                children.append(_read(child, (*path, name), context))
    options: list[Option] = []
    arguments: list[Argument] = []
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and not parameter.hidden:
            options.append(_option(parameter, context))
        elif isinstance(parameter, click.Argument):
            metavar = parameter.make_metavar(context)
            choices = _choices(parameter)
            arguments.append(Argument(metavar, _takes(metavar, choices), choices))
    return Command(
        path,
        command.get_short_help_str(200),
        _plain(command.help or command.short_help or ""),
        tuple(options),
        tuple(arguments),
        tuple(children),
    )


def _option(option: click.Option, context: click.Context) -> Option:
    names = (*option.opts, *option.secondary_opts)
    flag = option.is_flag or option.count
    metavar = "" if flag else option.make_metavar(context)
    choices = _choices(option)
    return Option(
        tuple(sorted(names, key=lambda name: name.startswith("--"))),
        "nothing" if flag else _takes(metavar, choices),
        metavar,
        choices,
        " ".join((option.help or "").split()),
        option.multiple,
    )


def _choices(parameter: click.Parameter) -> tuple[str, ...]:
    kind = parameter.type
    return tuple(str(choice) for choice in kind.choices) if isinstance(kind, click.Choice) else ()


def _takes(metavar: str, choices: tuple[str, ...]) -> Takes:
    """By the word that stands for the value: commands take paths as plain text."""
    if choices:
        return "choice"
    if "FILE" in metavar or "PATH" in metavar:
        return "file"
    return "folder" if "DIR" in metavar else "text"


def _plain(text: str) -> str:
    """Paragraphs of one line each."""
    paragraphs = text.replace("\b", "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
