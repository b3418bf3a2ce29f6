"""Texts: what an edit makes of the pieces, and whose words are where."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from corral.chat import texts
from corral.chat.conversation import Conversation, Message
from corral.chat.texts import Piece

PIECES = [(1, "Once upon a time"), (2, " there was a llama"), (3, ""), (4, " who sang.")]


def parts(after: str) -> tuple[int, list[Piece]] | None:
    changed = texts.change(PIECES, after)
    return None if changed is None else (changed.kept, changed.pieces)


@pytest.mark.parametrize(
    ("after", "kept", "pieces"),
    [
        # Behind the end.
        (
            "Once upon a time there was a llama who sang. Loudly.",
            4,
            [Piece(" Loudly.", None)],
        ),
        # The end goes: a piece that stays whole is the end, or the beginning of one is a piece.
        ("Once upon a time there was a llama", 3, []),
        ("Once upon a time there", 1, [Piece(" there", 2)]),
        ("", 0, []),
        # In the middle of the model's words: what is around it stays the model's.
        (
            "Once upon a time there was an old llama who sang.",
            1,
            [
                Piece(" there was a", 2),
                Piece("n old", None),
                Piece(" llama", 2),
                Piece(" who sang.", 4),
            ],
        ),
        # Far before the end: what follows stays whose it is.
        (
            "Once, upon a time there was a llama who sang.",
            0,
            [
                Piece("Once", 1),
                Piece(",", None),
                Piece(" upon a time", 1),
                Piece(" there was a llama", 2),
                Piece(" who sang.", 4),
            ],
        ),
        ("Something else", 0, [Piece("Something else", None)]),
    ],
)
def test_an_edit_becomes_pieces(after: str, kept: int, pieces: list[Piece]) -> None:
    assert parts(after) == (kept, pieces)


def test_no_edit_is_none() -> None:
    assert parts("".join(text for _, text in PIECES)) is None


def test_whatever_is_edited_the_pieces_say_exactly_the_text() -> None:
    chance = random.Random(5)
    for _ in range(300):
        before = [(n, "".join(chance.choices("ab \n", k=chance.randrange(30)))) for n in range(6)]
        old = "".join(text for _, text in before)
        start, end = sorted(chance.choices(range(len(old) + 1), k=2))
        after = old[:start] + "".join(chance.choices("ab c", k=chance.randrange(4))) + old[end:]
        changed = texts.change(before, after)
        if changed is None:
            assert old == after
            continue
        kept = "".join(text for _, text in before[: changed.kept])
        assert kept + "".join(piece.text for piece in changed.pieces) == after
        for piece in changed.pieces:
            assert piece.text
            if piece.source is not None:
                assert piece.text in before[piece.source][1], "it is a part of its source"
        wrote = [(n % 2 == 1, text) for n, text in before]
        spans = texts.spans(wrote, after)
        assert all(0 <= a < b <= len(after) for a, b in spans)
        assert all(a[1] < b[0] for a, b in pairwise(spans))


def test_the_models_words_stay_its_own_around_an_edit() -> None:
    before = [(False, "You: "), (True, "a llama is a camelid"), (True, " of the Andes.")]
    text = "".join(words for _, words in before)
    assert texts.spans(before, text) == [(5, len(text))]
    edited = text.replace("llama", "guanaco")
    assert [edited[a:b] for a, b in texts.spans(before, edited)] == [
        "a ",
        " is a camelid of the Andes.",
    ]


def test_a_text_is_known_by_its_format() -> None:
    plain = Conversation(1, "", 0.0, 0.0)
    assert not texts.is_text(plain) and not texts.is_text(None)
    assert texts.is_text(Conversation(1, "", 0.0, 0.0, parameters={"format": "completion"}))
    path = [
        Message(1, 1, None, "user", "abc", "complete", 0.0),
        Message(2, 1, 1, "assistant", "d", "complete", 0.0, model={"name": "m"}),
    ]
    assert (texts.joined(path), texts.seen_from(path)) == ("abcd", 0)
    cut = Message(
        3, 1, 2, "assistant", "", "stopped", 0.0, None, None, {"name": "m"}, {texts.TEXT_FROM: 2}
    )
    assert texts.seen_from([*path, cut]) == 2
