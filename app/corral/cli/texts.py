"""``corral ask --complete``: a text that the model writes on in, several ways or token by token."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from corral.chat import texts
from corral.chat.conversation import Conversation, active_path
from corral.chat.formats import COMPLETION
from corral.chatting import Notice, Options, Working
from corral.cli.answers import GO_ON, stage
from corral.cli.output import StatusLine, note, print_json, table
from corral.errors import UsageError
from corral.likeliest import Alternatives, Look
from corral.parts import Parts
from corral.planning import provenance
from corral.writing import check_kind

F = TypeVar("F", bound=Callable[..., Any])

MOST_CANDIDATES = 100


def text_options(command: F) -> F:
    """``--complete``, ``--candidates`` and ``--alternatives``."""
    complete = "Write on in the text, without any chat format; with -c ID in that text."
    candidates = "So many answers, one after another, each with another seed."
    alternatives = "Only tell the likeliest next tokens of the text, and how likely each is."
    command = click.option(
        "--alternatives", type=click.IntRange(1, 1000), metavar="N", help=alternatives
    )(command)
    command = click.option(
        "--candidates",
        type=click.IntRange(1, MOST_CANDIDATES),
        default=1,
        metavar="N",
        help=candidates,
    )(command)
    return click.option("--complete", is_flag=True, help=complete)(command)


def refuse_together(
    redo: str | None, candidates: int, alternatives: int | None, *, dry_run: bool
) -> None:
    """What does not go with ``--candidates`` and ``--alternatives``.

    Raises:
        UsageError: both were given, or something else that generates nothing, or goes on.
    """
    if candidates > 1 and (redo == GO_ON or dry_run or alternatives):
        raise UsageError(
            "--candidates goes neither with --continue-answer nor with what generates nothing",
            hint="Leave out one of the two.",
        )
    if alternatives and (redo or dry_run):
        raise UsageError(
            "--alternatives only looks at the text, and takes no other wish",
            hint="Leave out one of the two.",
        )


def check(
    found: Conversation | None, options: Options, *, something: bool, alternatives: int | None
) -> None:
    """Whether what was asked for goes with the conversation.

    Args:
        something: there is a prompt, or an answer to be made again.

    Raises:
        UsageError: the conversation is of the other kind, a preset is to frame a text, or there is
            nothing to ask.
    """
    wanted = None if options.format is None else options.format == COMPLETION.name
    check_kind(found, found.messages if found else 0, text=wanted)
    text = wanted or (wanted is None and texts.is_text(found))
    if text and options.preset:
        raise UsageError(
            "A preset frames questions, and a text has none",
            hint="Leave out --preset or --complete.",
        )
    if alternatives and not text:
        raise UsageError("--alternatives is for texts", hint="Add --complete.")
    if not (something or alternatives or (text and found and found.messages)):
        raise UsageError(
            "The prompt is empty",
            title="Nothing to ask",
            hint='Try corral ask "Why is the sky blue?"',
        )


def kept_as_text(parts: Parts, found: Conversation, options: Options) -> Conversation:
    """The conversation, which says from now on that it is a text where it was begun as one."""
    if options.format != COMPLETION.name or texts.is_text(found):
        return found
    parameters = {**found.parameters, texts.FORMAT: COMPLETION.name}
    return parts.store.update_conversation(found.id, parameters=parameters)


async def tell_alternatives(
    parts: Parts,
    found: Conversation | None,
    text: str,
    count: int,
    options: Options,
    *,
    as_json: bool,
) -> int:
    """Print the likeliest tokens behind a text; nothing is saved.

    Raises:
        UsageError: there is no text.
    """
    if found is not None:
        text = texts.joined(active_path(parts.store.messages(found.id), found.active)) + text
    if not text:
        raise UsageError("There is no text yet", title="Nothing to go on behind")
    status = StatusLine()
    look = parts.chatting.likeliest(Look(text, len(text), count, found, options))
    try:
        async with contextlib.aclosing(look):
            async for event in look:
                if isinstance(event, Working):
                    status.show(stage(event))
                elif isinstance(event, Notice):
                    note(f"corral: {event.title}: {event.text}")
                else:
                    status.clear()
                    _tell(parts, event, as_json=as_json)
    finally:
        status.clear()
        await parts.close()
    return 0


def _tell(parts: Parts, found: Alternatives, *, as_json: bool) -> None:
    loaded = parts.chatting.loaded
    if as_json:
        reused, evaluated = found.reused_tokens, found.evaluated_tokens
        print_json(
            {
                "type": "alternatives",
                "tokens": [one.model_dump() for one in found.tokens],
                "model": provenance(found.plan, loaded) if loaded else {},
                "usage": {
                    "prompt_tokens": reused + evaluated,
                    "reused_tokens": reused,
                    "evaluated_tokens": evaluated,
                },
            }
        )
        return
    rows = [
        (
            f"{100 * one.probability:6.2f} %",
            json.dumps(one.text, ensure_ascii=False) if one.kind == "text" else one.text,
            str(one.token),
        )
        for one in found.tokens
    ]
    table(rows, ("Likely", "Token", "Id"))
    note("Probabilities at temperature 1, before any sampler")
