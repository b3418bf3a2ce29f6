"""Keeps what was evaluated on disk, in idle moments and at the end, and brings it back."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from corral.engine.llama.cells import Foreign, borrow, check, get, layers, put
from corral.engine.llama.library import binding_version
from corral.engine.llama.model import LlamaModel
from corral.engine.llama.sequences import Live, NoRoom
from corral.engine.params import States
from corral.engine.reuse import align, common_prefix
from corral.engine.states.chains import TAIL, Chain, Piece, assemble, best, lacking, surplus
from corral.engine.states.files import (
    NAME,
    Damaged,
    Header,
    Segment,
    chain,
    read_ahead,
    read_payload,
    read_segment,
    write_segment,
)
from corral.engine.states.keys import Maker, fingerprint, stamp
from corral.engine.states.rates import DiskRates
from corral.engine.states.shelf import Card, Shelf

SPAN_BYTES = 64 << 20
"""The largest file: what is copied in memory at once, and what a request may have to wait for."""
SPAN_SECONDS = 0.25
"""How long writing one file should take at the most."""
WINDOWS = 2
"""How many full context windows are kept of one conversation, all branches together."""
RETRY_SECONDS = 600.0
"""After a disk refused to be written."""


class Keeper:
    """Every method belongs to the inference thread, and none raises because of a disk.

    Args:
        states: where, and how much at the most.
    """

    def __init__(self, model: LlamaModel, states: States) -> None:
        self._model = model
        self._limit = states.limit
        self._shelf = Shelf(Path(states.folder))
        self._rates = DiskRates(self._shelf.folder)
        self._keys: dict[str, str] = {}
        """By the adapters that were active."""
        self._card: Card | None = None
        self._token_seconds = 0.0
        """What evaluating one token costs in this worker, measured."""
        self._token_bytes = 0.0
        """What the cells of one token take on the disk; 0 until it is known."""
        self._usable = True
        self._rest_until = 0.0
        self._told = False

    # --- what the engine calls --------------------------------------------------------------------

    def before(
        self,
        prompt: Sequence[int],
        conversation: str,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> int:
        """Bring back what a prompt begins with, where that is faster than evaluating it.

        Args:
            cancelled: ends it after the file in work; what is back by then stays.

        Returns:
            How many tokens were restored. They live in a sequence of their own, which the prompt
            will be placed in.
        """
        if not conversation or not self._usable:
            return 0
        try:
            return self._restore(prompt, conversation, cancelled)
        except (OSError, MemoryError, Damaged) as error:
            self._tell(f"nothing was restored: {error}")
            return 0

    def note_evaluated(self, tokens: int, seconds: float) -> None:
        """Told after each prompt: it decides what restoring has to beat."""
        if tokens >= TAIL and seconds > 0:
            rate = seconds / tokens
            self._token_seconds = (self._token_seconds + rate) / 2 if self._token_seconds else rate

    def idle(self, interrupted: Callable[[], bool]) -> None:
        """Write what is not on the disk yet, until it is all there or a request waits."""
        self._write(lambda _size: not interrupted(), sync=True)

    def shutdown(self, seconds: float) -> None:
        """Write what can be written within so many seconds, the latest used first."""
        end = time.monotonic() + seconds
        self._write(
            lambda size: time.monotonic() + 1.2 * size / self._rates.now.hand_over < end, sync=False
        )

    # --- reading ----------------------------------------------------------------------------------

    def _restore(
        self, prompt: Sequence[int], conversation: str, cancelled: Callable[[], bool]
    ) -> int:
        if not self._shelf.has(conversation):
            return 0  # Most conversations are new: that must not cost a look into the model file.
        sequences, spell = self._model.sequences, self._model.vocab.spell
        warm = max(
            (align(live.tokens, prompt, spell).taken for live in sequences.usable()), default=0
        )
        if len(prompt) - warm < TAIL:
            return 0
        key, _ = self._identity(sequences.adapters)
        found = best(self._chains(key, conversation), prompt, spell)
        if found is None:
            return 0
        one, match = found
        source, have = self._nearest(one.tokens[: match.kept])
        pieces = one.cut(have, match.kept)
        size = sum(piece.segment.payload for piece in pieces)
        gained = match.taken - warm
        token_seconds = self._token_seconds or max(
            (piece.segment.header.token_seconds for piece in pieces), default=0.0
        )
        if not pieces or gained < TAIL or not self._rates.pays(size, gained, token_seconds):
            return 0
        # A file may hold more than is wanted of it, for a moment.
        most = max(piece.start + len(piece.segment.tokens) for piece in pieces) - have
        need = match.kept - have + len(prompt) - match.taken + 1
        try:
            id = sequences.begin_restore(source.id if source else None, have, max(need, most))
        except NoRoom:
            return 0
        done = have
        try:
            done = self._read(pieces, id, have, cancelled)
        finally:
            if done > have:
                sequences.adopt(id, one.tokens[:done], conversation)
                if source is not None and len(source.tokens) == have:
                    sequences.drop(source.id)  # The new one begins with all of it.
            else:
                sequences.drop(id)
        self._shelf.touch(key, conversation, time.time())
        return done - have

    def _nearest(self, tokens: list[int]) -> tuple[Live | None, int]:
        """The live sequence that begins as ``tokens`` do for longest, and how long that is."""
        nearest, have = None, 0
        for live in self._model.sequences.usable():
            if (same := common_prefix(live.tokens, tokens)) > have:
                nearest, have = live, same
        return nearest, have

    def _read(self, pieces: list[Piece], id: int, done: int, cancelled: Callable[[], bool]) -> int:
        """Fill a sequence piece by piece; gives the position it got to."""
        started, size = time.perf_counter(), 0
        for piece in pieces[1:]:
            read_ahead(piece.segment)
        with borrow(max(piece.segment.payload for piece in pieces)) as (buffer, address):
            for piece in pieces:
                if cancelled():
                    break
                segment = piece.segment
                cells = buffer[: segment.payload]
                try:
                    read_payload(segment, cells)
                    check(cells, segment.start, segment.end)
                    good = put(self._model, address, segment.payload, id, piece.start, piece.end)
                except (Damaged, Foreign):
                    good = False
                except OSError:
                    break
                finally:
                    cells.release()
                if not good:
                    with contextlib.suppress(OSError):
                        segment.path.unlink()
                    break
                done = piece.end
                size += segment.payload
        if size:
            self._rates.note("read", size, time.perf_counter() - started)
        return done

    # --- writing ----------------------------------------------------------------------------------

    def _write(self, go_on: Callable[[int], bool], *, sync: bool) -> None:
        """Write all lives that are not on the disk, as long as ``go_on(bytes of the next)``."""
        if not self._usable or time.monotonic() < self._rest_until:
            return
        try:
            lives = [live for live in self._model.sequences.live() if live.conversation]
            for live in lives:
                time_left = self._write_live(live, go_on, sync)
                last = max(_when(one) for one in lives if one.conversation == live.conversation)
                if live.adapters in self._keys:
                    self._shelf.touch(self._keys[live.adapters], live.conversation, last)
                if not time_left:
                    break
            self._rates.save()
        except (OSError, MemoryError) as error:
            self._rest_until = time.monotonic() + RETRY_SECONDS
            self._tell(f"nothing is kept for now: {error}")
        except Foreign as error:
            self._usable = False
            self._tell(f"nothing is kept: {error}")

    def _write_live(self, live: Live, go_on: Callable[[int], bool], sync: bool) -> bool:
        """Gives False where the time is over."""
        if len(live.tokens) < TAIL or self._cleared(live):
            return True
        chains = self._chains_of(live)
        bytes_each = self._token_bytes or self._measure(live)
        largest = min(SPAN_BYTES, self._rates.now.write * SPAN_SECONDS)
        writing = lacking(chains, live.tokens, max(TAIL, int(largest / bytes_each)))
        new = sum(end - start for start, end in writing.spans)
        if not new or not self._rates.pays(int(bytes_each * new), new, self._token_seconds):
            return True
        for start, end in writing.spans:
            size = int(bytes_each * (end - start))
            if not go_on(size):
                return False
            if not self._room(live, size):
                return True
            segment = self._write_span(live, start, end, sync)
            if self._cleared(live):
                segment.path.unlink(missing_ok=True)
                return True
        for segment in writing.obsolete:
            with contextlib.suppress(OSError):
                segment.path.unlink()
        self._prune(live, WINDOWS * self._model.n_ctx)
        return True

    def _write_span(self, live: Live, start: int, end: int, sync: bool) -> Segment:
        started = time.perf_counter()
        key, card = self._identity(live.adapters)
        header = Header(
            model=key,
            conversation=live.conversation,
            start=start,
            before=chain(live.tokens[:start]),
            token_seconds=self._token_seconds,
        )
        with get(self._model, live.id, start, end) as payload:
            self._token_bytes = len(payload) / (end - start)
            self._shelf.label(key, card)
            segment = write_segment(
                self._shelf.folder / key / live.conversation,
                header,
                live.tokens[:start],
                live.tokens[start:end],
                payload,
                sync=sync,
            )
        rate: Literal["write", "hand_over"] = "write" if sync else "hand_over"
        self._rates.note(rate, segment.size, time.perf_counter() - started)
        return segment

    def _measure(self, live: Live) -> float:
        """Bytes that the cells of one token take."""
        with get(self._model, live.id, 0, min(TAIL, len(live.tokens))) as cells:
            self._token_bytes = len(cells) / min(TAIL, len(live.tokens))
        return self._token_bytes

    def _room(self, live: Live, size: int) -> bool:
        """Whether so many bytes may be written.

        The conversations that were not used for longest go for them, but none that was used later
        than this one; then other branches of this one.
        """
        if size > self._limit:
            return False
        folder = self._shelf.folder / self._identity(live.adapters)[0] / live.conversation
        if self._shelf.trim(self._limit - size, folder, _when(live)) + size > self._limit:
            self._prune(live, 0)
            if self._shelf.total() + size > self._limit:
                return False
        disk = shutil.disk_usage(_existing(self._shelf.folder))
        return disk.free - size > min(1 << 29, disk.total // 20)

    def _prune(self, live: Live, allowed: int) -> None:
        """Remove other branches of a conversation, down to so many tokens in all."""
        for segment in surplus(self._chains_of(live), live.tokens, allowed):
            with contextlib.suppress(OSError):
                segment.path.unlink()

    def _cleared(self, live: Live) -> bool:
        return self._shelf.cleared_since(live.conversation, _when(live))

    # --- both -------------------------------------------------------------------------------------

    def _identity(self, adapters: str) -> tuple[str, Card]:
        """The key of this model and what a folder says about it.

        Args:
            adapters: those that were active, as :attr:`Live.adapters` has them.

        Raises:
            OSError: the model's file cannot be read, or is not the one that was loaded.
        """
        if self._card is None or adapters not in self._keys:
            spec = self._model.spec
            path = Path(spec.path)
            print_, engine = fingerprint(path), binding_version()
            if stamp(path) != self._model.stamp:
                self._usable = False  # These cells would pass for those of the new file.
                raise OSError("the model's file was replaced after it was loaded")
            n_layer = layers(self._model)
            maker = Maker.of(spec, print_, n_layer=n_layer, engine=engine, adapters=adapters)
            self._keys[adapters] = maker.key
            card = Card(name=path.stem, file=str(path), fingerprint=print_, engine=engine)
            self._shelf.tidy(card)
            self._shelf.trim(self._limit)
            self._card = card
        return self._keys[adapters], self._card

    def _chains_of(self, live: Live) -> list[Chain]:
        return self._chains(self._identity(live.adapters)[0], live.conversation)

    def _chains(self, key: str, conversation: str) -> list[Chain]:
        """What is on the disk of a conversation; what is damaged or needless goes."""
        folder = self._shelf.folder / key / conversation
        segments = []
        try:
            paths = [path for path in folder.iterdir() if NAME.fullmatch(path.name)]
        except OSError:
            return []
        for path in paths:
            try:
                segments.append(read_segment(path, key, conversation))
            except Damaged:
                with contextlib.suppress(OSError):
                    path.unlink()
            except OSError:
                continue
        chains, useless = assemble(segments)
        for segment in useless:
            with contextlib.suppress(OSError):
                segment.path.unlink()
        return chains

    def _tell(self, line: str) -> None:
        if not self._told:
            self._told = True
            sys.stderr.write(f"kept prompts: {line}\n")


def _when(live: Live) -> float:
    """When it was used last, in seconds since the epoch."""
    return time.time() - (time.monotonic() - live.used)


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
