"""``corral history trash|undelete|archive|file``: where conversations are put."""

from __future__ import annotations

import time
from typing import Any

import click

from corral.chat.conversation import Conversation
from corral.cli.models_shared import JSON, Deeds, opened
from corral.cli.output import note, print_json, table
from corral.errors import UsageError
from corral.kept import kept_of
from corral.store.moving import InTrash
from corral.text import clean_line, shorten

_IDS = click.argument("ids", type=int, nargs=-1, required=True, metavar="ID...")


@click.command(short_help="What is in the trash; with IDs, put them there.")
@click.argument("ids", type=int, nargs=-1, metavar="[ID...]")
@click.option("--empty", is_flag=True, help="Delete for good what is in it.")
@JSON
def trash(ids: tuple[int, ...], empty: bool, as_json: bool) -> None:
    """Put conversations into the trash, or list what is in it. `undelete` takes them out."""
    with opened(as_json=as_json) as parts:
        if ids and empty:
            raise UsageError("Give either the numbers of conversations or --empty")
        store = parts.store
        if ids:
            deeds = Deeds("trash", as_json=as_json)
            for id in ids:
                with deeds.each(str(id)):
                    title = store.conversation(id).title
                    store.trash(id)
                    deeds.done(title, None, id=id)
                    if not as_json:
                        note(f"In the trash: {id} {clean_line(title)}")
            deeds.finish()
            return
        found = store.in_trash()
        if empty:
            known = len(store.notices)
            store.empty_trash()
            if kept := kept_of(parts):
                kept.forget(one.conversation.id for one in found)
            for notice in store.notices[known:]:
                note(notice)
        if as_json:
            print_json([_record(one) for one in found])
        elif empty:
            count = len(found)
            note(f"Deleted for good: {count} {'conversation' if count == 1 else 'conversations'}")
        elif found:
            table(
                [
                    [
                        str(one.conversation.id),
                        time.strftime("%Y-%m-%d %H:%M", time.localtime(one.deleted)),
                        str(one.conversation.messages),
                        shorten(one.conversation.title, 60),
                    ]
                    for one in found
                ],
                ["Id", "Deleted", "Messages", "Title"],
            )
        else:
            note("The trash is empty.")


@click.command(short_help="Take conversations out of the trash.")
@_IDS
@JSON
def undelete(ids: tuple[int, ...], as_json: bool) -> None:
    """Take conversations out of the trash."""
    with opened(as_json=as_json) as parts:
        deeds = Deeds("undelete", as_json=as_json)
        for id in ids:
            with deeds.each(str(id)):
                parts.store.restore(id)
                title = parts.store.conversation(id).title
                deeds.done(title, None, id=id)
                if not as_json:
                    note(f"Back: {id} {clean_line(title)}")
        deeds.finish()


@click.command(short_help="Put conversations out of the way, or back.")
@_IDS
@click.option("--undo", is_flag=True, help="Back into the list.")
@JSON
def archive(ids: tuple[int, ...], undo: bool, as_json: bool) -> None:
    """Take conversations out of the list; searching still finds them."""
    _change(ids, "unarchive" if undo else "archive", as_json=as_json, archived=not undo)


@click.command(short_help="Keep conversations on top of the list.")
@_IDS
@click.option("--undo", is_flag=True, help="Let them go again.")
@JSON
def pin(ids: tuple[int, ...], undo: bool, as_json: bool) -> None:
    """Keep conversations on top of the list."""
    _change(ids, "unpin" if undo else "pin", as_json=as_json, pinned=not undo)


@click.command("file", short_help="Put conversations into a folder.")
@_IDS
@click.option("-f", "--folder", required=True, help="Work/Trips, say; an empty one takes it out.")
@JSON
def file_away(ids: tuple[int, ...], folder: str, as_json: bool) -> None:
    """Put conversations into a folder, which is there as long as something is in it."""
    _change(ids, "file", as_json=as_json, folder=clean_line(folder))


def _change(ids: tuple[int, ...], action: str, *, as_json: bool, **changes: Any) -> None:
    with opened(as_json=as_json) as parts:
        if "folder" in changes:
            changes["folder"] = parts.store.folder_named(changes["folder"])
        deeds = Deeds(action, as_json=as_json)
        for id in ids:
            with deeds.each(str(id)):
                changed = parts.store.update_conversation(id, **changes)
                deeds.done(changed.title, None, id=id, **_place(changed))
                if not as_json:
                    note(f"Done: {action} {id} {clean_line(changed.title)}")
        deeds.finish()


def _place(conversation: Conversation) -> dict[str, Any]:
    return {
        "archived": conversation.archived,
        "pinned": conversation.pinned,
        "folder": conversation.folder,
    }


def _record(one: InTrash) -> dict[str, Any]:
    conversation = one.conversation
    return {
        "id": conversation.id,
        "title": conversation.title,
        "created": conversation.created,
        "updated": conversation.updated,
        "messages": conversation.messages,
        "model": conversation.model,
        "deleted": one.deleted,
    }
