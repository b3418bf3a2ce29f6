"""Folders, the archive, what of them is unfolded, and filters over all conversations."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.chat.finding import Filters
from corral.store.filing import ARCHIVE
from corral.store.store import Store

ANSWERED = {"name": "llama-2-13b-chat:Q5_K_M", "n_ctx": 4096}


def chat(store: Store, text: str = "a llama", **changes: object) -> int:
    id = store.create_conversation(title="untouched").id
    store.add_user(id, text, None)
    if changes:
        store.update_conversation(id, **changes)  # type: ignore[arg-type]
    return id


def found(store: Store, query: str, filters: Filters) -> list[int]:
    return sorted(hit.conversation.id for hit in store.search(query, 50, filters))


def test_folders_hold_what_is_filed_in_them_and_pinned_ones_stay_on_top(store: Store) -> None:
    plain, work = chat(store), chat(store, folder="Work")
    trip, pinned = chat(store, folder="Work/Trips/Peru"), chat(store, folder="Work", pinned=True)
    away, gone = chat(store, folder="Work", archived=True), chat(store, folder="Gone")
    store.trash(gone)
    listing = store.listing(10)
    assert [one.id for one in listing.recent] == [pinned, plain]
    folders = {
        name: (filed.count, [one.id for one in filed.shown or ()])
        for name, filed in listing.folders.items()
    }
    assert folders == {
        "Work": (1, [work]),
        "Work/Trips": (0, []),
        "Work/Trips/Peru": (1, [trip]),
    }
    assert (listing.archive.count, listing.archive.shown) == (1, None)
    assert store.folders() == {"Work": 2, "Work/Trips": 0, "Work/Trips/Peru": 1}
    store.fold(ARCHIVE, folded=False)
    assert [one.id for one in store.listing(10).archive.shown or ()] == [away]


def test_what_is_folded_is_remembered_by_each_folder_alone(store: Store, path: Path) -> None:
    """Two programs that fold two folders do not undo each other."""
    chat(store, folder="Work")
    chat(store, folder="Home")
    other = Store.open(path)
    assert not other.changed_elsewhere()
    store.fold("Work", folded=True)
    other.fold("Home", folded=True)
    assert {name: one.shown for name, one in other.listing(9).folders.items()} == {
        "Home": None,
        "Work": None,
    }
    assert other.changed_elsewhere() and not other.changed_elsewhere()
    other.fold("Work", folded=False)
    assert store.listing(9).folders["Work"].shown
    other.close()


def test_every_part_of_the_list_is_limited(store: Store) -> None:
    for _ in range(4):
        chat(store, folder="Work")
        chat(store)
    listing = store.listing(3)
    assert (len(listing.recent), len(listing.folders["Work"].shown or ())) == (3, 3)
    assert listing.folders["Work"].count == 4


def test_a_folder_is_spelled_as_the_one_that_is_there(store: Store) -> None:
    chat(store, folder="Work/Trips")
    assert store.folder_named(" work / TRIPS/") == "Work/Trips"
    assert store.folder_named("WORK") == "Work"
    assert store.folder_named(" New /  one ") == "New/one"
    assert store.folder_named(" / ") == ""


@pytest.mark.parametrize("query", ["", "llama", "lam"])
def test_filters_hold_for_words_letters_and_nothing(store: Store, query: str) -> None:
    answered = chat(store, preset="classify")
    question = store.messages(answered)[0].id
    first = store.begin_answer(question, model=None, parameters=None)
    store.finish_answer(first.id, text="a llama", status="complete", model=dict(ANSWERED))
    # The answer that is shown was given by another one.
    second = store.begin_answer(question, model=None, parameters=None)
    store.finish_answer(second.id, text="no llama", status="complete", model={"name": "tiny"})
    chosen = chat(store, model="llama-2-13b-chat:Q8_0", folder="Work/Trips")
    pinned = chat(store, pinned=True, folder="work")
    away = chat(store, archived=True)
    everything = sorted([answered, chosen, pinned, away])
    assert found(store, query, Filters(model="13b")) == [answered, chosen]
    assert found(store, query, Filters(model="13B q5")) == [answered]
    assert found(store, query, Filters(model="TINY")) == [answered]
    assert found(store, query, Filters(preset="Class")) == [answered]
    assert found(store, query, Filters(folder="WORK")) == [chosen, pinned]
    assert found(store, query, Filters(pinned=True)) == [pinned]
    assert found(store, query, Filters(archived=True)) == [away]
    assert found(store, query, Filters(archived=False, folder="Work/trips")) == [chosen]
    begun = store.conversation(pinned).created
    assert found(store, query, Filters(after=0.0)) == everything
    assert found(store, query, Filters(before=begun)) == [answered, chosen]
    assert found(store, query, Filters(after=begun)) == [pinned, away]
    assert store.model_names() == ["llama-2-13b-chat:Q5_K_M", "llama-2-13b-chat:Q8_0", "tiny"]
    assert store.presets_used() == ["classify"]


def test_the_best_hit_among_the_wanted_is_found_behind_any_number_of_others(store: Store) -> None:
    """A limit counts what is wanted, not what was looked at."""
    wanted = chat(store, "llama " + "filler " * 50, folder="Work")
    for _ in range(30):
        chat(store, "llama llama llama")
    hits = store.search("llama", 5, Filters(folder="Work"))
    assert [hit.conversation.id for hit in hits] == [wanted]
    assert hits[0].message is not None
    assert [one.id for one in store.filtered(Filters(folder="work"))] == [wanted]
    assert len(store.filtered(Filters(archived=False), 7)) == 7


def test_each_level_of_a_new_folder_is_spelled_as_the_one_that_is_there(store: Store) -> None:
    chat(store, folder="Work")
    assert store.folder_named("work/Trips") == "Work/Trips"
    chat(store, folder="Work/Trips")
    assert store.folder_named("WORK/trips/Peru") == "Work/Trips/Peru"
