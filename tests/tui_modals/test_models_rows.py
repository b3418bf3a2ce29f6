"""What a row of the models screen says, in every state and at every width."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.tui_modals.host import local
from tests.tui_modals.models_host import CATALOG, GB, FakeDownloads, FakeFitter, download

from corral.models.fit.memory import Fit
from corral.models.library.local import from_catalogue, from_download
from corral.tui.screens.models import rows
from corral.tui.screens.models.about import progress
from corral.tui.screens.models.entries import Entry, choose, gather
from corral.tui.screens.models.starting import facts
from corral.tui.screens.models.words import quality, tokens_per_second

MODEL = local()


def fit(*, released: bool = False, **changes: Any) -> Fit:
    return replace(FakeFitter().fit(MODEL), fits_if_released=released, **changes)


@pytest.mark.parametrize(
    ("changes", "loaded", "words", "brief"),
    [
        ({"fits": "gpu"}, False, "● all on the GPU", "● on the GPU"),
        ({"fits": "cpu"}, False, "● in memory", "● in memory"),
        (
            {"fits": "partial", "gpu_layers": 31, "layers": 41},
            False,
            "◐ 31 of 41 layers",
            "◐ 31 of 41",
        ),
        ({"fits": "no", "missing": 19 * GB}, False, "✗ needs 19 GB more", "✗ 19 GB short"),
        ({"fits": "no", "missing": GB // 3}, False, "✗ needs 0.3 GB more", "✗ 1 GB short"),
        ({"fits": "no", "released": True}, False, "○ after a swap", "○ after a swap"),
        ({"fits": "no", "missing": GB}, True, "● in memory", "● in memory"),
    ],
)
def test_how_it_fits(changes: dict[str, Any], loaded: bool, words: str, brief: str) -> None:
    entry = Entry(MODEL, fit=fit(**changes), loaded=loaded)
    for expected, short in ((words, False), (brief, True)):
        sign, _, text = rows.fits(entry, brief=short)
        assert f"{sign} {text}" == expected


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry(MODEL), "✓ installed"),
        (Entry(MODEL, loaded=True), "✓ loaded"),
        (Entry(local(source="starter")), "✓ starter"),
        (Entry(local(state="missing"), loaded=True), "✗ missing"),
        (Entry(local(state="damaged")), "✗ damaged"),
        (Entry(local(state="available")), "download"),
        (Entry(local(state="available"), fit=fit(fits="no")), "needs more memory"),
        (Entry(MODEL, verifying=0.5), "verifying 50 %"),
        (Entry(MODEL, download=download()), "43 %"),
        (Entry(MODEL, download=download(stage="verifying")), "verifying"),
        (Entry(MODEL, download=download(state="queued")), "waiting"),
        (Entry(MODEL, download=download(state="paused", stage="transfer")), "paused"),
        (Entry(MODEL, download=download(state="failed")), "failed"),
    ],
)
def test_its_state(entry: Entry, words: str) -> None:
    assert rows.state(entry) == words


@pytest.mark.parametrize("width", [*range(20, 130, 7), 300])
def test_every_row_is_as_wide_as_it_may_be(width: int) -> None:
    entries = [
        Entry(MODEL, fit=fit(), best=True),
        Entry(local(state="available"), fit=fit(fits="no", missing=123 * GB)),
        Entry(MODEL, download=download(stage="repairing")),
    ]
    cells = {rows.row(entry, width, first=True).cell_length for entry in entries}
    assert cells == {rows.heading(width, "fits").cell_length}
    assert width < 58 or cells.pop() <= width


def test_numbers_read_well() -> None:
    assert tokens_per_second((38.2, 46.4)) == "38–46"
    assert tokens_per_second((0.81, 1.24)) == "0.8–1.2"
    assert tokens_per_second((41.0, 41.2)) == "41"
    assert tokens_per_second(None) == quality(None) == "–"
    assert (quality(1.42), quality(0.07)) == ("−1.4 %", "≈ 0")


def test_what_a_download_says_about_itself() -> None:
    def told(**changes: Any) -> str:
        return " / ".join(line.plain for line in progress(download(**changes)))

    assert told() == "3.08 GB of 7.16 GB · 12.4 MB/s · 5:29 left"
    assert told(stage="verifying", rate=0.0, eta=None) == "3.08 GB of 7.16 GB · verifying"
    assert "Paused at 3.08 GB" in told(state="paused")
    assert "K moves it forward" in told(state="queued")
    assert told(state="queued", note="It waits for the network") == (
        "It waits for the network · 3.08 GB of 7.16 GB"
    )
    assert told(state="paused", error="The disk is full", hint="Make room") == (
        "✗ The disk is full. Make room / 3.08 GB of 7.16 GB are here; Enter goes on from there"
    )


def test_every_model_of_the_catalogue_has_its_place() -> None:
    models = [from_catalogue(f, file) for f in CATALOG.families.values() for file in f.files]
    coming = download(1, "llama-2-13b-chat:Q2_K")
    entries = gather(
        models, [coming], families=CATALOG.families, loaded=(), best="llama-2-7b-chat:Q5_K_M"
    )
    assert len(entries) == len(models)
    first = list(dict.fromkeys(entry.group for entry in entries))[:2]
    assert first == ["llama-2-7b-chat", "llama-2-13b-chat"]
    few = choose(entries, words="", every=False, sort="name")
    assert [entry.model.quant for entry in few[:4]] == ["Q5_K_M", "Q4_K_M", "Q3_K_M", "Q4_K_M"]
    assert "llama-2-13b-chat:Q2_K" in [entry.model.name for entry in few]
    assert {entry.group for entry in few} == set(CATALOG.families)
    assert len(few) < len(models) / 3
    for family in CATALOG.families.values():
        quants = [entry.model.quant for entry in few if entry.group == family.name]
        assert family.recommended in quants


def test_the_quantization_of_a_download_is_said_once(tmp_path: Path) -> None:
    coming = download(name="o/r:Q4_K_M", title="Model-7B-GGUF Q4_K_M")
    assert Entry(from_download(coming, None)).title == "Model-7B-GGUF"
    assert facts(FakeDownloads(tmp_path).plan("any")).plain.count("Q5_K_M") == 1
