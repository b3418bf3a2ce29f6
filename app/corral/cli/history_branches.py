"""``corral history``: the tree of a conversation, forks, and branches that are deleted."""

from __future__ import annotations

import click

from corral.cli.output import errors, note, print_json, say
from corral.parts import build
from corral.paths import Paths
from corral.store.branches import Deletion
from corral.text import clean_line, shorten

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


@click.command()
@click.argument("id", type=int)
@_JSON
def tree(id: int, as_json: bool) -> None:
    """Show every branch of a conversation, a line a message; * marks the active path."""
    from corral.chat.conversation import Message, active_path

    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        conversation = parts.store.conversation(id)
        messages = parts.store.messages(id)
        parts.close_stores()
        active = {message.id for message in active_path(messages, conversation.active)}
        ids = {message.id for message in messages}
        below: dict[int | None, list[Message]] = {}
        for message in messages:  # Also what hangs below a message that a damaged file has lost.
            parent = message.parent if message.parent in ids else None
            below.setdefault(parent, []).append(message)
        levels: list[tuple[int, Message]] = []
        waiting = [(0, message) for message in reversed(below.pop(None, []))]
        while waiting:
            level, message = waiting.pop()
            levels.append((level, message))
            children = below.pop(message.id, [])
            # A straight line is not indented: a long conversation stays narrow.
            deeper = level + 1 if len(children) > 1 else level
            waiting += [(deeper, child) for child in reversed(children)]
        if as_json:
            print_json(
                [
                    {
                        "id": message.id,
                        "parent": message.parent,
                        "level": level,
                        "role": message.role,
                        "active": message.id in active,
                        "status": message.status,
                        "model": (message.model or {}).get("name"),
                        "text": message.text,
                    }
                    for level, message in levels
                ]
            )
            return
        for level, message in levels:
            mark = "*" if message.id in active else " "
            model = message.model or {}
            answered = shorten(str(model.get("quant") or model.get("name") or "Answer"), 24)
            who = "You" if message.role == "user" else answered
            state = "" if message.status == "complete" else f" ({message.status})"
            indent = "  " * min(level, 20)
            words = shorten(message.text[:400], 70)
            say(f"{message.id:>6} {mark} {indent}{who}{state}: {words}")
        if not levels:
            note("There is no message in it.")


@click.command()
@click.argument("id", type=int)
@click.option("--at", type=int, metavar="MESSAGE", help="The last message that is copied.")
@_JSON
def fork(id: int, at: int | None, as_json: bool) -> None:
    """Begin a new conversation with a copy of the active path, or of all up to a message."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        made = parts.store.fork(id, at)
        parts.close_stores()
        if as_json:
            print_json(
                {
                    "id": made.id,
                    "title": made.title,
                    "messages": made.messages,
                    "active": made.active,
                    "forked_from": id,
                }
            )
        else:
            say(f"{made.id} is a fork of {id}: {made.messages} messages, “{made.title}”")


@click.command()
@click.argument("message", type=int)
@click.option("--only", is_flag=True, help="Only it: what follows stays.")
@_JSON
def prune(message: int, only: bool, as_json: bool) -> None:
    """Delete MESSAGE and everything below it; `undo` brings it back for 30 days."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        done = parts.store.delete_message(message, branch=not only)
        parts.close_stores()
        _tell(done, "Deleted", as_json=as_json)


@click.command()
@click.argument("id", type=int)
@_JSON
def undo(id: int, as_json: bool) -> None:
    """Bring back the messages of a conversation that were deleted last."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        done = parts.store.undo_deletion(id)
        parts.close_stores()
        _tell(done, "Brought back", as_json=as_json)


def _tell(done: Deletion, what: str, *, as_json: bool) -> None:
    conversation = done.conversation
    if as_json:
        print_json(
            {
                "conversation": conversation.id,
                "message": done.first.id,
                "messages": done.messages,
                "active": conversation.active,
            }
        )
    else:
        count = "1 message" if done.messages == 1 else f"{done.messages} messages"
        say(f"{what} {count} of {conversation.id}: {clean_line(conversation.title)}")
