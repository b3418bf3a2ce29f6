"""``corral history export|import|backup|restore``: conversations that go and come."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from corral.cli.models_shared import JSON, Deeds, asks, opened
from corral.cli.output import errors, note, print_json, say
from corral.cli.progress import Bar
from corral.errors import Refused, UsageError
from corral.moving import exporting
from corral.moving.exporting import Exported, Format
from corral.moving.importing import Imported, import_file, summary
from corral.parts import Parts, absolute
from corral.paths import Paths
from corral.text import clean_line, shorten
from corral.units import size

_PROBLEMS_SHOWN = 20


@click.command("export", short_help="Write conversations as Markdown, JSON, HTML or text.")
@click.argument("ids", type=int, nargs=-1, metavar="[ID...]")
@click.option("--all", "everything", is_flag=True, help="All outside the trash, archived too.")
@click.option("--format", "format_name", metavar="NAME", help="markdown, json, html or text.")
@click.option(
    "-o", "--output", metavar="PATH", help="A file, or a folder for a file a conversation."
)
@JSON
def export_conversations(
    ids: tuple[int, ...],
    everything: bool,
    format_name: str | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Write conversations to PATH, else to stdout: what was said, with which model, when, how fast.

    JSON holds the whole tree and can be imported again; the others are for reading. PATH's ending
    tells the format where --format does not. A file is replaced only once the new one is whole.
    """
    with opened(as_json=as_json) as parts:
        if bool(ids) == everything:
            raise UsageError("Give the numbers of conversations, or --all")
        wanted = parts.store.every_conversation() if everything else list(dict.fromkeys(ids))
        for id in wanted:
            parts.store.conversation(id)
        target = None if output in (None, "-") else absolute(str(output))
        format = _format(format_name, target, as_json=as_json)
        if target is None:
            _to_stdout(parts, wanted, format)
            return
        many = str(output).endswith(("/", os.sep))
        many = many or os.path.isdir(target)  # noqa: PTH112 - also too long
        now = time.time()
        if many:
            done = exporting.export_folder(parts.store, wanted, format, target, now=now)
        else:
            done = [exporting.export_file(parts.store, wanted, format, target, now=now)]
        _tell_exported(done, format, as_json=as_json)


def _format(name: str | None, target: Path | None, *, as_json: bool) -> Format:
    if name is not None:
        format = exporting.format_named(name)
    elif target is not None:
        format = exporting.format_of(target) or "markdown"
    else:
        format = "json" if as_json else "markdown"
    if as_json and target is None and format != "json":
        raise UsageError("--json without -o prints the conversations themselves as JSON")
    return format


def _to_stdout(parts: Parts, ids: list[int], format: Format) -> None:
    for piece in exporting.stream(parts.store, ids, format, now=time.time()):
        sys.stdout.write(piece)
    sys.stdout.flush()


def _tell_exported(done: list[Exported], format: Format, *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "path": str(one.path),
                    "format": format,
                    "bytes": one.bytes,
                    "ids": [conversation.id for conversation in one.conversations],
                }
                for one in done
            ]
        )
        return
    for one in done:
        count = len(one.conversations)
        what = "1 conversation" if count == 1 else f"{count} conversations"
        say(f"{clean_line(str(one.path))}: {what}, {exporting.NAMES[format]}, {size(one.bytes)}")


@click.command("import", short_help="Take in corral's or ChatGPT's export.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@JSON
def import_conversations(files: tuple[str, ...], as_json: bool) -> None:
    """Take in conversations: corral's JSON export, ChatGPT's conversations.json or its zip file.

    What is here already is not taken twice; new messages of it are added. A record that cannot be
    read is named, and the others are imported.
    """
    with opened(as_json=as_json) as parts:
        deeds = Deeds("import", as_json=as_json)
        for file in files:
            path = absolute(file)
            bar = Bar(path.name, patient=True)
            with deeds.each(path.name, str(path)):
                try:
                    done = import_file(parts.store, path, now=time.time(), progress=bar.show)
                finally:
                    bar.clear()
                _tell_imported(deeds, done, as_json=as_json)
        deeds.finish()


def _tell_imported(deeds: Deeds, done: Imported, *, as_json: bool) -> None:
    about: dict[str, Any] = {
        "from": sorted(done.kinds),
        "added": done.added,
        "extended": done.extended,
        "known": done.known,
        "in_trash": done.in_trash,
        "messages": done.messages,
        "failed": done.failed,
        "problems": [
            {"record": one.record, "title": one.title, "reason": one.reason}
            for one in done.problems
        ],
    }
    if not as_json:
        say(f"{clean_line(done.path.name)}: {summary(done)}")
        for one in done.problems[:_PROBLEMS_SHOWN]:
            named = f" “{one.title}”" if one.title else ""
            note(f"  record {one.record}{named}: {shorten(one.reason, 160)}")
        if done.failed > _PROBLEMS_SHOWN:
            note(f"  and {done.failed - _PROBLEMS_SHOWN} more")
    if done.failed:
        records = "1 record" if done.failed == 1 else f"{done.failed} records"
        error = Refused(
            f"{records} of {clean_line(done.path.name)} could not be read",
            hint="The others are imported" if done.conversations else "",
        )
        deeds.failed(done.path.name, str(done.path), error, **about)
    else:
        deeds.done(done.path.name, str(done.path), **about)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@click.command(short_help="Everything but the models in one file.")
@click.argument("path", default=".", metavar="[PATH]")
@click.option("--replace", is_flag=True, help="Replace a file that is there already.")
@JSON
def backup(path: str, replace: bool, as_json: bool) -> None:
    """Write the history, settings and presets into one file, which is read again to be sure.

    PATH is a file, or a folder that gets one with today's date. corral may be in use meanwhile.
    Models are left out: they can be downloaded again.
    """
    from corral.moving.backup import back_up

    with opened(as_json=as_json) as parts:
        target = absolute(path)
        bar = Bar("Backup", patient=True)
        try:
            done = back_up(
                parts.paths,
                parts.disk or parts.store,
                target,
                now=time.time(),
                replace=replace,
                progress=bar.show,
            )
        finally:
            bar.clear()
        manifest = done.manifest
        if as_json:
            files = [entry.model_dump() for entry in manifest.files]
            print_json(
                {
                    "path": str(done.path),
                    "bytes": done.bytes,
                    "conversations": manifest.conversations,
                    "messages": manifest.messages,
                    "files": files,
                }
            )
            return
        held = _counted(manifest.conversations, "conversation")
        said = f"{clean_line(str(done.path))}: {held} with {_counted(manifest.messages, 'message')}"
        say(f"{said}, {size(done.bytes)}")


@click.command(short_help="Put a backup back; what is here is kept.")
@click.argument("path", metavar="PATH")
@click.option("--check", "only_check", is_flag=True, help="Only read the backup to its end.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@JSON
def restore(path: str, only_check: bool, yes: bool, as_json: bool) -> None:
    """Put a backup in the place of the history, settings and presets.

    All of it is checked before anything is touched. What is here now is kept beside it under a
    dated name. No other corral may be open.
    """
    from corral.moving import restoring

    with errors(as_json=as_json, paths=Paths.from_environment):
        paths = Paths.from_environment()
        paths.make()
        backup_file = absolute(path)
        bar = Bar(backup_file.name, patient=True)
        try:
            manifest = restoring.check(paths, backup_file, progress=bar.show)
            bar.clear()
            held = _counted(manifest.conversations, "conversation")
            what = f"{held} with {_counted(manifest.messages, 'message')}"
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.created))
            if only_check:
                if as_json:
                    print_json(manifest.model_dump())
                else:
                    say(f"The backup of {when} is sound: {what}")
                return
            asked = asks() and not yes and not as_json
            if asked and not click.confirm(
                f"Restore the backup of {when} with {what}?", err=True, default=False
            ):
                note("Nothing was changed.")
                return
            done = restoring.restore(paths, backup_file, clock=time.time, progress=bar.show)
        finally:
            bar.clear()
        if as_json:
            kept = [str(one) for one in done.kept]
            print_json({**manifest.model_dump(), "kept": kept, "settings": list(done.settings)})
            return
        say(f"Restored the backup of {when}: {what}")
        for one in done.kept:
            say(f"  what was here is kept: {clean_line(str(one))}")
