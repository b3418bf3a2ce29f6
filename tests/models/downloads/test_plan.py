"""What is going to be fetched, and the licence before it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.desk import FILE, REPOSITORY, TEXTS, Desk, sha256_of
from tests.support.hub import (
    COMMIT,
    HubServer,
)

from corral.errors import CorralError, DoesNotFit, NotFound, Refused, UsageError
from corral.models.downloads.downloads import NotAccepted
from corral.models.downloads.licences import lay_beside

# --- the plan -----------------------------------------------------------------------------------


def test_a_plan_says_what_comes_and_where_it_goes(desk: Desk, model: Path, folder: Path) -> None:
    plan = desk.downloads.plan("Tiny-Chat")
    assert (plan.name, plan.title) == ("tiny-chat:Q8_0", "Tiny Chat Q8_0")
    assert plan.folder == folder / "somebody--tiny-GGUF"
    assert plan.bytes == model.stat().st_size
    assert plan.targets[0].sha256 == sha256_of(model)
    assert plan.needed > plan.bytes
    assert (plan.licence, plan.warning, plan.here) == (None, "", False)
    assert not folder.exists()


def test_a_pin_that_does_not_match_is_refused_before_a_byte(desk: Desk, hub: HubServer) -> None:
    with pytest.raises(Refused, match="changed upstream"):
        desk.downloads.plan("tiny-chat:Q4_0")
    assert hub.sent() == 0


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("tiny-cat", "no model called", "tiny-chat"),
        ("tiny-chat:Q5_K_M", "no Q5_K_M of Tiny Chat", "Q8_0, Q4_0, Q6_K"),
        ("old", "downloads nothing under", "import"),
        ("no/such", "", ""),
        ("../x/y.gguf", "cannot be", ""),
        (f"{REPOSITORY}:Q2_K", "has no Q2_K", "Q4_0, Q6_K, Q8_0"),
        (REPOSITORY, "several", "Q6_K"),
    ],
)
def test_what_cannot_be_fetched_is_said_plainly(
    desk: Desk, hub: HubServer, name: str, said: str, hint: str
) -> None:
    with pytest.raises(CorralError) as caught:
        desk.downloads.plan(name)
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert isinstance(caught.value, NotFound | UsageError | Refused)
    assert hub.sent() == 0


def test_the_catalogue_knows_files_that_are_named_by_their_repository(desk: Desk) -> None:
    for rest in (":q8_0", f"/{FILE}"):
        plan = desk.downloads.plan(f"{REPOSITORY}{rest}")
        assert (plan.name, plan.family) == ("tiny-chat:Q8_0", "tiny-chat")


def test_any_repository_of_the_hub_can_be_planned(desk: Desk, hub: HubServer, model: Path) -> None:
    hub.add("other/thing", {"sub/thing.Q8_0.gguf": model, "README.md": b"hi"}, licence="llama2")
    desk.store.accept_licence("llama2", "t", "t")
    plan = desk.downloads.plan("other/thing")
    assert (plan.name, plan.family, plan.revision) == ("other/thing:Q8_0", None, COMMIT)
    assert plan.folder.name == "sub"
    assert plan.targets[0].sha256 == sha256_of(model)
    assert plan.header is not None and plan.header.n_embd == 512
    assert "catalogue" in plan.warning


def test_a_file_that_is_no_model_is_refused_before_it_is_fetched(
    desk: Desk, hub: HubServer
) -> None:
    hub.add("other/thing", {"thing.Q8_0.gguf": os.urandom(20_000_000)})
    with pytest.raises(Refused, match="cannot be used"):
        desk.downloads.plan("other/thing")


def test_a_file_without_a_hash_fails_closed(desk: Desk, hub: HubServer, model: Path) -> None:
    hub.add("other/thing", {"thing.Q8_0.gguf": model.read_bytes()}, git=True)
    with pytest.raises(Refused, match="no sha256"):
        desk.downloads.plan("other/thing")


def test_a_disk_that_is_too_small_is_said_first(
    desk: Desk, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = desk.downloads.plan("tiny-chat").bytes
    free = size * 3 // 2 + 5 * size
    monkeypatch.setattr("shutil.disk_usage", lambda _: (100 * size, 0, free))
    desk.pull()
    with pytest.raises(DoesNotFit, match="promised to other downloads") as caught:
        desk.downloads.plan("tiny-chat:Q6_K")
    assert "Free" in caught.value.hint
    assert hub.sent() == 0


# --- the licence --------------------------------------------------------------------------------


def test_the_licence_is_asked_for_once_and_lies_beside_the_weights(
    desks: Callable[[], Desk], folder: Path
) -> None:
    desk = desks()
    plan = desk.downloads.plan("tiny-chat")
    assert plan.licence is not None
    with pytest.raises(NotAccepted, match="not accepted"):
        desk.downloads.add(plan)
    text = desk.downloads.licence_text(plan.licence)
    assert "You may." in text
    assert "Be good." in text
    assert "Meta Platforms" in text  # the hub has no Notice
    desk.downloads.accept(plan.licence, text)
    assert desk.downloads.accepted(plan.licence)
    assert desk.downloads.plan("tiny-chat").licence is None
    assert desk.downloads.licence_text(plan.licence) == text
    desk.downloads.start()
    desk.state(desk.downloads.add(plan).id, "done")
    beside = folder / "somebody--tiny-GGUF"
    assert sorted(path.name for path in beside.iterdir()) == [
        "LICENSE.txt",
        "Notice",
        "USE_POLICY.md",
        FILE,
    ]
    assert (beside / "LICENSE.txt").read_bytes() == TEXTS["LICENSE.txt"]


def test_the_catalogues_licence_holds_for_all_of_a_repository(
    desks: Callable[[], Desk], hub: HubServer, model: Path
) -> None:
    """For files that the catalogue does not list, and whatever the hub says."""
    desk = desks()
    hub.add(REPOSITORY, {"tiny.Q2_K.gguf": model}, licence="other")
    hub.add("somebody/old-GGUF", {"old.Q2_K.gguf": model}, licence="other")
    plan = desk.downloads.plan(f"{REPOSITORY}:Q2_K")
    assert plan.licence is not None
    with pytest.raises(NotAccepted):
        desk.downloads.add(plan)
    for name in ("somebody/old-GGUF:Q2_K", "somebody/old-GGUF"):
        with pytest.raises(Refused, match="downloads nothing under"):
            desk.downloads.plan(name)


def test_the_texts_are_written_through_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("LICENSE.txt", "LICENSE.txt.part"):
        (folder / name).symlink_to(victim)
    lay_beside(folder, {"LICENSE.txt": b"You may."})
    assert not victim.exists()
    assert [(p.name, p.read_bytes()) for p in folder.iterdir()] == [("LICENSE.txt", b"You may.")]


def test_a_licence_that_the_hub_names_counts_too(
    desks: Callable[[], Desk], hub: HubServer, model: Path
) -> None:
    hub.add("other/thing", {"thing.Q8_0.gguf": model}, licence="llama2")
    desk = desks()
    plan = desk.downloads.plan("other/thing")
    with pytest.raises(NotAccepted):
        desk.downloads.add(plan)
