"""The engine process: one model, one context, one request at a time.

Run as ``python -P -m corral.engine.worker`` with commands on stdin, events on stdout and a log file
as stderr; :mod:`corral.engine.engine` does. The main thread reads commands and may be asked to stop
anything at any time, one thread makes every llama.cpp call, one sends the heartbeat.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
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
SAVE_SECONDS = 1.5
"""How long the end may wait for what is still to be written to disk."""


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
        from corral.engine.llama.cancel import CancelFlag

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
        self._keeper: Any = None
        """Writes to disk what was evaluated, and reads it; None where nothing is kept."""
        self._speculation: Any = None
        """Guesses ahead, with a draft model or without."""
        self._unsaved = False
        self._idle_seconds = 0.0

    def cancel(self, id: int) -> None:
        """Called by the control thread; also for a request that still waits in the queue."""
        with self._lock:
            self._cancelled.add(id)
            if self.current == id:
                self._cancel.set()

    def run(self) -> None:
        while (command := self._next()) is not None:
            id: int = getattr(command, "id", 0)
            with self._lock:
                self.current = id
                self._cancel.clear()
                if id in self._cancelled:
                    self._cancel.set()
            self._returned()
            try:
                self._handle(command)
            except Exception as error:
                self._fail(id, "internal", f"{type(error).__name__}: {error}")
            finally:
                with self._lock:
                    self.current = None
                    self._cancelled.discard(id)
        if self._keeper is not None:
            self._keeper.shutdown(SAVE_SECONDS)
        for part in (self._speculation, self._model):
            if part is not None:
                part.close()

    def _next(self) -> protocol.Command | None:
        """The next request; while there is none for a moment, what was evaluated is written."""
        if self._keeper is None or not self._unsaved:
            return self.requests.get()
        try:
            return self.requests.get(timeout=self._idle_seconds)
        except queue.Empty:
            self._save()
            self._unsaved = not self.requests.empty()
        return self.requests.get()

    def _save(self) -> None:
        try:
            self._keeper.idle(lambda: not self.requests.empty())
        except Exception as error:  # This thread answers: nothing it keeps is worth its end.
            self._keeper = None
            sys.stderr.write(f"nothing is kept any more: {type(error).__name__}: {error}\n")

    def _returned(self) -> None:
        """Native code came back."""
        self.last_return = time.monotonic()

    def _fail(self, id: int, code: Any, message: str) -> None:
        self.wire.send(protocol.Failed(id=id, code=code, message=message))

    def _handle(self, command: protocol.Command) -> None:
        from corral.engine.llama.adapters import AdapterError
        from corral.engine.llama.cancel import Cancelled, LoadError
        from corral.engine.llama.template import TemplateError

        handlers: dict[str, Callable[[Any], None]] = {
            "load": self._load,
            "tokenize": self._tokenize,
            "render": self._render,
            "generate": self._generate,
            "likeliest": self._likeliest,
            "describe": self._describe,
            "probe": self._probe,
        }
        id: int = getattr(command, "id", 0)
        try:
            handlers[command.type](command)
        except Cancelled:
            self._fail(id, "stopped", "The request was stopped")
        except AdapterError as error:
            self._fail(id, "adapter", str(error))
        except LoadError as error:
            self._fail(id, "load" if command.type == "load" else "decode", str(error))
        except TemplateError as error:
            self._fail(id, "template", str(error))

    # --- requests ---------------------------------------------------------------------------------

    def _load(self, command: protocol.Load) -> None:
        from corral.engine.llama.cancel import Cancelled, LoadError
        from corral.engine.llama.draft_model import Speculation
        from corral.engine.llama.model import LlamaModel
        from corral.engine.llama.states import Keeper

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
        if command.states is not None and command.states.limit and not command.spec.vocab_only:
            self._idle_seconds = command.states.idle_seconds
            self._keeper = Keeper(self._model, command.states)
        speculation = self._speculation = Speculation(self._model, self.log, self._cancel)
        if self._cancel:
            raise Cancelled
        guessing = {"draft": speculation.draft, "draft_refused": speculation.draft_refused}
        self.wire.send(self._model.describe(command.id).model_copy(update=guessing))

    def _loaded(self) -> Any:
        from corral.engine.llama.cancel import LoadError

        if self._model is None:
            raise LoadError("No model is loaded")
        return self._model

    def _tokenize(self, command: protocol.Tokenize) -> None:
        vocab = self._loaded().vocab
        ids = tuple(vocab.encode(command.segments))
        sizes = tuple(len(vocab.piece(token)) for token in ids) if command.sizes else ()
        self.wire.send(protocol.Tokens(id=command.id, tokens=ids, sizes=sizes))

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

        if command.attempt:
            from corral.engine.llama.trial import TrialError, attempt

            try:
                attempt()
            except TrialError as error:
                self._fail(command.id, "device", str(error))
                return
        self.wire.send(protocol.Devices(id=command.id, devices=library.devices()))

    def _probe(self, command: protocol.Probe) -> None:
        from corral.engine.llama.probe import measure

        self.wire.send(protocol.Probed(id=command.id, rates=measure(self._cancel)))

    def _fits(self, command: protocol.Generate | protocol.Likeliest) -> bool:
        """Whether there is a prompt, and a place behind it; else the request fails."""
        count, n_ctx = len(command.tokens), self._loaded().n_ctx
        if 0 < count < n_ctx:
            return True
        reason = f"The prompt has {count} tokens, the window {n_ctx}"
        self._fail(command.id, "prompt_too_long", reason)
        return False

    def _likeliest(self, command: protocol.Likeliest) -> None:
        from corral.engine.llama.likeliest import likeliest

        def progress(done: int, total: int) -> None:
            self._returned()
            self.wire.send(protocol.Progress(id=command.id, stage="prompt", done=done, total=total))

        if self._fits(command):
            self._unsaved = True
            cancelled = self._cancel.__bool__
            self.wire.send(likeliest(command, self._model, progress, cancelled, self._keeper))

    def _generate(self, command: protocol.Generate) -> None:
        from corral.engine.llama.generation import Generation

        model = self._loaded()
        if not self._fits(command):
            return
        self._unsaved = True
        Generation(
            command,
            model,
            self.wire.send,
            self._cancel,
            self._returned,
            keeper=self._keeper,
            # Guesses that turn out wrong could not be taken back from a grammar.
            drafter=None
            if command.sampling.grammar
            else self._speculation.drafter(lookup=command.lookup),
            alike=self._speculation.alike,
        ).run()


def _heartbeat(wire: Wire, inference: Inference) -> None:
    while True:
        time.sleep(HEARTBEAT_SECONDS)
        busy = inference.current
        idle = (time.monotonic() - inference.last_return) * 1000 if busy is not None else 0.0
        try:
            wire.send(protocol.Heartbeat(busy=busy, idle_ms=idle))
        except OSError:
            os._exit(0)


def _import_ahead() -> None:
    """Have what an answer needs, arrays too, while the model is loaded and not before its words."""
    import psutil  # noqa: F401

    import corral.engine.llama.generation  # noqa: F401


def _private_streams() -> tuple[BinaryIO, BinaryIO]:
    """stdin and stdout for the protocol alone; what native code prints goes to the log."""
    commands = os.fdopen(os.dup(0), "rb")
    events = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    if isinstance(sys.stderr, io.TextIOWrapper):  # The log is UTF-8, whatever Windows writes.
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.stdout = sys.stderr
    return commands, events


def _harden() -> None:
    """No core dump (it would hold the chat), first to go without memory, deaf to the tty."""
    for name in ("SIGINT", "SIGHUP", "SIGTSTP", "SIGTTOU", "SIGTTIN", "SIGBREAK"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    if sys.platform != "win32":
        import resource

        with contextlib.suppress(OSError, ValueError):
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
        commit, ggml = library.build()
        ready = protocol.Ready(
            pid=os.getpid(),
            binding=library.binding_version(),
            system_info=library.system_info(),
            gpu_offload=library.gpu_offload(),
            commit=commit,
            ggml=ggml,
        )
    except Exception as error:
        wire.send(
            protocol.Failed(id=None, code="internal", message=f"{type(error).__name__}: {error}")
        )
        sys.exit(1)
    wire.send(ready)
    thread = threading.Thread(target=inference.run, name="inference", daemon=True)
    thread.start()
    threading.Thread(target=_import_ahead, daemon=True).start()
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
