"""``corral models search``: GGUF repositories of the hub."""

from __future__ import annotations

from dataclasses import asdict

import click

from corral.cli.models_shared import JSON, opened
from corral.cli.output import note, print_json, table
from corral.text import shorten
from corral.units import thousands


@click.command(short_help="Search the hub for GGUF repositories.")
@click.argument("words", nargs=-1, required=True, metavar="WORDS...")
@click.option("--limit", type=click.IntRange(1, 100), default=30, help="At most so many (30).")
@JSON
def search(words: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Search the hub for repositories with GGUF files; the most downloaded come first."""
    with opened(as_json=as_json) as parts:
        found = parts.hub().search(" ".join(words), limit)
        if as_json:
            print_json([asdict(repository) for repository in found])
        elif found:
            table(
                [
                    [
                        shorten(repository.name, 80),
                        thousands(repository.downloads),
                        thousands(repository.likes),
                        repository.updated[:10],
                        shorten(repository.licence or "", 20),
                        "asks for an account" if repository.gated else "",
                    ]
                    for repository in found
                ],
                ["Repository", "Downloads", "Likes", "Updated", "Licence", ""],
            )
            note("corral models show OWNER/REPOSITORY lists its files.")
        else:
            note("Nothing was found. Fewer words find more.")
