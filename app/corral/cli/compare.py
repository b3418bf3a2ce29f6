"""``corral compare``: the same prompt to several models, presets or sets of parameters."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from typing import Any

import click

from corral.chat.conversation import Conversation, Message, StopReason
from corral.chatting import Words, Working
from corral.cli.answers import done_record, stage
from corral.cli.output import StatusLine, errors, note, print_json, say, table
from corral.cli.stdin import prompt_text
from corral.comparing import (
    FIGURES,
    LETTERS,
    Comparison,
    Done,
    Entry,
    Event,
    Ordered,
    figures,
    told_order,
)
from corral.contenders import contenders
from corral.errors import UsageError
from corral.parts import Parts, build
from corral.paths import Paths
from corral.planning import Options
from corral.signals import Signals
from corral.text import clean, clean_line, shorten

NEW = Conversation(0, "", 0.0, 0.0)


@click.command()
@click.argument("prompt", required=False)
@click.option("-m", "--model", "models", multiple=True, metavar="NAME", help="Again for each.")
@click.option("--preset", "presets", multiple=True, metavar="NAME", help="Again for each; or off.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar='"NAME=VALUE …"',
    help='A set of parameters: "temperature=0.2 top_k=1 adapter=FILE:SCALE"; again for each.',
)
@click.option("--format", metavar="NAME", help="Prompt format, over what is known of the models.")
@click.option("--seed", type=int, help="Of all of them; else one is drawn.")
@click.option("--max-tokens", type=int, help="0 goes on to the end of the window.")
@click.option("--blind", is_flag=True, help="Do not say whose answer is which before your vote.")
@click.option("-c", "--conversation", type=int, metavar="ID", help="Ask it in this one.")
@click.option("--no-save", is_flag=True, help="Keep nothing of this on disk.")
@click.option("--votes", is_flag=True, help="Only tell what won blind comparisons so far.")
@click.option("--json", "as_json", is_flag=True, help="An array of done objects.")
def compare(
    prompt: str | None,
    models: tuple[str, ...],
    presets: tuple[str, ...],
    sets: tuple[str, ...],
    format: str | None,
    seed: int | None,
    max_tokens: int | None,
    blind: bool,
    conversation: int | None,
    no_save: bool,
    votes: bool,
    as_json: bool,
) -> None:
    """Ask PROMPT of every model with every preset and every set of parameters.

    They answer one after the other, with the same seed; their answers are branches of one
    conversation.
    """
    with errors(as_json=as_json, paths=Paths.from_environment):
        if votes:
            parts = build(Paths.from_environment())
            _tell_votes(parts, as_json)
            parts.close_stores()
            return
        _refuse(blind, as_json, no_save, conversation)
        parameters = {"seed": seed, "max_tokens": max_tokens}
        known = {name: value for name, value in parameters.items() if value is not None}
        base = Options(parameters=known, format=format)
        who = contenders(models, presets, sets, base)
        text = prompt_text(prompt, "compare")
        parts = build(Paths.from_environment(), save=not no_save)
        if not as_json:
            for notice in parts.notices:
                note(f"corral: {notice}")
        found = parts.store.conversation(conversation) if conversation is not None else NEW
        comparison = Comparison(parts.chatting, found, text, who)
        job = _Compare(parts, comparison, blind=blind, as_json=as_json, saved=not no_save)
        try:
            interrupted = asyncio.run(job.run())
            code = job.finish()
        finally:
            parts.close_stores()
        sys.exit(128 + interrupted if interrupted else code)


def _refuse(blind: bool, as_json: bool, no_save: bool, conversation: int | None) -> None:
    """Raises:
    UsageError: two options do not go together.
    """
    if no_save and conversation is not None:
        raise UsageError(
            "--no-save keeps nothing, so it cannot go on with a conversation",
            hint="Leave out one of the two.",
        )
    terminal = all(one is not None and one.isatty() for one in (sys.stdin, sys.stdout))
    if blind and (as_json or not terminal):
        raise UsageError(
            "--blind shows the answers and asks which is the best, which needs a terminal",
            hint="Leave out --json, and give the prompt as an argument; or leave out --blind.",
        )


def _tell_votes(parts: Parts, as_json: bool) -> None:
    found = parts.store.votes()
    if as_json:
        print_json([{"name": one.name, "wins": one.wins, "votes": one.votes} for one in found])
    elif found:
        rows = [[shorten(one.name, 70), str(one.wins), str(one.votes)] for one in found]
        table(rows, ["Contender", "Won", "of votes"])
    else:
        note("Nothing was voted on yet: corral compare --blind -m A -m B PROMPT")


class _Compare:
    def __init__(
        self, parts: Parts, comparison: Comparison, *, blind: bool, as_json: bool, saved: bool
    ) -> None:
        self._parts = parts
        self._comparison = comparison
        self._blind = blind
        self._json = as_json
        self._saved = saved
        self._status = StatusLine()
        self._speaking: Entry | None = None
        self._done = 0
        self._stopped = False
        """By a signal: nobody is asked to vote."""

    async def run(self) -> int:
        """Ask all of them; gives the signal that stopped it, else 0."""
        signals = Signals(self._comparison.stop)
        try:
            async with contextlib.aclosing(self._comparison):
                async for event in self._comparison:
                    self._show(event)
        finally:
            self._status.clear()
            await self._parts.engine.close()
        self._stopped = signals.number != 0
        return signals.number

    # --- while they answer ------------------------------------------------------------------------

    def _show(self, event: Event) -> None:
        if isinstance(event, Ordered):
            if not self._json and not self._blind:
                note(f"corral: {told_order(event.entries)} · seed {event.seed}")
        elif isinstance(event, Done):
            self._status.clear()
            self._done += 1
            if self._speaking is event.entry and not self._silent:
                sys.stdout.write("\n")
            self._tell_trouble(event.entry)
        elif isinstance(event.event, Working):
            name = "" if self._blind else f"{clean_line(event.entry.label)}: "
            count = f"{self._done + 1} of {len(self._comparison.entries)} · {name}"
            self._status.show(count + ("answering" if self._blind else stage(event.event)))
        elif isinstance(event.event, Words) and not self._silent:
            self._status.clear()
            if self._speaking is not event.entry:
                self._speaking = event.entry
                say(_heading(event.entry.label))
            sys.stdout.write(clean(event.event.text))
            sys.stdout.flush()

    @property
    def _silent(self) -> bool:
        """Whether no answer is shown before all are there."""
        return self._json or self._blind

    def _tell_trouble(self, entry: Entry) -> None:
        if self._silent:
            return
        for notice in entry.notices:
            note(f"corral: {entry.label}: {notice}")
        if (error := entry.error) is not None:
            note(f"corral: {entry.label}: {error.title}: {error.message}")
            if error.hint:
                note(f"  hint: {error.hint}")

    # --- afterwards -------------------------------------------------------------------------------

    def finish(self) -> int:
        """Print what there is to print; gives the exit code."""
        entries = self._comparison.entries
        if self._json:
            print_json([self._record(entry) for entry in entries])
        elif self._blind:
            if not self._stopped:
                self._vote([entry for entry in entries if entry.answered])
        else:
            self._table([("", entry) for entry in entries])
        failed = [entry.error for entry in entries if entry.error is not None]
        answered = any(entry.error is None and entry.answer for entry in entries)
        return failed[0].exit_code if failed and not answered else 0

    def _record(self, entry: Entry) -> dict[str, Any]:
        """The contract's object; one that never got so far has no message."""
        reason: StopReason = "error" if entry.error else "stopped"
        none = Message(0, 0, None, "assistant", "", "failed", 0.0, stop_reason=reason)
        record = done_record(entry.answer or none, saved=self._saved and entry.answer is not None)
        if record["model"]["name"] is None and entry.plan is not None:
            model = entry.plan.model
            record["model"] |= {"name": model.name, "file": model.path}
            record["model"] |= {"sha256": model.sha256, "quant": model.quant}
        record |= {"contender": entry.label, "seed": entry.options.parameters.get("seed")}
        record |= {"memory_bytes": entry.memory, "notices": entry.notices}
        if (error := entry.error) is not None:
            record["error"] = {"title": error.title, "message": error.message, "hint": error.hint}
        return record

    def _table(self, rows: list[tuple[str, Entry]]) -> None:
        lettered = any(letter for letter, _ in rows)
        headings = [
            *([""] if lettered else []),
            "Contender",
            *(one.capitalize() for one in FIGURES),
        ]
        say("")
        table(
            [
                [*([letter] if lettered else []), shorten(entry.label, 60), *figures(entry)]
                for letter, entry in rows
            ],
            ["tok/s" if one == "Tok/s" else one for one in headings],
        )

    def _vote(self, answered: list[Entry]) -> None:
        """Show the answers without names, ask for the best, and say who they were."""
        shuffled = random.sample(answered, len(answered))
        rows = list(zip(LETTERS, shuffled, strict=False))
        for letter, entry in rows:
            say(_heading(letter))
            say(f"{entry.answer.text}\n" if entry.answer else "")
        winner = _asked(rows) if len(rows) > 1 else None
        others = [entry for entry in self._comparison.entries if entry not in shuffled]
        self._table([*rows, *(("–", entry) for entry in others)])
        self._blind = False
        for entry in self._comparison.entries:
            self._tell_trouble(entry)
        if winner is None:
            return
        asyncio.run(self._comparison.show(winner))
        if self._saved:
            self._parts.store.vote(winner.name, [one.name for one in shuffled if one is not winner])
        note(f"corral: {winner.label} won, and is the answer of the conversation now")


def _heading(text: str) -> str:
    return f"── {clean_line(text)} ──"


def _asked(rows: list[tuple[str, Entry]]) -> Entry | None:
    """What the person votes for; None where none is better."""
    by_letter = dict(rows)
    letters = ", ".join(by_letter)
    while True:
        try:
            question = f"Which is the best? {letters}, or - for none"
            typed = str(click.prompt(question, prompt_suffix=" ")).strip()
        except click.Abort:
            raise KeyboardInterrupt from None
        if typed == "-":
            return None
        if (entry := by_letter.get(typed.upper())) is not None:
            return entry
        note(f"Type {letters} or -")
