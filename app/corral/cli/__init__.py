"""The command line: the same core without the screen. A file a command, loaded when used."""

from __future__ import annotations

import importlib
import io
import os
import sys

import click

from corral import __version__

_COMMANDS = {
    "ask": "One turn, streamed to stdout",
    "compare": "The same prompt to several models, presets or parameters",
    "models": "Models: list, search, show, pull, import, adopt, verify, remove, fit",
    "history": "Conversations: list, search, delete, export, import, backup, restore",
    "presets": "Personas and tasks: list, show",
    "engine": "Engine packs: list, use, add, remove, build",
    "bench": "How fast a model is here: load, prompt, generation, reuse, restore",
    "doctor": "Hardware, engine, folders, and what fits this machine",
}


class _Lazy(click.Group):
    """Imports a command's module when that command is run or asked for help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(f"corral.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Without a command, corral opens the chat screen. CORRAL_HOME=DIR keeps everything "
    "below one folder.",
)
@click.version_option(__version__, prog_name="corral")
@click.option("--offline", is_flag=True, help="Forbid every network connection.")
def main(offline: bool) -> None:
    """Chat with Llama 2 models in your terminal, offline."""
    for stream in (sys.stdout, sys.stderr):
        # Whatever the locale says: an answer does not end at a letter that it does not know.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")
    if offline:
        os.environ["CORRAL_OFFLINE"] = "1"
