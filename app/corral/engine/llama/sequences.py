"""Which conversations and branches stay evaluated in the one context, and where a prompt goes on.

llama.cpp keeps several sequences in one pool of cells; a copied prefix shares its cells, so that a
branch costs nothing but what it adds. The token list of each sequence is the truth about it.
Nothing here calls llama.cpp but through :class:`Memory`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from corral.engine.reuse import Match, align, common_prefix

IN_PLACE = 2
"""Tokens at the end of a sequence that are given up rather than kept by branching off."""
BRANCHES = 3
"""Branches of one conversation that are as worthy of a place as any other conversation."""


class Memory(Protocol):
    """The operations of a KV cache whose sequences share one pool of cells."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Let ``target``, which is empty, share the first ``length`` positions of ``source``."""

    def trim(self, id: int, length: int) -> bool:
        """Forget the positions from ``length`` on; False where they are all gone instead."""


@dataclass(slots=True, eq=False)
class Live:
    """A sequence in the context."""

    id: int
    tokens: list[int]
    """What is evaluated, in order."""
    conversation: str
    used: float
    """When it was used last, on the monotonic clock."""
    adapters: str = ""
    """With which adapters it was evaluated; serves no prompt under others."""


class Placed(NamedTuple):
    """Where a prompt is evaluated."""

    live: Live
    """Holds what is reused of the prompt already."""
    rest: list[int]
    """What has to be evaluated behind that; at least one token."""


class NoRoom(Exception):
    """The context has too few cells, also with all other sequences given up."""


class Sequences:
    """The live sequences of a context and who has to go when room is short.

    Args:
        count: sequences that may live; the context has one more, for scratch.
        cells: positions the pool holds.
        spell: the bytes of an ordinary token, as :func:`corral.engine.reuse.align` wants it.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        memory: Memory,
        count: int,
        cells: int,
        spell: Callable[[int], bytes | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scratch = count
        """Id of the spare sequence; empty but while a state is read or written."""
        self.cells = cells
        self.adapters = ""
        """Which adapters are active now, as :func:`corral.engine.states.keys.adapter_set` names
        them."""
        self._memory = memory
        self._count = count
        self._spell = spell
        self._clock = clock
        self._lives: dict[int, Live] = {}
        self._shared = [[0] * count for _ in range(count)]
        """How many positions at the beginning two sequences have in the same cells."""

    def live(self) -> list[Live]:
        """All sequences, the latest used first."""
        return sorted(self._lives.values(), key=lambda live: live.used, reverse=True)

    def usable(self) -> list[Live]:
        """Those that were evaluated with the adapters that are active now."""
        return [live for live in self.live() if live.adapters == self.adapters]

    def get(self, id: int) -> Live | None:
        return self._lives.get(id)

    @property
    def used_cells(self) -> int:
        """Cells that are taken; what several sequences share counts once."""
        total, seen = 0, list[int]()
        for id, live in self._lives.items():
            total += len(live.tokens) - max((self._shared[id][other] for other in seen), default=0)
            seen.append(id)
        return total

    # --- prompts ----------------------------------------------------------------------------------

    def place(self, prompt: Sequence[int], conversation: str = "") -> Placed:
        """Find the sequence to evaluate a prompt in, and bring it to what can be reused.

        Content decides, not the conversation: the sequence with the longest beginning that says the
        same, under the same adapters. It goes on in place where that gives up no more than its last
        :data:`IN_PLACE` tokens, else its prefix is branched off and it stays warm as it is.
        """
        prompt = list(prompt)
        best, match = self._best(prompt, conversation)
        rest = prompt[match.taken :]
        kept = match.kept
        if best is None or not kept:
            return Placed(self._new(conversation), rest)
        lost = len(best.tokens) - kept
        if not rest:
            # There are logits only for what is decoded now: an exact hit replays its last token.
            kept -= 1
            rest = [best.tokens[kept]]
        if lost <= IN_PLACE or self._count == 1:
            live = best
            self.trim(live, kept)
        else:
            live = self._branch(best, kept)
        live.conversation = conversation
        live.used = self._clock()
        return Placed(live, rest)

    def trim(self, live: Live, length: int) -> None:
        """Forget what a sequence holds from position ``length`` on."""
        if length >= len(live.tokens):
            return
        if not self._memory.trim(live.id, length):
            length = 0
        self.set_tokens(live, live.tokens[:length])

    def set_tokens(self, live: Live, tokens: Sequence[int]) -> None:
        """Say what a sequence holds now, where the memory is ahead of its list."""
        row = self._shared[live.id]
        for other in range(self._count):
            row[other] = self._shared[other][live.id] = min(row[other], len(tokens))
        live.tokens[:] = tokens

    def _best(self, prompt: Sequence[int], conversation: str) -> tuple[Live | None, Match]:
        best: Live | None = None
        best_match, best_rank = Match(0, 0), (0, 0, False, 0.0)
        for live in self._lives.values():
            if live.adapters != self.adapters:
                continue
            match = align(live.tokens, prompt, self._spell)
            if 2 * (match.kept - match.taken) > self.cells - len(prompt):
                # Spelled with more tokens it would take the answer's room, or not fit at all.
                match = Match(*[common_prefix(live.tokens, prompt)] * 2)
            lost = len(live.tokens) - match.kept
            rank = (match.taken, -lost, live.conversation == conversation, live.used)
            if best is None or rank > best_rank:
                best, best_match, best_rank = live, match, rank
        return best, best_match

    def _branch(self, source: Live, length: int) -> Live:
        live = self._new(source.conversation, keep={source.id})
        self._memory.copy(source.id, live.id, length)
        live.tokens[:] = source.tokens[:length]
        for other in range(self._count):
            if other != live.id:
                shared = min(length, self._shared[source.id][other])
                self._shared[live.id][other] = self._shared[other][live.id] = shared
        self._shared[live.id][source.id] = self._shared[source.id][live.id] = length
        return live

    def _new(self, conversation: str, keep: Collection[int] = ()) -> Live:
        if len(self._lives) == self._count:
            self.evict(keep)
        id = next(id for id in range(self._count) if id not in self._lives)
        live = self._lives[id] = Live(id, [], conversation, self._clock(), self.adapters)
        return live

    # --- states from elsewhere --------------------------------------------------------------------

    def begin_restore(self, keep_from: int | None, length: int, need: int) -> int:
        """A sequence to read a state into.

        Args:
            keep_from: a live sequence whose first ``length`` tokens the new one begins with; None
                begins empty.
            need: positions that will come behind those.

        Returns:
            The id of the sequence. It has to be told of by :meth:`adopt`, or given up by
            :meth:`drop`.

        Raises:
            NoRoom: the context is too small for it; nothing was given up.
        """
        source = self._lives[keep_from] if keep_from is not None and length else None
        if (length if source else 0) + need > self.cells or (source and self._count == 1):
            raise NoRoom
        live = self._branch(source, length) if source else self._new("")
        # The source goes last: what is shared of it stays.
        for keep in ({live.id, source.id} if source else {live.id}, {live.id}):
            while self.cells - self.used_cells < need and self.evict(keep):
                pass
        return live.id

    def adopt(self, id: int, tokens: Sequence[int], conversation: str) -> None:
        """Say what a sequence from :meth:`begin_restore` holds now."""
        live = self._lives[id]
        live.tokens[:] = tokens
        live.conversation = conversation
        live.used = self._clock()

    def drop(self, id: int) -> None:
        """Give a sequence up."""
        live = self._lives.pop(id)
        self._memory.trim(id, 0)
        live.tokens = []
        for other in range(self._count):
            self._shared[id][other] = self._shared[other][id] = 0

    # --- making room ------------------------------------------------------------------------------

    def evict(self, keep: Collection[int]) -> bool:
        """Give up the sequence that is worth least; False where only those to keep are left.

        That is the least recently used one. A conversation gives up what it has beyond
        :data:`BRANCHES` branches before another one gives up anything, so that answering one
        question again and again does not push everything else out.
        """
        lives = [live for live in self._lives.values() if live.id not in keep]
        if not lives:
            return False
        branches = Counter(live.conversation for live in self._lives.values() if live.conversation)
        spare = [live for live in lives if branches[live.conversation] > BRANCHES]
        victim = min(spare or lives, key=lambda live: live.used)
        self.drop(victim.id)
        return True
