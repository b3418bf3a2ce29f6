"""Which engine a worker gets: the person's choice, else the best that works here; and the next one
where that dies before it is ready."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from corral.engine.host import Host
from corral.engine.packs import facts
from corral.engine.packs.notes import Notes
from corral.engine.packs.probing import Prober, failure
from corral.engine.packs.shelf import AUTO, BUILT_IN, Pack, Shelf
from corral.engine.packs.verdict import Verdict, rank
from corral.errors import CorralError, EngineDied, EngineError

Spawn = Callable[[Path | None], Awaitable[Host]]
"""Starts a worker with the library of a folder; None is the built-in one."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine, and what is known of it; no verdict: it was never tried."""

    pack: Pack
    verdict: Verdict | None

    @property
    def ok(self) -> bool:
        return not self.pack.refusal and self.verdict is not None and self.verdict.ok

    @property
    def reason(self) -> str:
        """Why it is not used; "" where it could be."""
        if self.pack.refusal or self.verdict is None:
            return self.pack.refusal
        return self.verdict.reason

    @property
    def said(self) -> str:
        """What it can do here, or why it cannot; follows on “it”."""
        if self.pack.refusal or self.verdict is None:
            return f"is left out: {self.reason}" if self.reason else "was not tried yet"
        if not self.verdict.ok:
            return f"is left out: {self.reason}"
        cards = ", ".join(card.description or card.name for card in self.verdict.cards)
        return f"works on {cards}" if cards else "works on the processor"


class Chooser:
    """Args:
    notes: the file for what is remembered.
    wanted: a pack's name, ``built-in``, or ``auto``; may be changed at any time.
    fingerprint: gives what verdicts depend on besides the pack.
    """

    def __init__(
        self,
        shelf: Shelf,
        notes: Path,
        prober: Prober,
        wanted: str = AUTO,
        *,
        fingerprint: Callable[[], str] = facts.fingerprint,
    ) -> None:
        self.shelf = shelf
        self.wanted = wanted
        self.used = ""
        """The engine of the last worker that got ready; "" before the first."""
        self.notices: list[str] = []
        """Sentences about an engine that was wanted, or used before, and is not; each once."""
        self._told = 0
        self._path = notes
        self._prober = prober
        self._fingerprint = fingerprint
        self._notes: Notes | None = None
        self._lock = asyncio.Lock()
        self._files = threading.Lock()
        """Around what is remembered: the screen looks at it in a thread."""

    @property
    def choice(self) -> str:
        """The full name of the one that is wanted, which settings may hold in short."""
        try:
            return AUTO if self.wanted == AUTO else self.shelf.called(self.wanted)
        except CorralError:
            return self.wanted

    # --- what there is ----------------------------------------------------------------------------

    def known(self) -> list[Candidate]:
        """All engines, with what is remembered of them; tries none. Reads files."""
        with self._files:
            notes = self._remembered()
            packs = self.shelf.all(notes.hashes)
            if notes.changed:
                notes.keep()
            here = self._fingerprint()
            return [Candidate(pack, notes.verdict(_key(pack, here))) for pack in packs]

    async def look(self, *, again: bool = False) -> list[Candidate]:
        """All engines, each tried where that was never done on this machine.

        Args:
            again: try those that failed once more: what they lacked may be here now.
        """
        async with self._lock:
            found = []
            for candidate in await asyncio.to_thread(self.known):
                failed = candidate.verdict is not None and not candidate.verdict.ok
                if not candidate.pack.refusal and (candidate.verdict is None or (again and failed)):
                    candidate = await self._tried(candidate.pack)
                found.append(candidate)
            return found

    async def _tried(self, pack: Pack) -> Candidate:
        try:
            verdict = await self._prober.probe(pack)
        except EngineError as error:  # No process at all: that is not the pack's fault.
            verdict = failure(error).model_copy(update={"lasting": False})
        await asyncio.to_thread(self._note, pack, verdict)
        return Candidate(pack, verdict)

    def _note(self, pack: Pack, verdict: Verdict) -> None:
        with self._files:
            self._remembered().note(_key(pack, self._fingerprint()), verdict)

    def order(self, found: Sequence[Candidate]) -> list[Candidate]:
        """Those that work, in the order they are taken: the person's choice, then the best."""
        good = [candidate for candidate in found if candidate.ok]
        good.sort(
            key=lambda one: rank(
                one.verdict or Verdict(ok=False), built_in=one.pack.is_built_in, name=one.pack.name
            )
        )
        choice = self.choice
        good.sort(key=lambda one: one.pack.name != choice)
        return good

    def why(self, found: Sequence[Candidate]) -> str:
        """Why the first of :meth:`order` is taken, in one sentence without full stop."""
        good = self.order(found)
        if not good:
            return "no engine works here"
        first = good[0]
        if first.pack.name == self.choice:
            return "you chose it"
        if self.wanted != AUTO:
            return f"{self.choice} is not used: {self._reason(found)}"
        cards = first.verdict.cards if first.verdict else ()
        if cards:
            return f"it computes on {cards[0].description or cards[0].name}"
        return "the only one that works here" if len(good) == 1 else "the best that works here"

    def _reason(self, found: Sequence[Candidate]) -> str:
        """Why the wanted one is not used."""
        choice = self.choice
        wanted = next((one for one in found if one.pack.name == choice), None)
        return "it is not here any more" if wanted is None else wanted.reason or "it failed"

    # --- starting workers -------------------------------------------------------------------------

    async def start(self, spawn: Spawn) -> Host:
        """A worker with the first engine that gets ready.

        Raises:
            EngineError: none does; where there is only the built-in one, nobody waits for it here.
        """
        if await asyncio.to_thread(self._only_built_in):
            self.used = BUILT_IN
            return await spawn(None)
        while True:
            found = await self.look()
            if not (good := self.order(found)):
                found = await self.look(again=True)
                good = self.order(found)
            if not good:
                raise EngineDied(
                    "No engine works on this machine: " + _sum_up(found),
                    hint="“corral engine list” says what each of them lacks.",
                )
            await self._tell(found, good[0])
            host = await self._ready(good[0].pack, spawn)
            if host is not None:
                return host

    async def _ready(self, pack: Pack, spawn: Spawn) -> Host | None:
        """Its worker, ready; None where it died first, which is then known."""
        host = await spawn(None if pack.is_built_in else pack.folder)
        try:
            await host.ready()
        except EngineError as error:
            await host.close()
            verdict = failure(error)
            await asyncio.to_thread(self._note, pack, verdict)
            self._notice(f"The engine {pack.name} ended before it was ready: {verdict.reason}")
            return None
        except BaseException:
            host.worker.kill(EngineDied("Nobody waits for it any more"))
            await host.close()
            raise
        self.used = pack.name
        await asyncio.to_thread(self._note_used, pack.name)
        return host

    def _note_used(self, name: str) -> None:
        with self._files:
            self._remembered().note_used(name)

    async def _tell(self, found: Sequence[Candidate], first: Candidate) -> None:
        """Say it once where the person's choice, or what was used before, is not what is used."""
        used = self._remembered().used
        if self.wanted != AUTO and self.choice != first.pack.name:
            self._notice(
                f"The engine {self.choice} is not used: {self._reason(found)}; "
                f"{first.pack.name} is used instead"
            )
        elif used not in ("", first.pack.name):
            before = next((one for one in found if one.pack.name == used and not one.ok), None)
            if before is not None:
                self._notice(
                    f"The engine {used} does not work any more: {before.reason}; "
                    f"{first.pack.name} is used instead"
                )

    def new_notices(self) -> list[str]:
        """Those of :attr:`notices` that were never given here."""
        found, self._told = self.notices[self._told :], len(self.notices)
        return found

    def _notice(self, sentence: str) -> None:
        if sentence not in self.notices:
            self.notices.append(sentence)

    def _only_built_in(self) -> bool:
        return self.wanted in (AUTO, BUILT_IN) and not self.shelf.names()

    def _remembered(self) -> Notes:
        if self._notes is None:
            self._notes = Notes(self._path)
        return self._notes

    # --- changing ---------------------------------------------------------------------------------

    async def tried(self, name: str) -> Candidate:
        """One of them, tried now.

        Raises:
            NotFound, UsageError: there is none of that name.
        """
        full = await asyncio.to_thread(self.shelf.called, name)
        async with self._lock:
            found = {one.pack.name: one for one in await asyncio.to_thread(self.known)}
            if full not in found:
                raise EngineDied("No engine came with llama-cpp-python", hint="Add a pack.")
            candidate = found[full]
            return candidate if candidate.pack.refusal else await self._tried(candidate.pack)


def _key(pack: Pack, here: str) -> str:
    return f"{pack.name}:{pack.content}:{here}"


def _sum_up(found: Sequence[Candidate]) -> str:
    if not found:
        return "none came with llama-cpp-python, and no pack was added"
    return "; ".join(f"{one.pack.name}: {one.reason}" for one in found[:4])
