"""Which files together hold the beginning of a prompt, and how to write what they lack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from corral.engine.reuse import Match, align, common_prefix
from corral.engine.states.files import Segment, chain

TAIL = 16
"""Fewer tokens than that are not worth a file."""


class Piece(NamedTuple):
    """The positions from ``start`` up to ``end``, out of a segment that may hold more."""

    segment: Segment
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Chain:
    """One beginning that is on the disk, from position 0 on."""

    tokens: list[int]
    pieces: tuple[Piece, ...]

    def cut(self, start: int, end: int) -> list[Piece]:
        """What has to be read for the positions from ``start`` up to ``end``."""
        return [
            Piece(piece.segment, max(piece.start, start), min(piece.end, end))
            for piece in self.pieces
            if piece.end > start and piece.start < end
        ]


def assemble(segments: Iterable[Segment]) -> tuple[list[Chain], list[Segment]]:
    """Put segments together where the tokens before them are the same.

    Returns:
        A chain for every branch; and the segments that nothing can be done with, because what was
        before them is not there, or that nobody needs, because larger ones hold the same.
    """
    chains: list[Chain] = []
    useless: list[Segment] = []
    for segment in sorted(segments, key=lambda one: (one.start, -one.end)):
        start = segment.start
        parent = next(
            (
                one
                for one in [Chain([], ()), *chains]
                if len(one.tokens) >= start and chain(one.tokens[:start]) == segment.header.before
            ),
            None,
        )
        if parent is None:
            useless.append(segment)
            continue
        tokens = parent.tokens[:start] + segment.tokens
        if any(one.tokens[: len(tokens)] == tokens for one in chains):
            useless.append(segment)
            continue
        grown = Chain(tokens, (*parent.cut(0, start), Piece(segment, start, segment.end)))
        if len(parent.tokens) == start:
            chains = [one for one in chains if one is not parent]
        chains.append(grown)
    return chains, useless


def best(
    chains: Iterable[Chain], prompt: Sequence[int], spell: Callable[[int], bytes | None]
) -> tuple[Chain, Match] | None:
    """The chain that holds most of a prompt, and how much; None where there is none at all."""
    found = [(one, align(one.tokens, prompt, spell)) for one in chains]
    return max(found, key=lambda pair: pair[1].taken, default=None)


class Writing(NamedTuple):
    """What to write of a sequence."""

    spans: list[tuple[int, int]]
    """Positions, one file each."""
    obsolete: list[Segment]
    """Small files whose content is in the new ones."""


def lacking(chains: Iterable[Chain], tokens: list[int], span: int, tail: int = TAIL) -> Writing:
    """What of a sequence is not on the disk yet.

    A small file at the end is written again together with what is new, as long as it is not the
    larger part: so the files stay few, and every token is written some log2 times at the most.

    Args:
        span: tokens of the largest file.
    """
    covered, pieces = _covered(chains, tokens)
    if len(tokens) - covered < tail:
        return Writing([], [])
    start, obsolete = covered, list[Segment]()
    for piece in reversed(pieces):
        segment = piece.segment
        whole = (piece.start, piece.end) == (segment.start, segment.end)
        new = len(tokens) - start
        if not whole or len(segment.tokens) > new or len(segment.tokens) + new > span:
            break
        start = segment.start
        obsolete.append(segment)
    spans = [
        (first, min(first + span, len(tokens))) for first in range(start, len(tokens), max(1, span))
    ]
    return Writing(spans, obsolete)


def surplus(chains: Iterable[Chain], tokens: list[int], allowed: int) -> list[Segment]:
    """What of a conversation's other branches has to go, so that all take ``allowed`` tokens.

    Those written last are the last to go; what ``tokens`` begin with stays in any case. A window
    that moved on leaves beginnings behind that no prompt will ever have again.
    """
    chains = list(chains)
    used = {piece.segment.path for piece in _covered(chains, tokens)[1]}
    every = {piece.segment.path: piece.segment for one in chains for piece in one.pieces}
    total = sum(len(segment.tokens) for segment in every.values())
    gone = []
    for segment in sorted(every.values(), key=lambda one: (one.written, -one.start)):
        if total <= allowed:
            break
        if segment.path not in used:
            gone.append(segment)
            total -= len(segment.tokens)
    return gone


def _covered(chains: Iterable[Chain], tokens: list[int]) -> tuple[int, list[Piece]]:
    """How many tokens at the beginning are on the disk, and where."""
    covered, pieces = 0, list[Piece]()
    for one in chains:
        if (same := common_prefix(one.tokens, tokens)) > covered:
            covered, pieces = same, one.cut(0, same)
    return covered, pieces
