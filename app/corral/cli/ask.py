"""``corral ask``: one turn, streamed to stdout."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import click

from corral import adapting
from corral.chat.conversation import Conversation
from corral.chat.window import POLICIES
from corral.chatting import Finished, LeftOut, Notice, Options, Sent, Turn, Words, Working
from corral.cli.answers import (
    answer_options,
    begin,
    done_record,
    existing,
    refuse_prompt,
    stage,
)
from corral.cli.output import StatusLine, errors, note, print_json, report
from corral.cli.presets import form_options, keep_preset, with_form
from corral.cli.stdin import prompt_text
from corral.cli.texts import (
    check,
    kept_as_text,
    refuse_together,
    tell_alternatives,
    text_options,
)
from corral.errors import UsageError
from corral.parts import Parts, build
from corral.paths import Paths
from corral.signals import Signals
from corral.text import clean
from corral.writing import candidate, preview

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty", "seed", "max_tokens")


@click.command()
@click.argument("prompt", required=False)
@click.option("-m", "--model", metavar="NAME", help="family:QUANT, or the path of a .gguf file.")
@click.option("-s", "--system", metavar="TEXT", help="System prompt.")
@click.option("-c", "--conversation", type=int, metavar="ID", help="Go on with this one.")
@click.option("--continue", "latest", is_flag=True, help="Go on with the latest conversation.")
@click.option("--format", metavar="NAME", help="Prompt format, over what is known of the model.")
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="FILE[:SCALE]",
    help="LoRA adapter by file or name; again for several, off for none.",
)
@text_options
@form_options
@answer_options
@click.option("--temperature", type=float, help="0 always takes the likeliest token.")
@click.option("--top-p", type=float)
@click.option("--top-k", type=int, help="0 is off.")
@click.option("--min-p", type=float)
@click.option("--repeat-penalty", type=float)
@click.option("--seed", type=int)
@click.option("--max-tokens", type=int, help="0 goes on to the end of the window.")
@click.option("--ctx", "n_ctx", type=int, help="Context window in tokens.")
@click.option(
    "--rope",
    "rope_scaling",
    type=click.Choice(["off", "linear", "yarn"]),
    help="Stretch the window beyond what the model was trained on.",
)
@click.option(
    "--window",
    type=click.Choice(POLICIES),
    help="When it is full: drop the oldest turns, stop, keep both ends, or summarise. Kept.",
)
@click.option("--no-save", is_flag=True, help="Keep nothing of this on disk.")
@click.option("--stats", is_flag=True, help="Print tokens and speed to stderr at the end.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines: deltas, then done or error.")
@click.option("--dry-run", is_flag=True, help="Render and tokenize the prompt, generate nothing.")
def ask(
    prompt: str | None,
    model: str | None,
    system: str | None,
    conversation: int | None,
    latest: bool,
    complete: bool,
    candidates: int,
    alternatives: int | None,
    format: str | None,
    adapters: tuple[str, ...],
    preset: str | None,
    labels: tuple[str, ...],
    schema_file: str | None,
    grammar_file: str | None,
    redo: str | None,
    no_save: bool,
    stats: bool,
    as_json: bool,
    dry_run: bool,
    **parameters: float | str | None,
) -> None:
    """Ask PROMPT and stream the answer; text from stdin is appended to it."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        refuse_prompt(redo, prompt, dry_run=dry_run)
        refuse_together(redo, candidates, alternatives, dry_run=dry_run)
        latest = latest or (redo is not None and conversation is None)
        goes_on = latest or conversation is not None
        if no_save and goes_on and not dry_run and not alternatives:
            raise UsageError(
                "--no-save keeps nothing, so it cannot go on with a conversation",
                hint="Leave out one of the two.",
            )
        text = "" if redo else prompt_text(prompt, needed=not goes_on)
        parts = build(Paths.from_environment(), save=dry_run or not no_save)
        options = Options(
            model=model,
            system=system,
            parameters={key: value for key, value in parameters.items() if value is not None},
            format="completion" if complete else format,
            adapters=adapting.parse_all(adapters),
        )
        options = with_form(options, preset, labels, schema_file, grammar_file)
        # What is wrong with the request itself is told before anything is written.
        found = existing(_existing(parts, conversation, latest), redo)
        check(found, options, something=bool(redo or text), alternatives=alternatives)
        plan = parts.chatting.planner.plan(found, options)
        if not as_json:
            for line in (*parts.notices, *(plan.form_notes if options.schema else ())):
                note(f"corral: {line}")
        if alternatives:
            telling = tell_alternatives(parts, found, text, alternatives, options, as_json=as_json)
            sys.exit(asyncio.run(telling))
        job = _Ask(parts, options, redo, as_json=as_json, stats=stats, saved=not no_save)
        job.candidates, job.seed = candidates, plan.sampling.seed
        if dry_run:
            sys.exit(asyncio.run(job.dry_run(found, text)))
        found = keep_preset(parts, _conversation(parts, conversation, latest, options), options)
        found = kept_as_text(parts, found, options)
        sys.exit(asyncio.run(job.run(_with_window(parts, found, options), text)))


def _existing(parts: Parts, id: int | None, latest: bool) -> Conversation | None:
    if id is not None:
        return parts.store.conversation(id)
    return parts.store.latest() if latest else None


def _conversation(parts: Parts, id: int | None, latest: bool, options: Options) -> Conversation:
    """The conversation to write to: the one asked for, or a new one."""
    found = _existing(parts, id, latest)
    if found is None:
        return parts.store.create_conversation(
            system=options.system or "",
            model=options.model and adapting.durable(options.model),
            parameters=adapting.with_choices({}, options.adapters or ()) or None,
        )
    if options.system is not None:
        parts.store.update_conversation(found.id, system=options.system)
    if options.model is not None:
        parts.store.update_conversation(found.id, model=adapting.durable(options.model))
    if options.adapters is not None:
        kept = adapting.with_choices(found.parameters, options.adapters)
        parts.store.update_conversation(found.id, parameters=kept)
    return parts.store.conversation(found.id)


def _with_window(parts: Parts, found: Conversation, options: Options) -> Conversation:
    """The conversation with the policy that was asked for, which it keeps."""
    if (policy := options.parameters.get("window")) is None:
        return found
    parameters = {**found.parameters, "window": policy}
    return parts.store.update_conversation(found.id, parameters=parameters)


class _Ask:
    def __init__(
        self,
        parts: Parts,
        options: Options,
        redo: str | None,
        *,
        as_json: bool,
        stats: bool,
        saved: bool,
    ) -> None:
        self._parts = parts
        self._options = options
        self._redo = redo
        self._json = as_json
        self._stats = stats
        self._saved = saved
        self._status = StatusLine()
        self._signals: Signals | None = None
        self.candidates = 1
        self.seed: int | None = None
        """Of the first candidate; None draws one for each."""

    async def run(self, conversation: Conversation, text: str) -> int:
        turn = begin(self._parts, conversation, text, self._options, self._redo)
        code = 0
        try:
            for number in range(self.candidates):
                if number:
                    assert turn.answer is not None
                    options = candidate(self._options, self.seed, number)
                    turn = self._parts.chatting.regenerate(turn.answer, options)
                code = await self._one(turn, number) or code
                if self._signals and self._signals.number:
                    return 128 + self._signals.number
        finally:
            self._status.clear()
            await self._parts.close()
        return code

    async def _one(self, turn: Turn, number: int) -> int:
        self._signals = Signals(turn.stop)
        code = 1
        async with contextlib.aclosing(turn):
            async for event in turn:
                if isinstance(event, Finished):
                    code = self._finish(event)
                    seed = (event.message.parameters or {}).get("seed")
                    if self.candidates > 1 and seed is not None:
                        note(f"{number + 1} of {self.candidates} · seed {seed}")
                else:
                    self._show(event)
        return code

    async def dry_run(self, conversation: Conversation | None, text: str) -> int:
        parts = self._parts
        try:
            plan = parts.chatting.planner.plan(conversation, self._options)
            prompt = await preview(parts.store, parts.engine, plan, conversation, text)
        finally:
            await self._parts.close()
        if self._json:
            print_json(
                {
                    "type": "prompt",
                    "format": prompt.format,
                    "text": prompt.text,
                    "tokens": list(prompt.tokens),
                    "left_out": prompt.left_out,
                    "gaps": [list(gap) for gap in prompt.gaps],
                }
            )
        else:
            sys.stdout.write(clean(prompt.text) + "\n")
            note(f"{prompt.format} · {len(prompt.tokens)} tokens")
        return 0

    def _show(self, event: Any) -> None:
        if isinstance(event, Words):
            self._status.clear()
            if self._json and self.candidates == 1:
                print_json({"type": "delta", "text": event.text})
            elif not self._json:
                sys.stdout.write(clean(event.text))
                sys.stdout.flush()
        elif isinstance(event, Working):
            self._status.show(stage(event))
        elif isinstance(event, Notice):
            note(f"corral: {event.title}: {event.text}")
        elif isinstance(event, LeftOut):
            oldest = "" if event.scattered else "the oldest "
            stands = "; a summary stands for them" if event.summary else ""
            exchanges = "exchange" if event.exchanges == 1 else "exchanges"
            note(
                f"corral: the model no longer sees {oldest}{event.exchanges} {exchanges} of this "
                f"conversation{stands}"
            )
        elif isinstance(event, Sent):
            self._status.show("Starting the engine")

    def _finish(self, finished: Finished) -> int:
        message = finished.message
        self._status.clear()
        if not self._json and message.text:
            sys.stdout.write("\n")
            sys.stdout.flush()
        if finished.error is not None:
            return report(finished.error, as_json=self._json)
        if self._json:
            print_json(done_record(message, saved=self._saved))
        if self._stats and message.usage and message.timings:
            usage, timings = message.usage, message.timings
            drafted, accepted = usage.get("drafted_tokens", 0), usage.get("accepted_tokens", 0)
            note(
                f"{usage['completion_tokens']} tokens · {timings['tokens_per_second']:.1f} tok/s · "
                f"first token {timings['first_token_ms'] / 1000:.2f} s · "
                f"{usage['reused_tokens']} of {usage['prompt_tokens']} prompt tokens reused"
                + (f" · {accepted} of {drafted} guesses right" if drafted else "")
            )
        return 0
