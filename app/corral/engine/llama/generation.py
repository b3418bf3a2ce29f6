"""One answer: place the prompt, evaluate what is new, then sample, send and decode to its end."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable

from corral.engine import protocol
from corral.engine.drafting import Drafter
from corral.engine.llama.alike import Alike
from corral.engine.llama.cancel import CancelFlag, Cancelled
from corral.engine.llama.model import LlamaModel
from corral.engine.llama.sampling import Chain
from corral.engine.llama.states import Keeper
from corral.engine.llama.vocab import TextStream

FLUSH_SECONDS = 0.1
"""Pieces that come faster than this travel together: the screen shows them at half this pace at
the most, and whoever takes them wakes up on a processor that llama.cpp computes with."""


class Generation:
    """Carries one ``generate`` command out.

    Args:
        send: takes the events.
        cancel: ends it, also in the middle of a decode.
        alive: told that native code came back, as often as that matters.
        keeper: gets what was evaluated before from the disk; None keeps nothing there.
        drafter: guesses ahead; None decodes token by token.
        alike: what is known about steps with guesses; None begins anew.
    """

    def __init__(
        self,
        command: protocol.Generate,
        model: LlamaModel,
        send: Callable[[protocol.Model], None],
        cancel: CancelFlag,
        alive: Callable[[], None],
        *,
        keeper: Keeper | None = None,
        drafter: Drafter | None = None,
        alike: Alike | None = None,
    ) -> None:
        self._command = command
        self._model = model
        self._send_event = send
        self._cancel = cancel
        self._alive = alive
        self._keeper = keeper
        self._drafter = drafter
        self._alike = alike or Alike(model)
        seed = command.sampling.seed
        self._seed = secrets.randbits(32) % 0xFFFF_FFFE if seed is None else seed
        self._chain = Chain(command.sampling, model.vocab, n_ctx=model.n_ctx, seed=self._seed)
        free = self._chain.formed is None
        # A grammar says itself where the answer ends, and every character of it counts.
        self._text = TextStream(
            command.stop if free else (),
            strip_leading_space=free
            and command.strip_leading_space
            and model.vocab.is_sentencepiece,
        )
        self._said: list[int] = []
        """The prompt as it was evaluated and the answer, the last sampled token included."""
        self._begun = 0
        """Tokens of the prompt in it."""
        self._pending = ""
        self._flushed = 0.0
        self._limit = 0
        self._count = self._reused = self._evaluated = self._drafted = self._accepted = 0
        self._started = self._restored = self._prompt_done = self._first = self._last = 0.0

    def run(self) -> None:
        """Up to the ``finished`` event, which also a stopped answer has.

        Raises:
            LoadError: llama.cpp could not go on.
        """
        self._started = time.perf_counter()
        reason: protocol.StopReason = "stopped"
        try:
            with contextlib.suppress(Cancelled):
                self._evaluate()
                reason = self._answer()
                if reason == "length":
                    self._close_form()
        finally:
            half = self._text.unfinished
            rest = self._text.feed(b"", final=True)
            # Half a character is no text; the answer may go on with the whole one.
            self._pending += rest.removesuffix("\ufffd") if half else rest
            self._flush()
            self._chain.close()
            if self._drafter is not None:
                self._drafter.close()
        self._send_event(self._finished(reason, half))

    def _evaluate(self) -> None:
        model, command = self._model, self._command
        model.use_adapters(command.adapters)
        if self._keeper is not None:
            self._keeper.before(command.tokens, command.conversation, self._cancel.__bool__)
            self._alive()
        self._restored = time.perf_counter()
        self._reused = model.begin(command.tokens, command.conversation)
        before = time.perf_counter()
        model.evaluate(self._progress)
        self._prompt_done = time.perf_counter()
        if self._keeper is not None:
            self._keeper.note_evaluated(self._evaluated, self._prompt_done - before)
        self._said = model.tokens.copy()
        self._begun = len(self._said)
        self._chain.accept_prompt(self._said)
        room = model.n_ctx - len(self._said)
        self._limit = min(room, command.max_tokens or room)
        if self._drafter is not None:
            self._drafter.begin(self._said)
            self._alike.begin()

    # --- the answer -------------------------------------------------------------------------------

    def _answer(self) -> protocol.StopReason:
        """Sample, emit and decode until something ends it.

        Guesses are decoded together with the token they follow, and each of their rows is sampled
        as plain decoding would: the chain meets the same logits (see :class:`Alike`) in the same
        order, draws as many random numbers, and accepts nothing that is not emitted. So the text is
        the same.

        Raises:
            Cancelled: it was stopped.
        """
        model, drafter, alike = self._model, self._drafter, self._alike
        token, seconds = self._sample(-1), 0.0
        while (reason := self._emit(token)) is None:
            if seconds >= FLUSH_SECONDS / 2:
                self._flush()  # Each is shown by itself, or several came at once.
            if drafter is None:
                seconds = model.step_one(token)
                token = self._sample(-1)
                continue
            room = min(self._limit - self._count, alike.most) - 1
            guesses = drafter.draft(self._said, room) if room > 0 else []
            rows, seconds = alike.step([token, *guesses])
            guesses = guesses[: rows - 1]
            token, right, reason = self._verify(guesses)
            drafter.note(len(guesses), right, seconds)
            if reason is not None:
                break
        return reason

    def _verify(self, guesses: list[int]) -> tuple[int, int, protocol.StopReason | None]:
        """Sample behind what was decoded, and take back the guesses that were wrong.

        Returns:
            The next token, which is not emitted yet; how many guesses were right; and why the
            answer ends with the last of them, if it does.
        """
        right = 0
        self._drafted += len(guesses)
        try:
            while right < len(guesses):
                token = self._sample(right)
                if token != guesses[right]:
                    return token, right, None
                right += 1
                if (reason := self._emit(token)) is not None:
                    return token, right, reason
            return self._sample(-1), right, None
        finally:
            self._accepted += right
            self._alike.rewind(len(guesses) - right)

    def _sample(self, row: int) -> int:
        if self._cancel:
            raise Cancelled
        return self._chain.sample(self._model.context, row)

    def _emit(self, token: int) -> protocol.StopReason | None:
        """Send what a token says; gives the reason where the answer ends with it."""
        vocab, formed = self._model.vocab, self._chain.formed
        if token < 0:
            return "length"
        self._count += 1
        self._last = time.perf_counter()
        self._first = self._first or self._last
        if vocab.ends(token):
            return "end"
        self._said.append(token)
        self._pending += self._text.feed(vocab.piece(token))
        if self._last - self._flushed >= FLUSH_SECONDS:
            self._alive()
            self._flush()
        if self._text.stopped or (formed is not None and formed.walk.must_end):
            return "end"
        return "length" if self._count >= self._limit else None

    def _close_form(self) -> None:
        """Make what ran out of tokens whole, so that it is of the form that was asked for."""
        if self._chain.formed is not None:
            self._text = TextStream()  # Half a character at the end is dropped.
            self._pending += self._chain.formed.walk.closing()

    # --- events -----------------------------------------------------------------------------------

    def _flush(self) -> None:
        if self._pending:
            self._send_event(
                protocol.Delta(id=self._command.id, text=self._pending, tokens=self._count)
            )
            self._pending = ""
            self._flushed = self._last

    def _progress(self, done: int, total: int) -> None:
        self._evaluated = done
        self._alive()
        self._send_event(
            protocol.Progress(id=self._command.id, stage="prompt", done=done, total=total)
        )

    def _whole(self, half: int) -> tuple[int, ...]:
        """The tokens of the answer without those of the last ``half`` bytes."""
        answer = self._said[self._begun :]
        while half > 0 and answer:
            half -= len(self._model.vocab.piece(answer.pop()))
        return tuple(answer)

    def _finished(self, reason: protocol.StopReason, half: int) -> protocol.Finished:
        end = time.perf_counter()
        generation = (self._last or end) - (self._first or end)
        # The first token comes out of the prompt evaluation: the rate is of those after it.
        rate = (self._count - 1) / generation if generation > 0 else 0.0
        restored = self._restored or end
        return protocol.Finished(
            id=self._command.id,
            stop_reason=reason,
            usage=protocol.Usage(
                prompt_tokens=self._reused + self._evaluated,
                reused_tokens=self._reused,
                evaluated_tokens=self._evaluated,
                completion_tokens=self._count,
            ),
            timings=protocol.Timings(
                load_ms=self._model.load_ms,
                restore_ms=(restored - self._started) * 1000,
                prompt_ms=((self._prompt_done or end) - restored) * 1000,
                first_token_ms=((self._first or end) - self._started) * 1000,
                generation_ms=generation * 1000,
                tokens_per_second=rate,
            ),
            threads=self._model.computing.generation.threads,
            drafted=self._drafted,
            accepted=self._accepted,
            seed=self._seed,
            # What has a form was closed by text that has no tokens.
            answer=() if reason == "end" or self._chain.formed else self._whole(half),
        )
