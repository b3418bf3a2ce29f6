"""``corral presets``: personas and tasks; and what ``corral ask`` takes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from corral import forming
from corral.chat.conversation import Conversation
from corral.chat.presets import Preset
from corral.cli.output import errors, note, print_json, say, table
from corral.errors import UsageError
from corral.parts import Parts
from corral.paths import Paths
from corral.planning import Options
from corral.presets import Presets

F = TypeVar("F", bound=Callable[..., Any])
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")


@click.group()
def presets() -> None:
    """Personas and tasks for corral ask --preset and /preset."""


@presets.command("list")
@JSON
def list_presets(as_json: bool) -> None:
    """List the presets, and what is wrong with files that are left out."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        found = Presets(Paths.from_environment().presets)
        if as_json:
            print_json([record(preset) for preset in found.all()])
        else:
            rows = [
                [
                    one.name,
                    one.kind,
                    _answers(one),
                    one.text + (" (experimental)" * one.experimental),
                ]
                for one in found.all()
            ]
            table(rows, ["Name", "Kind", "Answers", "What it does"])
            note(f"Your own go to {found.folder}, one .toml file each")
        for problem in found.problems():
            note(f"corral: {problem}; this preset is left out")


@presets.command("show")
@click.argument("name")
@JSON
def show(name: str, as_json: bool) -> None:
    """Show all of a preset; as text it is the file itself, to copy and change."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        preset = Presets(Paths.from_environment().presets).get(name)
        if as_json:
            print_json(record(preset))
            return
        say(forming.read_file(preset.path).rstrip("\n"))
        note(f"{preset.name} · {preset.path}")
        if preset.note:
            note(preset.note)
        if not preset.wants_labels:
            for line in preset.form(int(preset.parameters.get("max_tokens", 0)))[1]:
                note(line)


def record(preset: Preset) -> dict[str, Any]:
    """A preset as ``--json`` prints it."""
    return {
        "name": preset.name,
        "title": preset.title,
        "text": preset.text,
        "kind": preset.kind,
        "system": preset.system,
        "template": preset.template,
        "answer": preset.answer,
        "labels": list(preset.labels),
        "grammar": "" if preset.wants_labels else preset.form()[0],
        "parameters": dict(preset.parameters),
        "examples": [one._asdict() for one in preset.examples],
        "note": preset.note,
        "experimental": preset.experimental,
        "own": preset.own,
        "path": preset.path,
    }


def _answers(preset: Preset) -> str:
    if preset.answer == "label":
        return ", ".join(preset.labels) or "your labels"
    return {"schema": "JSON", "grammar": "a grammar"}.get(preset.answer, "text")


# --- for corral ask -------------------------------------------------------------------------------


def form_options(command: F) -> F:
    """The options that say what an answer has to be."""
    for option in (
        click.option(
            "--grammar",
            "grammar_file",
            metavar="FILE",
            help="GBNF grammar that the answer follows.",
        ),
        click.option(
            "--schema",
            "schema_file",
            metavar="FILE",
            help="JSON schema that the answer satisfies.",
        ),
        click.option(
            "--label", "labels", multiple=True, metavar="TEXT", help="For --preset classify; again."
        ),
        click.option(
            "--preset", metavar="NAME", help="Persona or task (corral presets list); off for none."
        ),
    ):
        command = option(command)
    return command


def with_form(
    options: Options,
    preset: str | None,
    labels: tuple[str, ...],
    schema_file: str | None,
    grammar_file: str | None,
) -> Options:
    """The options of a turn with a preset and a form.

    Raises:
        NotFound, Refused: a file cannot be read.
        UsageError: two forms at once, or a file is empty.
    """
    if schema_file and grammar_file:
        raise UsageError("An answer has one form", hint="Leave out --schema or --grammar.")
    texts = [forming.read_file(file) if file else None for file in (schema_file, grammar_file)]
    if "" in [text.strip() for text in texts if text is not None]:
        raise UsageError(
            f"{schema_file or grammar_file} is empty", title="This form cannot be used"
        )
    schema, grammar = texts
    return replace(options, preset=preset, labels=labels or None, schema=schema, grammar=grammar)


def keep_preset(parts: Parts, conversation: Conversation, options: Options) -> Conversation:
    """Let a conversation remember the preset it is gone on with."""
    if options.preset is None and options.labels is None:
        return conversation
    preset = forming.preset_of(
        parts.chatting.planner.presets, conversation, options.preset, options.labels
    )
    parameters = {k: v for k, v in conversation.parameters.items() if k != forming.LABELS}
    if preset is not None and options.labels:
        parameters[forming.LABELS] = list(preset.labels)
    parts.store.update_conversation(
        conversation.id, preset=preset.name if preset else "", parameters=parameters
    )
    return parts.store.conversation(conversation.id)
