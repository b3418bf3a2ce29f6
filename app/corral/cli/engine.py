"""``corral engine``: the packs of llama.cpp that are here, and which of them is used."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import click

from corral import settings as settings_file
from corral.cli.models_shared import JSON, asks, opened
from corral.cli.output import StatusLine, note, print_json, say, table
from corral.engine.packs import binding, building
from corral.engine.packs.choosing import Candidate, Chooser
from corral.engine.packs.shelf import AUTO, label, name_of
from corral.errors import CorralError, NetworkError, Refused
from corral.parts import OFFLINE, Parts, absolute, packs_in
from corral.text import shorten
from corral.units import size


@click.group()
def engine() -> None:
    """Engine packs: llama.cpp built for other processors and graphics cards.

    Without any, corral uses the engine that came with llama-cpp-python. A pack is tried in a
    process of its own before it is used; one that does not work is left out, and the next one
    taken.
    """


@engine.command("list", short_help="What is here, what works, and what is used.")
@JSON
def list_engines(as_json: bool) -> None:
    """List the engines, what each can do here, and which is used.

    Those that did not work before are tried again.
    """
    with opened(as_json=as_json) as parts:
        chooser = packs_of(parts)
        found = _run("Trying the engines …", chooser.look(again=True))
        if as_json:
            print_json(records(chooser, found))
            return
        print_engines(chooser, found)
        if len(found) < 2:
            note("corral engine build makes a pack, corral engine add FOLDER_OR_ZIP takes one in.")


@engine.command(short_help="Use a pack, “built-in”, or “auto” for the best.")
@click.argument("name")
@JSON
def use(name: str, as_json: bool) -> None:
    """Use a pack from now on: its NAME, “built-in”, or “auto” for the best that works.

    The flag set will do as a name, as in cpu-avx2.
    """
    with opened(as_json=as_json) as parts:
        chooser = packs_of(parts)
        if name != AUTO:
            candidate = _run("Trying it …", chooser.tried(name))
            if not candidate.ok:
                raise Refused(
                    f"{candidate.pack.name} cannot be used: {candidate.reason}",
                    title="Engine pack refused",
                    hint="The engine log says more; nothing was changed.",
                )
            name = label(candidate.pack.name)
        _keep(parts, None if name == AUTO else name)
        chooser.wanted = name
        found = asyncio.run(chooser.look())
        good = chooser.order(found)
        used = good[0].pack.name if good else None
        why = chooser.why(found)
        if as_json:
            print_json({"wanted": name, "used": used, "reason": why})
        else:
            say(f"{used or 'No engine'} is used: {why}.")


@engine.command(short_help="Take in a pack: checked, copied, and tried.")
@click.argument("path", metavar="FOLDER_OR_ZIP")
@JSON
def add(path: str, as_json: bool) -> None:
    """Take in a pack: checked to the last byte, copied, and tried."""
    with opened(as_json=as_json) as parts:
        chooser = packs_of(parts)
        pack = chooser.shelf.add(absolute(path))
        _tell_added(chooser, pack.name, "add", as_json=as_json)


@engine.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@JSON
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Delete a pack. A person's choice of it goes back to “auto”."""
    with opened(as_json=as_json) as parts:
        chooser = packs_of(parts)
        name = chooser.shelf.called(name)
        if asks() and not yes and not click.confirm(f"Delete the pack {name}?", err=True):
            raise Refused(f"{name} was not removed", title="Nothing was changed")
        chosen = chooser.choice == name
        place = chooser.shelf.remove(name)
        if chosen:
            _keep(parts, None)
        if as_json:
            print_json({"name": name, "path": str(place), "action": "remove", "ok": True})
        else:
            say(f"{name} is removed." + (" The best that works is used now." if chosen else ""))


@engine.command(short_help="Build a pack on this machine and take it in.")
@click.argument("flagset", default=building.DEFAULT, metavar="[FLAGSET]")
@click.option("--source", metavar="FILE", help="The source archive, where there is no network.")
@click.option("--sets", "only_list", is_flag=True, help="Only say what can be built.")
@JSON
def build(flagset: str, source: str | None, only_list: bool, as_json: bool) -> None:
    """Build a pack on this machine and take it in: minutes, with a C++ compiler.

    FLAGSET is cpu-native where nothing is said: for this processor, and nothing less. The source of
    llama.cpp is downloaded once and compared with its sha256.
    """
    with opened(as_json=as_json) as parts:
        if only_list:
            _print_sets(as_json=as_json)
            return
        chooser = packs_of(parts)
        _refuse_again(chooser, flagset)
        cache = parts.paths.cache / "engine-source"
        given = absolute(source) if source else None
        offline = os.environ.get(OFFLINE, "") not in ("", "0")
        if offline and given is None and not list(cache.glob("*.tar.gz")):
            raise NetworkError(
                "The source of llama.cpp is not here, and no connection is allowed",
                title="Offline",
                hint="Give the archive with --source FILE.",
            )
        with building.built(flagset, cache, given) as folder:
            pack = chooser.shelf.add(folder)
        _tell_added(chooser, pack.name, "build", as_json=as_json)


def _refuse_again(chooser: Chooser, flagset: str) -> None:
    """Before the minutes of a build, not after them.

    Raises:
        Refused: this pack is here.
    """
    name = name_of(binding.version(), binding.platform_tag(), flagset)
    if name in chooser.shelf.names():
        raise Refused(
            f"{name} is here already",
            title="Nothing was built",
            hint=f"“corral engine remove {flagset}” first, to build it again.",
        )


def packs_of(parts: Parts) -> Chooser:
    """The chooser of the parts."""
    return parts.engine.packs or packs_in(parts.paths, parts.settings)


def records(chooser: Chooser, found: list[Candidate]) -> list[dict[str, Any]]:
    """Every engine as ``--json`` prints it."""
    good = chooser.order(found)
    return [_record(one, used=bool(good) and one is good[0]) for one in found]


def print_engines(chooser: Chooser, found: list[Candidate]) -> None:
    """A line an engine, and why the used one is."""
    good = chooser.order(found)
    rows = [
        [
            "→" if good and one is good[0] else "",
            label(one.pack.name),
            size(one.pack.manifest.bytes) if one.pack.manifest else "",
            shorten(one.said, 120),
        ]
        for one in found
    ]
    table(rows, ["", "Engine", "Size", "Here"])
    if good:
        say(f"{label(good[0].pack.name)} is used: {chooser.why(found)}.")
    else:
        note("No engine works here: nothing can be answered.")


def _record(one: Candidate, *, used: bool) -> dict[str, Any]:
    known, verdict = one.pack.manifest, one.verdict
    return {
        "name": one.pack.name,
        "built_in": one.pack.is_built_in,
        "path": str(one.pack.folder),
        "used": used,
        "ok": one.ok,
        "reason": one.reason,
        "flagset": known.flagset if known else None,
        "title": known.title if known else None,
        "backend": known.backend if known else None,
        "platform": known.platform if known else None,
        "binding": known.binding if known else None,
        "llama_cpp": (known.llama_cpp if known else verdict.commit if verdict else None) or None,
        "ggml": (known.ggml if known else verdict.ggml if verdict else None) or None,
        "flags": known.flags if known else None,
        "bytes": known.bytes if known else None,
        "system_info": verdict.system_info if verdict else None,
        "gpu_offload": verdict.gpu_offload if verdict else None,
        "devices": [device.model_dump() for device in verdict.devices] if verdict else [],
    }


def _tell_added(chooser: Chooser, name: str, action: str, *, as_json: bool) -> None:
    candidate = _run("Trying it …", chooser.tried(name))
    found = asyncio.run(chooser.look())
    good = chooser.order(found)
    used = bool(good) and good[0].pack.name == name
    if as_json:
        print_json({"action": action, **_record(candidate, used=used)})
        return
    say(f"{name} is here; it {candidate.said}.")
    if candidate.ok and not used:
        note(f"  hint: {good[0].pack.name} is used all the same; “corral engine use” changes that")
    elif used:
        say("It is used from now on.")


def _keep(parts: Parts, name: str | None) -> None:
    """Write the choice down.

    Raises:
        CorralError: it cannot be.
    """
    path = parts.paths.settings_file
    try:
        kept = settings_file.save(path, "engine.pack", name)
    except OSError as error:
        raise CorralError(
            f"{path} cannot be written: {error.strerror or error}", title="Not kept"
        ) from None
    if not kept:
        raise CorralError(
            f"{path} is not valid TOML, so nothing was changed in it",
            title="Not kept",
            hint="Mend the file first.",
        )


def _print_sets(*, as_json: bool) -> None:
    sets = building.flagsets()
    if as_json:
        print_json([{"flagset": name, "title": title} for name, title in sets.items()])
    else:
        table([[name, title] for name, title in sets.items()], ["Flag set", "For"])


def _run(what: str, work: Any) -> Any:
    """Do it, with a line about it where somebody watches."""
    status = StatusLine()
    status.show(what)
    try:
        return asyncio.run(work)
    finally:
        status.clear()
