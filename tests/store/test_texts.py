"""Pieces of texts in the store: whose they are, what they were made with, and nothing is lost."""

from __future__ import annotations

import pytest

from corral.chat.conversation import Message
from corral.chat.texts import Piece
from corral.errors import NotFound
from corral.store.store import Store


def written(store: Store, parent: int, text: str) -> Message:
    begun = store.begin_answer(parent, model=None, parameters=None)
    return store.finish_answer(
        begun.id,
        text=text,
        status="complete",
        stop_reason="length",
        model={"name": "base:Q4_K_M"},
        parameters={"seed": 7, "ids": {"characters": 3, "tokens": [1]}},
        timings={"tokens_per_second": 9.0},
    )


def test_an_edit_is_a_branch_whose_parts_keep_what_made_them(store: Store) -> None:
    text = store.create_conversation(parameters={"format": "completion"}).id
    store.update_conversation(text, draft="Once, and more")
    (first,) = store.add_pieces(text, None, [Piece("Once", None)])
    assert (first.role, first.parent, first.text) == ("user", None, "Once")
    after = store.conversation(text)
    assert (after.draft, after.title, after.active) == ("", "Once", first.id)

    second = written(store, first.id, " upon a time")
    cut, own, copy = store.add_pieces(
        text,
        first.id,
        [Piece(" upon", second.id), Piece(" the", None), Piece(" time", second.id)],
    )
    assert [cut.parent, own.parent, copy.parent] == [first.id, cut.id, own.id]
    assert [cut.role, own.role, copy.role] == ["assistant", "user", "assistant"]
    assert cut.model == second.model and cut.timings is None
    assert cut.parameters == {"seed": 7, "edited_from": second.id}, "the tokens are not its own"
    assert own.model is None and own.parameters is None
    assert store.conversation(text).active == copy.id
    assert store.message(second.id) == second, "what was there stays"
    # What hangs below a part is found by searching, too.
    assert [hit.message for hit in store.search("upon")]


def test_nothing_is_written_where_the_place_is_gone(store: Store) -> None:
    text = store.create_conversation().id
    other = store.create_conversation().id
    (first,) = store.add_pieces(text, None, [Piece("a", None)])
    before = store.messages(text)
    for parent in (first.id + 100, first.id):
        with pytest.raises(NotFound):
            store.add_pieces(other, parent, [Piece("b", None)])
    with pytest.raises(NotFound):
        store.add_pieces(text, first.id, [Piece("b", None), Piece("c", 10**6)])
    assert store.messages(text) == before and store.messages(other) == []
