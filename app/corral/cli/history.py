"""``corral history``: the conversations on disk."""

from __future__ import annotations

import time
from typing import Any

import click

from corral.chat.conversation import Conversation
from corral.chat.finding import Filters
from corral.cli.history_branches import fork, prune, tree, undo
from corral.cli.history_finding import filtering, filters_of
from corral.cli.history_moving import backup, export_conversations, import_conversations, restore
from corral.cli.history_trash import archive, file_away, pin, trash, undelete
from corral.cli.output import errors, note, print_json, say, table
from corral.kept import kept_of
from corral.moving.records import message_record
from corral.parts import build
from corral.paths import Paths
from corral.text import clean_line, shorten

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


@click.group()
def history() -> None:
    """Conversations: list, show, search, sort, delete, take along, keep safe."""


for command in (export_conversations, import_conversations, backup, restore):
    history.add_command(command)
for command in (trash, undelete, archive, pin, file_away):
    history.add_command(command)
for command in (tree, fork, prune, undo):
    history.add_command(command)


@history.command("list")
@filtering
@click.option("--archived", is_flag=True, help="The archived ones.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@_JSON
def list_conversations(archived: bool, limit: int | None, as_json: bool, **options: Any) -> None:
    """List conversations: pinned first, then the latest."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        filters = filters_of(options, archived=archived)
        parts = build(Paths.from_environment())
        found = parts.store.filtered(filters, limit)
        parts.close_stores()
        if as_json:
            print_json([_record(conversation) for conversation in found])
        elif found:
            table(
                [
                    [
                        str(conversation.id),
                        "★" if conversation.pinned else "",
                        _date(conversation.updated),
                        str(conversation.messages),
                        shorten(conversation.folder, 24),
                        shorten(conversation.title, 60),
                    ]
                    for conversation in found
                ],
                ["Id", "", "Last used", "Messages", "Folder", "Title"],
            )
        elif filters == Filters(archived=False):
            note("There are no conversations yet.")
        else:
            note("There are none like that.")


@history.command()
@click.argument("id", type=int)
@_JSON
def show(id: int, as_json: bool) -> None:
    """Show one conversation; --json gives its whole tree."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        conversation = parts.store.conversation(id)
        messages = parts.store.messages(id)
        parts.close_stores()
        if as_json:
            print_json(
                {
                    "id": conversation.id,
                    "title": conversation.title,
                    "system": conversation.system,
                    "folder": conversation.folder,
                    "preset": conversation.preset,
                    "origin": conversation.origin,
                    "active": conversation.active,
                    "messages": [message_record(message) for message in messages],
                }
            )
            return
        from corral.chat.conversation import active_path

        say(f"# {clean_line(conversation.title)}")
        for message in active_path(messages, conversation.active):
            model = (message.model or {}).get("title") or (message.model or {}).get("name")
            who = "You" if message.role == "user" else str(model or "Answer")
            state = "" if message.status == "complete" else f" ({message.status})"
            say(f"\n## {clean_line(who)}{state}\n\n{message.text}")


@history.command()
@click.argument("query")
@filtering
@click.option("--archived", is_flag=True, help="Only archived ones; else they are found, too.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@_JSON
def search(query: str, archived: bool, limit: int, as_json: bool, **options: Any) -> None:
    """Search titles and messages; the last word may be unfinished."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        filters = filters_of(options, archived=True if archived else None)
        parts = build(Paths.from_environment())
        hits = parts.store.search(query, limit, filters)
        parts.close_stores()
        if as_json:
            print_json(
                [
                    {
                        **_record(hit.conversation),
                        "message": hit.message,
                        "snippet": _plain(hit.snippet),
                    }
                    for hit in hits
                ]
            )
            return
        for hit in hits:
            say(f"{hit.conversation.id:>6}  {shorten(hit.conversation.title, 60)}")
            if hit.snippet:
                say(f"        {shorten(_plain(hit.snippet), 90)}")
        if not hits:
            note("Nothing was found.")


@history.command()
@click.argument("id", type=int)
@click.argument("title")
@_JSON
def rename(id: int, title: str, as_json: bool) -> None:
    """Give a conversation another title."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        conversation = parts.store.update_conversation(id, title=title.strip())
        parts.close_stores()
        if as_json:
            print_json(_record(conversation))
        else:
            say(f"{id} is called {clean_line(conversation.title)}")


@history.command()
@click.argument("ids", type=int, nargs=-1, required=True, metavar="ID...")
@_JSON
def delete(ids: tuple[int, ...], as_json: bool) -> None:
    """Delete conversations for good: no byte of their text stays in the database.

    What models have read of them, and was kept on disk, goes too.
    """
    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        found = [parts.store.conversation(id) for id in ids]
        for conversation in found:
            parts.store.delete(conversation.id)
        if kept := kept_of(parts):
            kept.forget(conversation.id for conversation in found)
        parts.close_stores()
        for notice in parts.store.notices:
            note(notice)
        if as_json:
            print_json([_record(conversation) for conversation in found])
        for conversation in found:
            note(f"Deleted {conversation.id}: {clean_line(conversation.title)}")


def _record(conversation: Conversation) -> dict[str, Any]:
    """The contract's object for a conversation."""
    return {
        "id": conversation.id,
        "title": conversation.title,
        "created": conversation.created,
        "updated": conversation.updated,
        "messages": conversation.messages,
        "model": conversation.model,
        "pinned": conversation.pinned,
        "archived": conversation.archived,
        "folder": conversation.folder,
        "preset": conversation.preset,
    }


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _plain(snippet: str) -> str:
    """A snippet without the marks around what was found."""
    return snippet.replace("\ue000", "").replace("\ue001", "")
