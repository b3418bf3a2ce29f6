"""The recommendation follows the memory, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.models.catalog import Catalog, find_catalogue
from corral.models.recommend import memory, recommend


@pytest.mark.parametrize(
    ("gigabytes", "name"),
    [
        (80, "llama-2-70b-chat:Q4_K_M"),
        (16, "llama-2-13b-chat:Q4_K_M"),
        (8, "llama-2-7b-chat:Q4_K_M"),
        (2, None),
    ],
)
def test_the_largest_model_that_fits(gigabytes: float, name: str | None) -> None:
    found = recommend(Catalog.load(find_catalogue()), int(gigabytes * 1e9))
    assert (found["name"] if found else None) == name
    if found:
        assert "needs" in found["reason"] and "free" in found["reason"]


async def test_the_starter_is_told_apart(tmp_path: Path) -> None:
    from corral.models.library import Library
    from corral.store.store import Store
    from corral.tui.conversing import Conversing

    store = Store.open(tmp_path / "corral.db")
    library = Library(store, Catalog.load(find_catalogue()))
    conversing = Conversing(store, library, None, None, lambda: 0.0)  # type: ignore[arg-type]
    await conversing.find_model()
    assert conversing.better.startswith("This machine can run llama-2-")
    store.close()


def test_a_small_machine_gets_a_smaller_quantization() -> None:
    catalog = Catalog.load(find_catalogue())
    family = catalog.families["llama-2-7b-chat"]
    needed = memory(family, family.file("Q3_K_M"))  # type: ignore[arg-type]
    found = recommend(catalog, int(needed / 0.85) + 1)
    assert found and found["name"] == "llama-2-7b-chat:Q3_K_M"
