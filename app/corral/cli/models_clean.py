"""``corral models clean``: leftovers of downloads go; models that are here twice are named."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from corral.cli.models_shared import JSON, Deeds, asks, opened
from corral.cli.output import note, say, table
from corral.errors import Refused
from corral.models.downloads.files import Leftover
from corral.models.library import cleaning
from corral.models.library.cleaning import Copy
from corral.parts import Parts
from corral.units import age, gigabytes


@click.command(short_help="Remove what downloads left behind.")
@click.option("--yes", is_flag=True, help="Do not ask; without it a script only lists.")
@JSON
def clean(yes: bool, as_json: bool) -> None:
    """Remove what downloads left behind, and name models that are here more than once.

    What is found is listed first; at a terminal it is asked. Models are never removed by this.
    """
    with opened(as_json=as_json) as parts:
        deeds = Deeds("clean" if yes or asks() else "list", as_json=as_json)
        found = cleaning.look(parts.library, parts.downloads, time.time())
        for group in found.duplicates:
            _tell_copies(group, deeds, as_json=as_json)
        for leftover in found.busy:
            reason = "it was written to within the last hour, perhaps by an import that goes on"
            deeds.skipped(leftover.path.name, str(leftover.path), reason)
        if found.leftovers:
            if not as_json:
                _print(found.leftovers)
            _remove(parts, found.leftovers, deeds, yes=yes, as_json=as_json)
        if found.empty and not as_json:
            note("There is nothing to clean up.")
        deeds.finish()


def _tell_copies(group: Sequence[Copy], deeds: Deeds, *, as_json: bool) -> None:
    for copy in group:
        others = [other.model.name for other in group if other is not copy]
        freed = copy.removal.bytes
        deeds.done(copy.model.name, copy.model.path, action="list", same_as=others, frees=freed)
    if as_json:
        return
    rows = [
        [
            copy.model.name,
            f"frees {gigabytes(copy.removal.bytes, 2)}" if copy.removal.bytes else "frees nothing",
            copy.model.path or "",
        ]
        for copy in group
    ]
    table(rows, [f"Here {len(group)} times", "Removing it", "Where"])
    note("  hint: “corral models remove NAME” removes one of them, and says first what goes\n")


def _print(leftovers: Sequence[Leftover]) -> None:
    now = time.time()
    rows = [
        [
            leftover.path.name,
            cleaning.kind(leftover),
            age(now - leftover.changed),
            gigabytes(leftover.bytes, 2),
            str(leftover.path.parent),
        ]
        for leftover in leftovers
    ]
    table(rows, ["Left behind", "", "Age", "Size", "Where"])


def _remove(
    parts: Parts, leftovers: Sequence[Leftover], deeds: Deeds, *, yes: bool, as_json: bool
) -> None:
    """Remove all of them, where that was asked for.

    Raises:
        Refused: the person said no.
    """
    total = gigabytes(sum(leftover.bytes for leftover in leftovers), 2)
    what = "1 file" if len(leftovers) == 1 else f"{len(leftovers)} files"
    if not yes and asks() and not click.confirm(f"Remove {what}, {total}?", err=True):
        raise Refused("What downloads left was not removed", title="Nothing was changed")
    for leftover in leftovers:
        name, path, size = leftover.path.name, str(leftover.path), leftover.bytes
        if not yes and not asks():
            deeds.done(name, path, bytes=size)
            continue
        with deeds.each(name, path):
            cleaning.remove(parts.downloads, leftover)
            deeds.done(name, path, bytes=size)
            if not as_json:
                say(f"{name} is removed, {gigabytes(size, 2)} are free.")
    if not yes and not asks() and not as_json:
        note(f"  hint: “corral models clean --yes” removes {what}, {total}")
