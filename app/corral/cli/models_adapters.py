"""``corral models adapters``: the LoRA adapters of this machine."""

from __future__ import annotations

from typing import Any

import click

from corral.cli.models_shared import JSON, Deeds, find, opened
from corral.cli.output import note, print_json, say, table
from corral.cli.progress import Bar
from corral.models.library.adapters import LocalAdapter, does_not_belong
from corral.parts import Parts, absolute
from corral.units import room

MODEL = click.option(
    "-m", "--model", metavar="NAME", help="Say too whether it belongs to this model."
)
_STATES = {"installed": "", "found": "found beside a model", "file": "not taken in"}


@click.group(invoke_without_command=True, short_help="LoRA adapters: list, import, show, forget.")
@MODEL
@JSON
@click.pass_context
def adapters(context: click.Context, model: str | None, as_json: bool) -> None:
    """The LoRA adapters on this machine; without a command they are listed.

    corral ask --adapter NAME[:SCALE] uses one, /adapter on the chat screen too. GGUF files are
    taken, which convert_lora_to_gguf.py of llama.cpp makes of PEFT's.
    """
    if context.invoked_subcommand is None:
        _list(model, as_json)


@adapters.command("list")
@MODEL
@JSON
def list_adapters(model: str | None, as_json: bool) -> None:
    """List the adapters: those taken in, and others that lie beside models."""
    _list(model, as_json)


def _list(model: str | None, as_json: bool) -> None:
    with opened(as_json=as_json) as parts:
        found = parts.library.adapters()
        records = [_record(parts, one, model) for one in found]
        if as_json:
            print_json(records)
        elif found:
            rows = [
                [one.name, one.rank, one.type, room(one.bytes), one.base or "?", _state(record)]
                for one, record in zip(found, records, strict=True)
            ]
            table(rows, ["Name", "Rank", "Type", "Size", "Made for", "State"])
        else:
            note("No adapter is on this machine; corral models adapters import FILE takes one in.")


@adapters.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--name", metavar="NAME", help="What to call it instead of its file's name.")
@JSON
def import_adapters(files: tuple[str, ...], name: str | None, as_json: bool) -> None:
    """Take LoRA adapters in: checked, read to their end, and used where they lie."""
    with opened(as_json=as_json) as parts:
        if name and len(files) > 1:
            raise click.UsageError("--name names one file.")
        deeds = Deeds("import", as_json=as_json)
        for file in files:
            path = absolute(file)
            bar = Bar(path.name, patient=True)
            with deeds.each(path.name, str(path)):
                try:
                    one = parts.library.import_adapter(path, name=name, progress=bar.show)
                finally:
                    bar.clear()
                deeds.done(one.name, one.path, sha256=one.sha256)
                if not as_json:
                    say(f"{one.name} is used where it lies: {one.path}")
                    _tell_norms(one)
        deeds.finish()


@adapters.command()
@click.argument("name")
@MODEL
@JSON
def show(name: str, model: str | None, as_json: bool) -> None:
    """Show one adapter, by its name or file; with -m, fail where it does not belong to a model."""
    with opened(as_json=as_json) as parts:
        one = parts.library.adapter(name)
        record = _record(parts, one, model)
        if as_json:
            print_json(record)
        else:
            for label, value in (
                ("Name", one.name),
                ("File", one.path),
                ("Size", f"{room(one.bytes)}, {one.type}"),
                ("Made for", one.base or "not said in the file"),
                ("Architecture", one.architecture),
                ("Rank", f"{one.rank}, alpha {one.alpha:g}"),
                ("Changes", f"{one.pairs} {'matrix' if one.pairs == 1 else 'matrices'}"),
                ("sha256", one.sha256 or "not computed yet"),
            ):
                say(f"{label:<13} {value}")
            _tell_norms(one)
        if model is not None and not record["belongs"]:
            raise does_not_belong(one.name, record["model"], record["reason"])
        if model is not None and not as_json:
            say(f"It belongs to {record['model']}.")


@adapters.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@JSON
def forget(names: tuple[str, ...], as_json: bool) -> None:
    """Forget adapters; their files stay where they are."""
    with opened(as_json=as_json) as parts:
        deeds = Deeds("forget", as_json=as_json)
        known = {one.name.casefold(): one for one in parts.library.adapters(found=False)}
        for name in names:
            with deeds.each(name):
                one = known.get(name.casefold()) or parts.library.adapter(name)
                parts.library.forget_adapter(one)
                deeds.done(one.name, one.path)
                if not as_json:
                    say(f"{one.name} is forgotten; its file stays: {one.path}")
        deeds.finish()


def _record(parts: Parts, one: LocalAdapter, model: str | None) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": one.name,
        "title": one.title,
        "state": one.state,
        "path": one.path,
        "bytes": one.bytes,
        "sha256": one.sha256,
        "architecture": one.architecture,
        "base": one.base,
        "rank": list(one.ranks),
        "alpha": one.alpha,
        "matrices": one.pairs,
        "type": one.type,
    }
    if model is not None:
        target = find(parts.library, model)
        usable = one.state not in ("missing", "damaged")
        reason = parts.library.adapter_mismatch(one, target) if usable else f"it is {one.state}"
        record |= {"model": target.name, "belongs": not reason, "reason": reason or None}
    return record


def _state(record: dict[str, Any]) -> str:
    state: str = _STATES.get(record["state"], record["state"])
    if "belongs" not in record:
        return state
    belongs = "belongs" if record["belongs"] else f"does not belong: {record['reason']}"
    return f"{belongs}, {state}" if state else belongs


def _tell_norms(one: LocalAdapter) -> None:
    if one.norms:
        count = "1 vector" if one.norms == 1 else f"{one.norms} vectors"
        note(f"It brings {count} for norms besides, which llama.cpp does not apply.")
