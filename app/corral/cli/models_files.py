"""``corral models import|adopt|verify|remove``: the files of models on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from corral.cli.models_pull import check, mend
from corral.cli.models_shared import JSON, Deeds, asks, find, opened
from corral.cli.output import note, say, table
from corral.cli.progress import Bar
from corral.errors import NotFound, Refused
from corral.models.library import adopting
from corral.models.library.importing import How
from corral.models.library.local import LocalModel
from corral.parts import Parts, absolute
from corral.text import shorten
from corral.units import gigabytes, thousands


@click.command("import", short_help="Take in GGUF files of yours.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--link", "how", flag_value="hard link", help="Hard link them into corral's folder.")
@click.option("--move", "how", flag_value="move", help="Move them into corral's folder.")
@click.option("--copy", "how", flag_value="copy", help="Copy them into corral's folder.")
@click.option("--format", metavar="NAME", help="Prompt format, where the file does not tell it.")
@click.option(
    "--name", metavar="NAME", help="What to call it; the catalogue's name is the default."
)
@JSON
def import_models(
    files: tuple[str, ...], how: How | None, format: str | None, name: str | None, as_json: bool
) -> None:
    """Take in GGUF files: checked, hashed, and used where they lie unless you say otherwise."""
    with opened(as_json=as_json) as parts:
        deeds = Deeds("import", as_json=as_json)
        for file in files:
            path = absolute(file)
            bar = Bar(path.name, patient=True)
            with deeds.each(path.name, str(path)):
                try:
                    model = parts.library.import_file(
                        path, how=how or "in place", format=format, name=name, progress=bar.show
                    )
                finally:
                    bar.clear()
                deeds.done(model.name, model.path)
                if not as_json:
                    where = "is used where it lies" if how is None else "is here"
                    unknown = "" if model.format else " (no prompt format known; give --format)"
                    say(f"{model.name} {where}: {model.path}{unknown}")
        deeds.finish()


@click.command(short_help="Use what Ollama, LM Studio, Jan and others have.")
@click.argument("names", nargs=-1, metavar="[NAME|PROGRAM]...")
@click.option("--list", "only_list", is_flag=True, help="Only say what there is.")
@JSON
def adopt(names: tuple[str, ...], only_list: bool, as_json: bool) -> None:
    """Use models of Ollama, LM Studio, Jan, GPT4All, KoboldCpp and the Hugging Face cache.

    They are used where they lie; nothing is copied, moved or changed. Without a name all are taken.
    """
    with opened(as_json=as_json) as parts:
        here = [Path(model.path) for model in parts.library.models() if model.path]
        findings = adopting.look(Path.home(), os.environ, catalog=parts.library.catalog, here=here)
        candidates = _meant(findings.candidates, names)
        deeds = Deeds("list" if only_list else "adopt", as_json=as_json)
        for skipped in findings.skipped if not names else ():
            deeds.skipped(skipped.path.name, str(skipped.path), skipped.reason)
        if only_list and not as_json:
            _print(candidates)
        for candidate in candidates:
            about = {"program": candidate.program, "bytes": candidate.bytes}
            if only_list or candidate.known:
                deeds.done(candidate.name, str(candidate.path), known=candidate.known, **about)
                if not as_json and not only_list:
                    say(f"{candidate.name} is in the library already.")
                continue
            bar = Bar(candidate.name, patient=True)
            with deeds.each(candidate.name, str(candidate.path)):
                try:
                    model = parts.library.adopt(candidate, bar.show)
                finally:
                    bar.clear()
                deeds.done(model.name, model.path, known=False, **about)
                if not as_json:
                    say(f"{model.name} is used where {candidate.program} keeps it: {model.path}")
        if not candidates and not as_json:
            note("No model of another program was found.")
        deeds.finish()


def _meant(
    candidates: list[adopting.Candidate], names: tuple[str, ...]
) -> list[adopting.Candidate]:
    """Those that have one of the names, or belong to one of the programs.

    Raises:
        NotFound: a name fits none.
    """
    if not names:
        return candidates
    called = [
        (candidate, {candidate.name.casefold(), candidate.program.casefold(), str(candidate.path)})
        for candidate in candidates
    ]
    for name in names:
        if not any(name in words or name.casefold() in words for _, words in called):
            raise NotFound(
                f"No model of another program is called “{shorten(name, 80)}”",
                hint="“corral models adopt --list” shows them",
            )
    wanted = set(names) | {name.casefold() for name in names}
    return [candidate for candidate, words in called if words & wanted]


def _print(candidates: list[adopting.Candidate]) -> None:
    table(
        [
            [
                candidate.name,
                candidate.program,
                gigabytes(candidate.bytes, 2),
                "in the library" if candidate.known else "",
                str(candidate.path),
            ]
            for candidate in candidates
        ],
        ["Name", "Program", "Size", "", "Where"],
    )


@click.command(short_help="Read models to their end; repair them.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="All models on this machine.")
@click.option("--repair", is_flag=True, help="Download what is damaged again, and only that.")
@JSON
def verify(names: tuple[str, ...], everything: bool, repair: bool, as_json: bool) -> None:
    """Read models to their end and compare them with their sha256."""
    with opened(as_json=as_json) as parts:
        if bool(names) == everything:
            raise click.UsageError("Give names, or --all.")
        deeds = Deeds("verify", as_json=as_json)
        here = [model for model in parts.library.models() if model.path]
        for name in [model.name for model in here] if everything else names:
            with deeds.each(name):
                _verify(parts, find(parts.library, name), deeds, repair=repair, as_json=as_json)
        deeds.finish()


def _verify(parts: Parts, model: LocalModel, deeds: Deeds, *, repair: bool, as_json: bool) -> None:
    verdict = check(parts, model)
    about: dict[str, Any] = {"sha256": verdict.sha256, "damaged_pieces": verdict.damaged_pieces}
    if verdict.ok:
        deeds.done(model.name, model.path, **about)
        if not as_json:
            say(f"{model.name} is right: sha256 {verdict.sha256}")
        return
    ours = model.source == "download"
    if repair and ours:
        fetched = mend(parts, model, verdict)
        about["sha256"] = find(parts.library, model.name).sha256
        deeds.done(model.name, model.path, repaired=True, fetched_bytes=fetched, **about)
        if not as_json:
            say(f"{model.name} is repaired; {thousands(fetched)} bytes were fetched again.")
        return
    command = f"“corral models verify --repair {model.name}” fetches only what is damaged"
    refused = Refused(
        f"{model.name} is damaged: {verdict.reason}",
        title="Damaged",
        hint=command if ours else "Get its file again from where it came",
    )
    deeds.failed(model.name, model.path, refused, **about)


@click.command(short_help="Remove models; says first what goes.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@JSON
def remove(names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Remove models. What goes and what stays is said first; at a terminal it is asked."""
    with opened(as_json=as_json) as parts:
        deeds = Deeds("remove", as_json=as_json)
        for name in names:
            with deeds.each(name):
                _remove(parts, find(parts.library, name), deeds, asked=yes, as_json=as_json)
        deeds.finish()


def _remove(parts: Parts, model: LocalModel, deeds: Deeds, *, asked: bool, as_json: bool) -> None:
    if model.download is not None:
        sentence = "Its download is cancelled, and what has arrived is deleted"
        deletes, freed = [str(path) for path in model.download.paths], model.download.done
    else:
        removal = parts.library.removal(model)
        sentence, freed = removal.sentence, removal.bytes
        deletes = [str(path) for path in removal.deletes]
    note(f"{model.name}: {sentence}.")
    if asks() and not asked and not click.confirm("Remove it?", err=True):
        raise Refused(f"{model.name} was not removed", title="Nothing was changed")
    if model.download is not None:
        parts.downloads.cancel(model.download.id)
    else:
        parts.library.remove(model)
    deeds.done(model.name, model.path, deleted=deletes, freed_bytes=freed)
    if not as_json:
        say(f"{model.name} is removed.")
