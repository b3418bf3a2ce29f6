"""``corral doctor``: what this machine has, what the engine is, what would fit, and how models are
loaded and why."""

from __future__ import annotations

import asyncio
import platform
import shutil
import sys
from dataclasses import asdict
from typing import Any

import click
import psutil

from corral import __version__
from corral.cli.engine import packs_of, records
from corral.cli.output import errors, print_json, say
from corral.engine.threads import thread_reason
from corral.errors import EngineError
from corral.kept import kept_of
from corral.loading.reasons import reasons
from corral.models.fit import memory
from corral.models.fit.machine import on_battery
from corral.models.fit.recommend import recommend
from corral.parts import Parts, build
from corral.paths import Paths
from corral.text import clean_line
from corral.units import gigabytes


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def doctor(as_json: bool) -> None:
    """Hardware, engine build, devices, folders, disk, what would be recommended, and how models are
    loaded and why."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        report = asyncio.run(_report(parts))
        if as_json:
            print_json(report)
        else:
            _print(report)
        sys.exit(EngineError.exit_code if report["engine"]["error"] else 0)


async def _report(parts: Parts) -> dict[str, Any]:
    engine: dict[str, Any] = {"version": None, "build": None, "devices": [], "error": None}
    chooser = packs_of(parts)
    found = await chooser.look(again=True)
    try:
        ready = await parts.engine.ready()
        await parts.calibrate()
        engine |= {
            "version": ready.binding,
            "llama_cpp": ready.commit,
            "build": ready.system_info,
            "gpu_offload": ready.gpu_offload,
            "devices": [device.model_dump() for device in parts.devices],
        }
    except EngineError as error:
        engine["error"] = error.message
    found = await chooser.look()  # A worker may have died since.
    engine |= {
        "pack": chooser.used or None,
        "pack_reason": chooser.why(found),
        "packs": records(chooser, found),
    }
    available = memory.available_memory()
    disk = shutil.disk_usage(parts.paths.data)
    report = {
        "corral": __version__,
        "python": platform.python_version(),
        "engine": engine,
        "memory": {"total": psutil.virtual_memory().total, "available": available},
        "processor": {
            "name": platform.processor() or platform.machine(),
            "cores": psutil.cpu_count(logical=False),
            "threads": psutil.cpu_count(),
        },
        "disk": {"total": disk.total, "free": disk.free},
        "kept_prompts": _kept(parts, disk.free),
        "paths": {
            **{key: str(value) for key, value in asdict(parts.paths).items()},
            "settings": str(parts.paths.settings_file),
            "database": str(parts.paths.database),
            "engines": str(parts.paths.engines),
            "engine_log": str(parts.paths.engine_log),
        },
        "recommended": _recommended(parts),
        **_choices(parts),
        "notices": [*parts.notices, *parts.engine.notices()],
    }
    await parts.close()
    return report


def _recommended(parts: Parts) -> dict[str, Any] | None:
    found = recommend(parts.library.catalog, parts.fitter, parts.machine())
    if found is None:
        return None
    needed = found.fit.bytes.total
    return {"name": found.name, "bytes": needed, "reason": found.reason, "fit": found.fit.record()}


def _choices(parts: Parts) -> dict[str, Any]:
    """How the model that answers first would be loaded, each value with its reason."""
    model, found = reasons(
        parts.chatting.planner,
        parts.library,
        parts.fitter,
        parts.settings.engine,
        parts.machine(),
        threads=thread_reason(),
        on_battery=on_battery(),
    )
    return {"choices_for": model, "choices": [asdict(choice) for choice in found]}


def _kept(parts: Parts, free: int) -> dict[str, int]:
    """Bytes of evaluated prompts on disk, how many conversations they are of, and their limit."""
    kept = kept_of(parts)
    if kept is None:
        return {"bytes": 0, "limit": 0, "conversations": 0}
    found = kept.all()
    total = sum(one.bytes for one in found)
    # What they take would be free without them.
    limit = kept.limit(parts.settings.engine.kv_disk, free + total)
    return {"bytes": total, "limit": limit, "conversations": len(found)}


def _print(report: dict[str, Any]) -> None:
    engine, memory, disk = report["engine"], report["memory"], report["disk"]
    say(f"corral {report['corral']}, Python {report['python']}")
    if engine["error"]:
        say(f"Engine      {clean_line(engine['error'])}")
    else:
        commit = f", llama.cpp {clean_line(engine['llama_cpp'])}" * bool(engine["llama_cpp"])
        say(f"Engine      llama-cpp-python {engine['version']}{commit}")
        say(f"            {clean_line(engine['build'])}")
    say(f"Pack        {engine['pack'] or 'none'}: {clean_line(engine['pack_reason'])}")
    for pack in engine["packs"]:
        if not pack["ok"]:
            said = pack["reason"] or "not tried yet"
            say(f"            {clean_line(pack['name'])} is left out: {clean_line(said)}")
    for device in engine["devices"]:
        size = gigabytes(device["memory_total"])
        say(f"Device      {device['name']} · {clean_line(device['description'])} · {size}")
    say(f"Memory      {gigabytes(memory['available'])} of {gigabytes(memory['total'])} free")
    say(f"Disk        {gigabytes(disk['free'])} of {gigabytes(disk['total'])} free")
    kept = report["kept_prompts"]
    of = f"of {kept['conversations']} conversations, {gigabytes(kept['limit'])} at the most"
    say(f"Kept        {gigabytes(kept['bytes'])} of evaluated prompts {of}")
    for name, path in report["paths"].items():
        say(f"{name:11} {path}")
    if report["recommended"]:
        say(f"Best here   {report['recommended']['name']}: {report['recommended']['reason']}")
    say(f"How {report['choices_for'] or 'a model'} is loaded")
    for choice in report["choices"]:
        say(f"{choice['field']:11} {choice['value']}: {clean_line(choice['reason'])}")
    for notice in report["notices"]:
        say(f"Notice      {notice}")
