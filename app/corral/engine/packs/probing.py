"""Tries an engine out in a process of its own: it may crash there, hang, or not load at all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from corral.engine import protocol
from corral.engine.host import Host
from corral.engine.packs.shelf import Pack
from corral.engine.packs.verdict import Verdict, in_words, same_commit
from corral.engine.process import Worker, WorkerEnded, cause_of, signal_of
from corral.errors import EngineDied, EngineError, EngineHung

SECONDS = 60.0
"""A try may take so long; a graphics card that compiles its kernels first takes some of it."""

_PASSING = ("SIGKILL", "SIGTERM")
"""Ends that say nothing about the pack: somebody ended it, or memory ran out."""
_CARDS = {
    "cuda": ("CUDA", "an NVIDIA card, or its driver"),
    "metal": ("MTL", "a graphics processor for Metal"),
    "vulkan": ("Vulkan", "a graphics processor with a Vulkan driver"),
}


@dataclass(frozen=True)
class Prober:
    """How a try is started: as every worker is.

    Attributes:
        log: where the native text goes.
        command: starts a worker.
        environment: of this process.
        seconds: how long one may take.
    """

    log: Path
    command: Callable[[], tuple[str, ...]]
    environment: Mapping[str, str]
    seconds: float = SECONDS

    async def probe(self, pack: Pack) -> Verdict:
        """Load its library, let every device compute, and see what it is.

        Raises:
            EngineError: no process could be started at all.
        """
        folder = None if pack.is_built_in else pack.folder
        worker = await Worker.start(self.log, self.command(), self.environment, folder)
        host = Host(worker, self.log)
        try:
            async with asyncio.timeout(self.seconds):
                ready = await host.ready()
                answer = await host.ask(lambda id: protocol.Describe(id=id, attempt=True))
        except TimeoutError:
            worker.kill(EngineHung("The try took too long"))
            reason = f"it gave no answer within {self.seconds:.0f} seconds"
            return Verdict(ok=False, reason=reason)  # Not to be waited for at every start.
        except EngineError as error:
            return failure(error)
        except BaseException:
            worker.kill(EngineDied("The try was left"))
            raise
        finally:
            await host.close()
        assert isinstance(answer, protocol.Devices)
        return _judge(
            pack,
            Verdict(
                ok=True,
                system_info=ready.system_info,
                gpu_offload=ready.gpu_offload,
                commit=ready.commit,
                ggml=ready.ggml,
                devices=tuple(answer.devices),
            ),
        )


def failure(error: EngineError) -> Verdict:
    """The verdict on an engine whose worker ended before it was of any use."""
    if isinstance(error, WorkerEnded):
        reason = cause_of(error.code)
        return Verdict(ok=False, reason=reason, lasting=signal_of(error.code) not in _PASSING)
    if isinstance(error, EngineHung):
        return Verdict(ok=False, reason="it gave no sign of life")
    said = error.message.removeprefix("The engine cannot work: ")
    said = re.sub(r"^(RuntimeError|OSError|AttributeError|FileNotFoundError): ", "", said)
    return Verdict(ok=False, reason=in_words(said))


def _judge(pack: Pack, verdict: Verdict) -> Verdict:
    """What loads and computes may still be another version than it says, or without its card."""
    known = pack.manifest
    if known is None:
        return verdict
    reason = ""
    if verdict.commit and not same_commit(verdict.commit, known.llama_cpp):
        reason = f"its manifest says llama.cpp {known.llama_cpp}, and it is {verdict.commit}"
    elif verdict.ggml and verdict.ggml != known.ggml:
        reason = f"its manifest says ggml {known.ggml}, and it is {verdict.ggml}"
    elif known.backend in _CARDS:
        begin, what = _CARDS[known.backend]
        if not any(card.name.startswith(begin) for card in verdict.cards):
            reason = f"it found no {what.removeprefix('a ').removeprefix('an ')}"
    return verdict.model_copy(update={"ok": not reason, "reason": reason})
