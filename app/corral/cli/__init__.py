"""The command line: the same core without the screen. A file a command, loaded when used."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from corral import __version__
from corral.cli import manual
from corral.terminal import foreign_encoding


class _Lazy(click.Group):
    """Imports a command's module when that command is run or asked for help."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # Whatever the locale says: no answer and no help ends at a letter that it lacks.
            if isinstance(stream, io.TextIOWrapper):
                terminal = stream.isatty()
                encoding = (foreign_encoding() if terminal else "") or "utf-8"
                # Into a file or a pipe the same bytes go on every system.
                newline = None if terminal else "\n"
                stream.reconfigure(encoding=encoding, errors="replace", newline=newline)
        try:
            return super().main(*args, **kwargs)
        except OSError as error:  # What click writes itself: help, a version, wrong usage.
            from corral.cli.output import no_room, report

            if full := no_room(error):
                sys.exit(report(full, as_json=False))
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(manual.commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in manual.commands():
            return None
        command = getattr(importlib.import_module(f"corral.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, lines in manual.SECTIONS:
            _section(formatter, heading, lines)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _section(formatter, "Examples", manual.EXAMPLES, widest=50)
        with formatter.section("Names and streams"):
            formatter.write_text(manual.MODEL_NAMES)
            formatter.write_paragraph()
            formatter.write_text(manual.STREAMS)
        _section(formatter, "Environment", manual.ENVIRONMENT)
        _section(formatter, "Files", _files(), widest=50)
        _section(formatter, "Exit codes", manual.EXIT_CODES)


def _section(
    formatter: click.HelpFormatter,
    heading: str,
    lines: Sequence[tuple[str, str]],
    *,
    widest: int = 30,
) -> None:
    with formatter.section(heading):
        formatter.write_dl([(term, text) for term, text in lines], col_max=widest)


def _files() -> list[tuple[str, str]]:
    """Where things lie on this machine."""
    from corral.paths import Paths
    from corral.text import clean_line

    paths = Paths.from_environment()
    found = []
    for place, text in manual.FILES:
        room, _, rest = place.partition("/")
        path = str(getattr(paths, room) / rest)
        home = str(Path.home())
        if path.startswith(home + os.sep):
            path = "~" + path[len(home) :]
        found.append((clean_line(path), text))
    return found


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="[COMMAND] [ARGS]...",
)
@click.version_option(__version__, prog_name="corral")
@click.option("--offline", is_flag=True, help="Forbid every network connection.")
def main(offline: bool) -> None:
    """Chat with Llama 2 models in your terminal, offline.

    Without a command, corral opens the chat screen. Everything there has a key or a command that
    begins with a slash: F1 shows them all.
    """
    if offline:
        os.environ["CORRAL_OFFLINE"] = "1"
