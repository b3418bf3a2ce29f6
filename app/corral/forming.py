"""Which preset an answer is given with, and which form it has to have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corral.chat.conversation import Conversation
from corral.chat.grammar.errors import GrammarError
from corral.chat.presets import Preset, PresetError
from corral.errors import NotFound, Refused, UsageError
from corral.presets import Presets
from corral.text import shorten

LABELS = "labels"
"""Among a conversation's parameters: what its preset tells apart."""
SCHEMA = "schema"
GRAMMAR = "grammar"
"""Texts among a conversation's parameters; one of them at the most."""
OFF = "off"
LARGEST = 1 << 20
"""Bytes of a file that a form is read from."""


@dataclass(frozen=True, slots=True)
class Form:
    """What every answer has to be."""

    grammar: str = ""
    notes: tuple[str, ...] = ()
    """What of it is not as it was asked for, in plain sentences."""


def preset_of(
    presets: Presets,
    conversation: Conversation | None,
    name: str | None = None,
    labels: Sequence[str] | None = None,
) -> Preset | None:
    """The preset of one answer, with its labels.

    Args:
        name: for this answer; None takes the conversation's, "" or ``off`` none.
        labels: for this answer; None takes the conversation's.

    Raises:
        NotFound: there is no such preset, or its file is wrong.
        UsageError: it needs labels and has none, or takes none and was given some.
    """
    own = name is None
    name = (conversation.preset if conversation else "") if name is None else name
    if not name or name.casefold() == OFF:
        if labels:
            raise UsageError("Labels say something together with a preset only",
                             hint="--preset classify --label spam --label other")  # fmt: skip
        return None
    try:
        preset = presets.get(name)
    except NotFound as error:
        hint = "/preset off and --preset off go on without it." if own else error.hint
        raise NotFound(error.message, title=error.title, hint=hint) from None
    if labels is None and conversation and conversation.preset == preset.name:
        stored = conversation.parameters.get(LABELS)
        labels = [str(one) for one in stored] if isinstance(stored, list) else None
    try:
        if labels:
            preset = preset.with_labels(labels)
    except PresetError as error:
        raise UsageError(error.reason, title="These labels cannot be used") from None
    if preset.wants_labels:
        raise UsageError(
            f"{preset.name} needs to know the labels to choose from",
            title="Which labels?",
            hint=f"--label spam --label other, or /preset {preset.name} spam, other",
        )
    return preset


def form_of(
    preset: Preset | None,
    parameters: Mapping[str, Any],
    *,
    schema: str | None = None,
    grammar: str | None = None,
    max_tokens: int = 0,
) -> Form:
    """The form of one answer: what was asked for it, else the conversation's, else the preset's.

    Args:
        parameters: of the conversation; a grammar or a schema among them counts.
        schema: a JSON schema's text, for this answer.
        grammar: or a grammar's.
        max_tokens: what the answer may have.

    Raises:
        UsageError: it cannot be used; the message has the line and the reason.
    """
    stored = not (schema or grammar)
    if stored:
        schema, grammar = (
            text if isinstance(text := parameters.get(key), str) else None
            for key in (SCHEMA, GRAMMAR)
        )
    try:
        if schema and grammar:
            raise UsageError("An answer has one form: a schema or a grammar")
        if schema:
            return _compiled(schema, max_tokens)
        if grammar:
            return Form(checked_grammar(grammar))
        return Form(*preset.form(max_tokens)) if preset else Form()
    except GrammarError as error:
        assert preset is not None  # The others say what is wrong themselves.
        raise _refused(f"The preset {preset.name}", error) from None
    except UsageError as error:
        if stored:
            error.hint = "/form off goes on without it."
        raise


def _compiled(schema: str, max_tokens: int) -> Form:
    # Only who asks for a form pays for reading grammars.
    from corral.chat.grammar.schema import compile_schema
    from corral.chat.grammar.walk import begin

    try:
        compiled = compile_schema(schema, max_tokens=max_tokens)
        begin(compiled.grammar)
    except GrammarError as error:
        raise _refused("The schema", error) from None
    return Form(compiled.grammar, compiled.notes)


def checked_grammar(text: str) -> str:
    """A grammar that can be used.

    Raises:
        UsageError: it cannot; the message has the line and the reason.
    """
    from corral.chat.grammar.walk import begin

    try:
        begin(text)
    except GrammarError as error:
        raise _refused("The grammar", error) from None
    return text


def _refused(what: str, error: GrammarError) -> UsageError:
    place = ", ".join(filter(None, [f"line {error.line}" if error.line else "", error.where]))
    reason = shorten(error.reason, 300)
    message = f"{what}, {shorten(place, 200)}: {reason}" if place else f"{what}: {reason}"
    return UsageError(message, title="This form cannot be used")


def read_file(path: str) -> str:
    """The text of a schema or a grammar.

    Raises:
        NotFound, Refused: there is no such file, or it is no text.
    """
    try:
        place = Path(path).expanduser()
        if place.is_file() and place.stat().st_size > LARGEST:
            raise Refused(f"{shorten(path, 200)} is larger than {LARGEST >> 20} MB")
        if place.exists() and not place.is_file():
            raise Refused(f"{shorten(path, 200)} is no file")
        return place.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Refused(f"{shorten(path, 200)} is not UTF-8 text") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "no such file"
        raise NotFound(f"{shorten(path, 200)} cannot be read: {reason}") from None


def split_labels(text: str) -> list[str]:
    """Labels as a person types them behind a command: ``spam, not spam``."""
    return [label.strip() for label in text.split(",") if label.strip()]
