"""``corral models clean``: leftovers of downloads and kept prompts go; copies are only named."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import click

from corral.cli.models_shared import JSON, Deeds, asks, opened
from corral.cli.output import note, say, table
from corral.errors import Refused
from corral.kept import KeptPrompt, KeptPrompts, kept_of
from corral.models.downloads.files import Leftover
from corral.models.library import cleaning
from corral.models.library.cleaning import Copy
from corral.parts import Parts
from corral.text import shorten
from corral.units import age, gigabytes


@click.command(short_help="Remove what downloads left behind, and kept prompts.")
@click.option("--yes", is_flag=True, help="Do not ask; without it a script only lists.")
@click.option("--prompts", is_flag=True, help="With --yes, clear kept prompts, too.")
@JSON
def clean(yes: bool, prompts: bool, as_json: bool) -> None:
    """Remove what downloads left behind, and name models that are here more than once.

    Kept prompts, what models have read already, are listed too; clearing them costs only the time
    to read again. What is found is listed first; at a terminal it is asked. Models and
    conversations are never removed by this.
    """
    with opened(as_json=as_json) as parts:
        deeds = Deeds("clean" if yes or asks() else "list", as_json=as_json)
        kept = kept_of(parts)
        found = cleaning.look(parts.library, parts.downloads, time.time(), kept)
        for group in found.duplicates:
            _tell_copies(group, deeds, as_json=as_json)
        for leftover in found.busy:
            reason = "it was written to within the last hour, perhaps by an import that goes on"
            deeds.skipped(leftover.path.name, str(leftover.path), reason)
        declined = []
        if found.leftovers:
            if not as_json:
                _print(found.leftovers)
            declined.append(not _remove(parts, found.leftovers, deeds, yes=yes, as_json=as_json))
        if kept is not None and found.prompts:
            if not as_json:
                _print_prompts(found.prompts)
            clearing = _Clearing(kept, deeds, yes=yes, all=prompts, as_json=as_json)
            declined.append(not clearing.run(found.prompts))
        if found.empty and not as_json:
            note("There is nothing to clean up.")
        if declined and all(declined):
            raise Refused("What was found was not removed", title="Nothing was changed")
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
) -> bool:
    """Remove all of them, where that was asked for; False where the person said no."""
    total = gigabytes(sum(leftover.bytes for leftover in leftovers), 2)
    what = "1 file" if len(leftovers) == 1 else f"{len(leftovers)} files"
    if not yes and asks() and not click.confirm(f"Remove {what}, {total}?", err=True):
        return False
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
    return True


def _print_prompts(prompts: Sequence[KeptPrompt]) -> None:
    now = time.time()
    rows = [
        [
            shorten(prompt.name, 48),
            ", ".join(shorten(model, 40) for model in prompt.models),
            str(prompt.tokens),
            gigabytes(prompt.bytes, 2),
            age(now - prompt.used),
        ]
        for prompt in prompts
    ]
    table(rows, ["Kept prompts of", "Model", "Tokens", "Size", "Last used"])


@dataclass(frozen=True)
class _Clearing:
    """Clears kept prompts as far as that was asked for.

    ``--yes`` alone takes those of deleted conversations: the others are of use.
    """

    kept: KeptPrompts
    deeds: Deeds
    yes: bool
    all: bool
    as_json: bool

    def run(self, prompts: Sequence[KeptPrompt]) -> bool:
        """False where the person said no."""
        chosen = prompts if self.all or not self.yes else [p for p in prompts if p.title is None]
        what = "1 kept prompt" if len(chosen) == 1 else f"{len(chosen)} kept prompts"
        what += f", {gigabytes(sum(prompt.bytes for prompt in chosen), 2)}"
        if not self.yes and asks():
            question = f"Clear {what}? No conversation goes; it is only read again."
            if not click.confirm(question, err=True):
                return False
        for prompt in prompts:
            facts = {
                "conversation": int(prompt.conversation) if prompt.title is not None else None,
                "models": prompt.models,
                "tokens": prompt.tokens,
                "bytes": prompt.bytes,
                "used": prompt.used,
            }
            if prompt not in chosen or not (self.yes or asks()):
                self.deeds.done(prompt.name, None, **(facts | {"action": "list"}))
                continue
            with self.deeds.each(prompt.name):
                self.kept.remove(prompt)
                self.deeds.done(prompt.name, None, **facts)
        if self.as_json:
            return True
        if chosen and (self.yes or asks()):
            say(f"Cleared {what}.")
        if len(chosen) < len(prompts) or not (self.yes or asks()):
            note("  hint: “corral models clean --yes --prompts” clears kept prompts, too")
        return True
