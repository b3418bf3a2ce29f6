"""``corral completion``: a script that completes commands, options and files in a shell."""

from __future__ import annotations

import sys

import click

from corral.cli.output import errors
from corral.cli.shells import SHELLS
from corral.cli.tree import whole
from corral.paths import Paths


@click.command(short_help="Print a completion script for your shell.")
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print a script that completes commands, options and file names.

    bash: put `eval "$(corral completion bash)"` into ~/.bashrc. zsh: write it to a file called
    _corral in a folder of $fpath, before compinit. fish: write it to
    ~/.config/fish/completions/corral.fish. The .deb brings all three along.
    """
    with errors(paths=Paths.from_environment):
        sys.stdout.write(SHELLS[shell](whole()))
