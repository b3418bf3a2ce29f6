"""The engine process: one model, one context, one request at a time.

Run as ``python -P -m corral.engine.worker`` with commands on stdin, events on stdout and a log file
as stderr; :mod:`corral.engine.engine` does. The main thread reads commands and may be asked to stop
anything at any time, one thread makes every llama.cpp call, one sends the heartbeat.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from corral.engine import protocol
from corral.engine.lifeline import die_with_parent

HEARTBEAT_SECONDS = 1.0
FLUSH_SECONDS = 0.02
"""Pieces that come faster than this travel together: the screen cannot show them one by one."""


class Wire:
    """Writes events, one line each, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, event: protocol.Model) -> None:
        data = protocol.encode(event)
        with self._lock:
            self._stream.write(data)
            self._stream.flush()


class Inference:
    """The thread that owns the native library."""

    def __init__(self, wire: Wire) -> None:
        from corral.engine.llama import library
        from corral.engine.llama.model import CancelFlag

        self.wire = wire
        self.log = library.start()
        self.requests: queue.Queue[protocol.Command | None] = queue.Queue()
        self.current: int | None = None
        self.last_return = time.monotonic()
        """When native code last came back."""
        self._cancel = CancelFlag()
        self._cancelled: set[int] = set()
        self._lock = threading.Lock()
        self._model: Any = None

    def cancel(self, id: int) -> None:
        """Called by the control thread; also for a request that still waits in the queue."""
        with self._lock:
            self._cancelled.add(id)
            if self.current == id:
                self._cancel.set()

    def run(self) -> None:
        while (command := self.requests.get()) is not None:
            id: int = getattr(command, "id", 0)
            with self._lock:
                self.current = id
                self._cancel.clear()
                if id in self._cancelled:
                    self._cancel.set()
            self.last_return = time.monotonic()
            try:
                self._handle(command)
            except Exception as error:
                self._fail(id, "internal", f"{type(error).__name__}: {error}")
            finally:
                with self._lock:
                    self.current = None
                    self._cancelled.discard(id)
        if self._model is not None:
            self._model.close()

    def _fail(self, id: int, code: Any, message: str) -> None:
        self.wire.send(protocol.Failed(id=id, code=code, message=message))

    def _handle(self, command: protocol.Command) -> None:
        from corral.engine.llama.model import Cancelled, LoadError
        from corral.engine.llama.template import TemplateError

        handlers: dict[str, Callable[[Any], None]] = {
            "load": self._load,
            "tokenize": self._tokenize,
            "render": self._render,
            "generate": self._generate,
            "describe": self._describe,
            "probe": self._probe,
        }
        id: int = getattr(command, "id", 0)
        try:
            handlers[command.type](command)
        except Cancelled:
            self._fail(id, "stopped", "The request was stopped")
        except LoadError as error:
            self._fail(id, "load" if command.type == "load" else "decode", str(error))
        except TemplateError as error:
            self._fail(id, "template", str(error))

    # --- requests ---------------------------------------------------------------------------------

    def _load(self, command: protocol.Load) -> None:
        from corral.engine.llama.model import LlamaModel, LoadError

        if self._model is not None:
            raise LoadError("This worker has its model already")
        sent = 0.0

        def progress(fraction: float) -> None:
            nonlocal sent
            self.last_return = now = time.monotonic()
            if now - sent > 0.05 or fraction >= 1:
                sent = now
                self.wire.send(
                    protocol.Progress(id=command.id, stage="loading", done=fraction, total=1.0)
                )

        self._model = LlamaModel(command.spec, self.log, progress, self._cancel)
        self.wire.send(self._model.describe(command.id))

    def _loaded(self) -> Any:
        from corral.engine.llama.model import LoadError

        if self._model is None:
            raise LoadError("No model is loaded")
        return self._model

    def _tokenize(self, command: protocol.Tokenize) -> None:
        ids = self._loaded().vocab.encode(command.segments)
        self.wire.send(protocol.Tokens(id=command.id, tokens=tuple(ids)))

    def _render(self, command: protocol.Render) -> None:
        from corral.engine.llama.template import TemplateError, render

        model = self._loaded()
        template = model.describe(command.id).chat_template
        if not template:
            raise TemplateError("The file carries no chat template")
        vocab = model.vocab
        segments = render(
            template,
            command.messages,
            vocab.special_tokens,
            bos=vocab.text(vocab.bos),
            eos=vocab.text(vocab.eos),
            add_generation_prompt=command.add_generation_prompt,
        )
        if vocab.add_bos and segments[:1] != [("special", vocab.text(vocab.bos))]:
            segments.insert(0, ("control", "bos"))
        self.wire.send(protocol.Segments(id=command.id, segments=tuple(segments)))

    def _describe(self, command: protocol.Describe) -> None:
        from corral.engine.llama import library

        self.wire.send(protocol.Devices(id=command.id, devices=library.devices()))

    def _probe(self, command: protocol.Probe) -> None:
        from corral.engine.llama.probe import measure

        self.wire.send(protocol.Probed(id=command.id, rates=measure(self._cancel)))

    def _generate(self, command: protocol.Generate) -> None:
        model = self._loaded()
        if not command.tokens or len(command.tokens) >= model.n_ctx:
            self._fail(
                command.id,
                "prompt_too_long",
                f"The prompt has {len(command.tokens)} tokens, the window {model.n_ctx}",
            )
            return
        _Generation(self, model, command).run()

    @property
    def cancelled(self) -> bool:
        return bool(self._cancel)


class _Generation:
    """One answer: evaluate the prompt, then sample, send and decode until something ends it."""

    def __init__(self, owner: Inference, model: Any, command: protocol.Generate) -> None:
        from corral.engine.llama.sampling import Chain
        from corral.engine.llama.vocab import TextStream

        self._owner = owner
        self._model = model
        self._command = command
        seed = command.sampling.seed
        self._seed = secrets.randbits(32) % 0xFFFF_FFFE if seed is None else seed
        self._chain = Chain(command.sampling, model.vocab, n_ctx=model.n_ctx, seed=self._seed)
        self._text = TextStream(
            command.stop,
            strip_leading_space=command.strip_leading_space and model.vocab.is_sentencepiece,
        )
        self._pending = ""
        self._flushed = 0.0
        self._count = 0
        self._reused = 0
        self._evaluated = 0

    def run(self) -> None:
        from corral.engine.llama.model import Cancelled

        started = time.perf_counter()
        prompt_done = first = last = 0.0
        reason: protocol.StopReason = "stopped"
        try:
            with contextlib.suppress(Cancelled):
                self._reused = self._model.evaluate(self._command.tokens, self._progress)
                prompt_done = time.perf_counter()
                self._chain.accept_prompt(self._command.tokens)
                for would_be in self._tokens():
                    reason = would_be
                    last = time.perf_counter()
                    first = first or last
        finally:
            self._send(self._text.feed(b"", final=True), flush=True)
            self._chain.close()
        end = time.perf_counter()
        prompt_done = prompt_done or end
        generation = (last or end) - (first or end)
        # The first token comes out of the prompt evaluation: the rate is of those after it.
        rate = (self._count - 1) / generation if generation > 0 else 0.0
        self._owner.wire.send(
            protocol.Finished(
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
                    prompt_ms=(prompt_done - started) * 1000,
                    first_token_ms=((first or end) - started) * 1000,
                    generation_ms=generation * 1000,
                    tokens_per_second=rate,
                ),
                threads=self._model.generation_threads.threads,
                seed=self._seed,
            )
        )

    def _tokens(self) -> Any:
        """Yields after every token what would be the reason if it were the last one."""
        model, vocab, owner = self._model, self._model.vocab, self._owner
        room = model.n_ctx - len(model.tokens)
        limit = min(room, self._command.max_tokens or room)
        while not owner.cancelled:
            token = self._chain.sample(model.context)
            self._count += 1
            if vocab.ends(token):
                yield "end"
                return
            self._send(self._text.feed(vocab.piece(token)))
            if self._text.stopped:
                yield "end"
                return
            if self._count >= limit:
                yield "length"
                return
            yield "stopped"
            model.append(token)
            owner.last_return = time.monotonic()

    def _send(self, text: str, *, flush: bool = False) -> None:
        self._pending += text
        now = time.monotonic()
        if self._pending and (flush or now - self._flushed >= FLUSH_SECONDS):
            self._owner.wire.send(
                protocol.Delta(id=self._command.id, text=self._pending, tokens=self._count)
            )
            self._pending = ""
            self._flushed = now

    def _progress(self, done: int, total: int) -> None:
        self._evaluated = done
        self._owner.last_return = time.monotonic()
        self._owner.wire.send(
            protocol.Progress(id=self._command.id, stage="prompt", done=done, total=total)
        )


def _heartbeat(wire: Wire, inference: Inference) -> None:
    while True:
        time.sleep(HEARTBEAT_SECONDS)
        busy = inference.current
        idle = (time.monotonic() - inference.last_return) * 1000 if busy is not None else 0.0
        try:
            wire.send(protocol.Heartbeat(busy=busy, idle_ms=idle))
        except OSError:
            os._exit(0)


def _private_streams() -> tuple[BinaryIO, BinaryIO]:
    """stdin and stdout for the protocol alone; what native code prints goes to the log."""
    commands = os.fdopen(os.dup(0), "rb")
    events = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return commands, events


def _harden() -> None:
    """No core dump (it would hold the chat), first to go without memory, deaf to the tty."""
    for name in ("SIGINT", "SIGHUP", "SIGTSTP", "SIGTTOU", "SIGTTIN"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")


def main() -> None:
    commands, events = _private_streams()
    die_with_parent()
    _harden()
    wire = Wire(events)
    try:
        from corral.engine.llama import library

        inference = Inference(wire)
        ready = protocol.Ready(
            pid=os.getpid(),
            binding=library.binding_version(),
            system_info=library.system_info(),
            gpu_offload=library.gpu_offload(),
        )
    except Exception as error:
        wire.send(
            protocol.Failed(id=None, code="internal", message=f"{type(error).__name__}: {error}")
        )
        sys.exit(1)
    wire.send(ready)
    thread = threading.Thread(target=inference.run, name="inference", daemon=True)
    thread.start()
    threading.Thread(target=_heartbeat, args=(wire, inference), daemon=True).start()
    while line := commands.readline(64 * 1024 * 1024):
        try:
            command = protocol.parse_command(line)
        except ValidationError as error:
            # Without the input: it may be somebody's words.
            reasons = [detail["msg"] for detail in error.errors(include_input=False)]
            wire.send(protocol.Failed(id=None, code="internal", message="; ".join(reasons[:3])))
            continue
        if isinstance(command, protocol.Cancel):
            inference.cancel(command.id)
        elif isinstance(command, protocol.Shutdown):
            inference.requests.put(None)
            thread.join(timeout=2.0)
            break
        else:
            inference.requests.put(command)
    # The parent is gone, or asked for the end: a native call may still run, and nothing waits.
    os._exit(0)


if __name__ == "__main__":
    main()
