"""The catalogue that is shipped, and what is said about one that cannot be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from corral.chat.formats import FORMATS
from corral.errors import Refused
from corral.models.catalog import Catalog, CatalogError, find_catalogue

TEXT = """# a comment
[family.small]
title = "Small"
size = "1B"
kind = "chat"
licence = "mit"
format = "chatml"
repository = "a/b"
revision = "0123456789012345678901234567890123456789"
n_layer = 1
n_embd = 2
n_head = 3
n_head_kv = 4
n_ff = 5
recommended = "Q4_0"
files = [
  { quant = "Q4_0", file = "small.Q4_0.gguf", bytes = 100 },
  { quant = "Q8_0", file = "small.Q8_0.gguf", gigabytes = 2.5, sha256 = "SHA" },
]

[family."other-v1.0"]
title = "Other"
size = "1B"
kind = "base"
licence = "mit"
format = "completion"
package = "other_package"
n_layer = 1
n_embd = 2
n_head = 3
n_head_kv = 4
n_ff = 5
recommended = "Q4_0"
files = [
  { quant = "Q4_0", file = "other.gguf", bytes = 100 },
]
""".replace("SHA", "a" * 64)


def load(tmp_path: Path, text: str) -> Catalog:
    path = tmp_path / "models.toml"
    path.write_text(text, encoding="utf-8")
    return Catalog.load(path)


def test_the_shipped_catalogue(catalog: Catalog) -> None:
    assert list(catalog.families) == [
        "smollm2-135m-instruct",
        "llama-2-7b-chat",
        "llama-2-13b-chat",
        "llama-2-70b-chat",
        "llama-2-7b",
        "llama-2-13b",
        "llama-2-70b",
        "tinyllama-1.1b-chat-v1.0",
        "vicuna-7b-v1.5",
        "vicuna-13b-v1.5",
    ]
    counts = {name: len(family.files) for name, family in catalog.families.items()}
    assert counts.pop("smollm2-135m-instruct") == 1
    assert counts.pop("llama-2-70b-chat") == 9
    assert counts.pop("llama-2-70b") == 10
    assert set(counts.values()) == {12}
    for family in catalog.families.values():
        assert family.format in FORMATS
        assert (family.format == "completion") == (family.kind == "base")
        for file in family.files:
            assert file.sha256, file.file
            assert f".{file.quant}.gguf" in file.file
    sizes = catalog.families["llama-2-7b-chat"]
    assert (sizes.n_layer, sizes.n_embd, sizes.n_head, sizes.n_head_kv) == (32, 4096, 32, 32)
    assert sizes.format == "llama-2" and sizes.recommended == "Q4_K_M" and sizes.context == 4096
    assert not sizes.default_system


def test_names_and_hashes_lead_to_a_file(catalog: Catalog) -> None:
    found = catalog.by_file("LLAMA-2-7B-CHAT.q4_k_m.GGUF", 4_081_004_224)
    assert found and (found[0].name, found[1].quant) == ("llama-2-7b-chat", "Q4_K_M")
    assert catalog.by_sha256(found[1].sha256 or "") == found
    assert catalog.by_file("llama-2-7b-chat.Q4_K_M.gguf", 4_081_004_225) is None
    assert catalog.by_file("llama-2-7b-chat.Q4_K_M.gguf.part", 4_081_004_224) is None
    assert catalog.by_sha256("0" * 64) is None


def test_an_estimated_size_may_differ_by_one_percent(tmp_path: Path) -> None:
    catalog = load(tmp_path, TEXT)
    for size, known in {
        2_500_000_000: True,
        2_475_000_000: True,
        2_525_000_000: True,
        2_474_999_999: False,
        2_525_000_001: False,
    }.items():
        assert (catalog.by_file("small.Q8_0.gguf", size) is not None) == known
    family = catalog.families["small"]
    assert family.files[0].gigabytes == 1e-7
    assert family.file("Q8_0") == family.files[1]
    assert family.file("Q2_K") is None


def test_the_checkout_has_a_catalogue() -> None:
    assert find_catalogue() == Path(__file__).parents[2] / "models.toml"


def test_without_a_catalogue_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corral.__file__", str(tmp_path / "a/b/__init__.py"))
    with pytest.raises(CatalogError, match=r"models\.toml is missing"):
        find_catalogue()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('title = "Small"', "title = Small"), r"models.toml: .*line 3"),
        (('title = "Small"', 'titel = "Small"'), r"line 3: small.titel: Extra"),
        (('title = "Small"', ""), r"line 2: small.title: .*required"),
        (('kind = "chat"', 'kind = "chats"'), r"line 5: small.kind"),
        (('format = "chatml"', 'format = "chatlm"'), r"line 7: small.format.*chatml, zephyr"),
        (('revision = "0123', 'revision = "x123'), r"line 9: small.revision"),
        (("n_layer = 1", "n_layer = 0"), r"line 10: small.n_layer"),
        (('recommended = "Q4_0"', 'recommended = "Q2_K"'), r"line 2: small: the recommended Q2_K"),
        (("bytes = 100 }", "bytes = -1 }"), r"line 17: small.files.0.bytes"),
        (("bytes = 100 }", "bytes = 100, colour = 1 }"), r"line 17: small.files.0.colour"),
        (("bytes = 100 }", "bytes = 100, gigabytes = 1 }"), r"line 17: small.files.0: .*exact"),
        ((", bytes = 100 }", " }"), r"line 17: small.files.0: .*exact"),
        (("a" * 64, "A" * 64), r"line 18: small.files.1.sha256"),
        (("a" * 64, "a" * 63), r"line 18: small.files.1.sha256"),
        (("small.Q8_0.gguf", "../small.Q8_0.gguf"), r"line 18: small.files.1.file"),
        (('quant = "Q8_0"', 'quant = "Q4_0"'), r"line 2: small: .*listed twice"),
        (("other.gguf", "SMALL.Q4_0.gguf"), r"other-v1.0.Q4_0: small.q4_0.gguf is there twice"),
        (('package = "other_package"', ""), r"line 21: other-v1.0: .*repository and revision"),
        (('repository = "a/b"', ""), r"line 2: small: .*repository and revision"),
        (("[family.small]", "[family.Small]"), r"line 2: Small.name"),
        (("[family.small]", "[families.small]"), r"the key families is unknown"),
        (("n_ff = 5", "n_ff = 5\nsampling = { top_q = 1 }"), r"line 15: small.sampling"),
        (("n_ff = 5", "n_ff = 5\nsampling = { top_p = 2 }"), r"line 15: small.sampling"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_place(
    change: tuple[str, str], expected: str, tmp_path: Path
) -> None:
    assert change[0] in TEXT
    text = TEXT.replace(*change, 1)
    with pytest.raises(CatalogError) as refused:
        load(tmp_path, text)
    assert re.search(expected, refused.value.message), refused.value.message
    assert refused.value.exit_code == 7
    assert len(refused.value.message) <= 300


@pytest.mark.parametrize("text", ["", "# nothing\n", "[family]\n", "family = 3\n"])
def test_an_empty_catalogue_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"\[family"):
        load(tmp_path, text)


def test_an_unreadable_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        Catalog.load(tmp_path)
    (tmp_path / "models.toml").write_bytes(b"\xff")
    with pytest.raises(Refused, match="not UTF-8"):
        Catalog.load(tmp_path / "models.toml")
