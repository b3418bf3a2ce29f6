"""An answer on the command line: what is printed of it, and one that goes on or is made again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from corral.chat.conversation import Conversation, Message, active_path
from corral.chatting import Options, Turn, Working
from corral.engine.protocol import Timings, Usage
from corral.errors import NotFound, UsageError
from corral.parts import Parts

F = TypeVar("F", bound=Callable[..., Any])

GO_ON, AGAIN = "go on", "again"

_MODEL = ("name", "file", "sha256", "quant", "n_ctx", "gpu_layers", "threads")

_STAGES = {
    "loading": "Loading the model",
    "condensing": "Condensing what no longer fits",
    "reading": "Reading",
}


def done_record(message: Message, *, saved: bool) -> dict[str, Any]:
    """The contract's ``done`` object; all of its keys are there, however little came of the answer.

    Args:
        saved: whether its conversation is on disk.
    """
    return {
        "type": "done",
        "conversation": message.conversation if saved else None,
        "message": message.id if saved else None,
        "text": message.text,
        "stop_reason": message.stop_reason,
        "model": dict.fromkeys(_MODEL) | (message.model or {}),
        "usage": Usage().model_dump() | (message.usage or {}),
        "timings": Timings().model_dump() | (message.timings or {}),
    }


def stage(working: Working) -> str:
    """What goes on before the words come, for the status line."""
    share = f" {100 * working.done / working.total:.0f} %" if working.total else ""
    return _STAGES.get(working.stage, "Waiting") + share


def answer_options(command: F) -> F:
    """``--continue-answer`` and ``--again``, as the parameter ``redo``."""
    goes_on = "Let the last answer go on that was stopped or cut off; takes no PROMPT."
    again = "Make the last answer again, perhaps with another model; takes no PROMPT."
    command = click.option("--again", "redo", flag_value=AGAIN, help=again)(command)
    return click.option("--continue-answer", "redo", flag_value=GO_ON, help=goes_on)(command)


def refuse_prompt(redo: str | None, prompt: str | None, *, dry_run: bool) -> None:
    """What does not go with ``--continue-answer`` and ``--again``.

    Raises:
        UsageError: a question was given too, or nothing is to be generated.
    """
    if redo is not None and (prompt or dry_run):
        raise UsageError(
            "--continue-answer and --again take neither a PROMPT nor --dry-run",
            hint="Leave out one of the two.",
        )


def begin(
    parts: Parts, conversation: Conversation, text: str, options: Options, redo: str | None
) -> Turn:
    """The turn that was asked for.

    Raises:
        NotFound: there is no answer that could go on or be made again.
    """
    chatting = parts.chatting
    if redo is None and text:
        return chatting.send(conversation.id, text, options)
    path = active_path(parts.store.messages(conversation.id), conversation.active)
    if redo is None and path:
        return chatting.write(path[-1], options)
    if redo == AGAIN and path:
        return chatting.regenerate(path[-1], options)
    for message in reversed(path):
        if message.role == "assistant":
            return chatting.go_on(message, options)
    raise NotFound(f"Conversation {conversation.id} has no answer yet")


def existing(found: Conversation | None, redo: str | None) -> Conversation | None:
    """The same conversation.

    Raises:
        NotFound: there is none, but one is needed.
    """
    if found is None and redo is not None:
        raise NotFound("There is no conversation yet", hint="Ask something first.")
    return found
