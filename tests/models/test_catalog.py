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

[licence.mit]
title = "MIT"
url = "https://example.org/mit"

[licence.asked]
title = "Asked"
accept = true
repository = "a/b"
revision = "0123456789012345678901234567890123456789"
files = ["LICENSE.txt"]
""".replace("SHA", "a" * 64)


def load(tmp_path: Path, text: str, own: str | None = None) -> Catalog:
    path = tmp_path / "models.toml"
    path.write_text(text, encoding="utf-8")
    theirs = tmp_path / "config" / "models.toml"
    if own is not None:
        theirs.parent.mkdir(exist_ok=True)
        theirs.write_text(own, encoding="utf-8")
    return Catalog.load(path, theirs)


# How many families of a kind are shipped, and how many files of each.
SHIPPED = {
    r"smollm2-135m-instruct": [1],
    r"llama-2-(7|13)b(-chat)?": [12] * 4,
    r"llama-2-70b(-chat)?": [11, 12],
    r"llama-(7|13|30)b": [12] * 3,
    r"llama-65b": [10],
    r"codellama-(7|13|34)b(-instruct|-python)?": [12] * 9,
    r"tinyllama-1\.1b-.*": [12] * 2,
    r"vicuna-(7|13)b-v1\.5(-16k)?": [12] * 4,
    r"nous-hermes-llama-?2-(7|13)b": [12] * 2,
    r"nous-hermes-llama2-70b": [10],
    r"(wizardlm-13b-v1\.2|xwin-lm-(7|13)b-v0\.2|mythomax-l2-13b|orca-2-(7|13)b)": [12] * 6,
    r"llama2-7b-chat-uncensored": [12],
    r"llama2-70b-chat-uncensored": [10],
}


def test_the_shipped_catalogue(catalog: Catalog) -> None:
    counts = {name: len(family.files) for name, family in catalog.families.items()}
    for pattern, expected in SHIPPED.items():
        found = [name for name in counts if re.fullmatch(pattern, name)]
        assert sorted(counts.pop(name) for name in found) == expected, pattern
    assert not counts
    chat = catalog.families["llama-2-7b-chat"]
    assert (chat.n_layer, chat.n_embd, chat.n_head, chat.n_head_kv) == (32, 4096, 32, 32)
    assert chat.format == "llama-2" and chat.recommended == "Q4_K_M" and chat.context == 4096
    assert not chat.default_system and chat.n_vocab == 32_000
    assert chat.quality == {"Q4_K_M": 1.42, "Q6_K": 0.24, "Q8_0": 0.07}
    assert chat.card == "https://huggingface.co/TheBloke/Llama-2-7B-Chat-GGUF"
    starter = catalog.families["smollm2-135m-instruct"]
    assert (starter.card, starter.n_vocab) == ("", 49_152)
    assert catalog.families["llama-2-70b-chat"].quality["Q2_K"] == 8.82


def test_every_row_is_whole(catalog: Catalog) -> None:
    verified = 0
    for family in catalog.families.values():
        stem = family.files[0].file.partition(f".{family.files[0].quant}.gguf")[0]
        assert stem.lower().replace("_", "-") == family.name or family.package, family.name
        assert family.size.lower() in family.name and family.size in family.title
        assert family.format in FORMATS
        assert (family.format == "completion") == (family.kind == "base")
        assert family.n_embd % family.n_head == 0 and family.n_head % family.n_head_kv == 0
        assert set(family.quality) <= {file.quant for file in family.files}
        assert catalog.licence(family.licence)
        smaller = [file.gigabytes for file in family.files if file.quant in ("Q2_K", "Q4_0")]
        assert smaller == sorted(smaller)
        for file in family.files:
            assert file.file == f"{stem}.{file.quant}.gguf"
            assert bool(file.sha256) != bool(file.parts), file.file
            verified += file.verified
    # Both 7B and 13B chat models, two CodeLlamas, a TinyLlama and the starter.
    assert verified == 28


def test_raw_cuts_are_one_row(catalog: Catalog) -> None:
    for name in ("llama-2-70b-chat", "llama-2-70b"):
        files = catalog.families[name].files
        cut = [file for file in files if file.parts]
        assert [file.quant for file in cut] == ["Q6_K", "Q8_0"]
        for file in cut:
            assert file.parts == (f"{file.file}-split-a", f"{file.file}-split-b")
            assert not file.verified and catalog.by_file(file.file, int(file.gigabytes * 1e9))
    assert catalog.families["llama-2-70b-chat"].file("Q5_K_S") is None


def test_the_shipped_licences(catalog: Catalog) -> None:
    llama = catalog.licence("llama2")
    assert llama and llama.accept and llama.download
    assert llama.files == ("LICENSE.txt", "USE_POLICY.md", "Notice")
    recognised = {
        family.name
        for family in catalog.families.values()
        if not (licence := catalog.licence(family.licence)) or not licence.download
    }
    first = {f"llama-{size}b" for size in (7, 13, 30, 65)}
    assert recognised == {*first, "orca-2-7b", "orca-2-13b"}
    free = catalog.licence("apache-2.0")
    assert free and free.download and not free.accept
    assert catalog.licence("llama3") is None and catalog.licence(None) is None
    drafts = [family for family in catalog.families.values() if family.draft]
    assert drafts and all(family.n_vocab == 32_000 for family in drafts)


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
        (("bytes = 100 }", f"bytes = 1{'0' * 400} }}"), r"line 17: small.files.0.bytes"),
        (("bytes = 100 }", "gigabytes = inf }"), r"line 17: small.files.0.gigabytes"),
        (("n_ff = 5", f"n_ff = 5{'0' * 5000}"), r"models.toml: .*digits"),
        (("n_ff = 5", f"n_ff = {'[' * 5000}"), r"models.toml: .*recursion"),
        ((", bytes = 100 }", " }"), r"line 17: small.files.0: .*exact"),
        (("a" * 64, "A" * 64), r"line 18: small.files.1.sha256"),
        (("a" * 64, "a" * 63), r"line 18: small.files.1.sha256"),
        (("small.Q8_0.gguf", "../small.Q8_0.gguf"), r"line 18: small.files.1.file"),
        (('sha256 = "', 'parts = ["a", "b"], sha256 = "'), r"line 18: small.files.1: parts are"),
        (("bytes = 100 }", 'bytes = 100, parts = ["a", "a"] }'), r"line 17: small.files.0: parts"),
        (("bytes = 100 }", 'bytes = 100, parts = ["../a", "b"] }'), r"line 17: small.files.0.par"),
        (('licence = "mit"', 'licence = "gpl"'), r"line 6: small.licence: no \[licence.gpl\]"),
        (('title = "MIT"', 'titel = "MIT"'), r"line 39: mit.titel: Extra"),
        (('title = "Asked"', "download = 3"), r"line 42: asked.title: .*required"),
        (("https://example", "http://example"), r"line 40: mit.url"),
        (('files = ["LICENSE.txt"]', ""), r"line 42: asked: a text needs"),
        (("n_ff = 5", "n_ff = 5\nquality = { Q4_0 = 2000 }"), r"line 15: small.quality.Q4_0"),
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


OWN = """
[family.small]
title = "Mine"
sampling = { top_p = 0.5 }

[family.new]
title = "New"
size = "1B"
kind = "chat"
licence = "mine"
format = "alpaca"
repository = "c/d"
revision = "0123456789012345678901234567890123456789"
n_layer = 1
n_embd = 2
n_head = 3
n_head_kv = 4
n_ff = 5
recommended = "Q4_0"
files = [
  { quant = "Q4_0", file = "new.gguf", gigabytes = 1.5 },
]

[licence.mine]
title = "Mine"

[licence.asked]
accept = false
"""


def test_own_tables_add_and_override(tmp_path: Path) -> None:
    assert list(load(tmp_path, TEXT).families) == ["small", "other-v1.0"]
    assert list(load(tmp_path, TEXT, "# nothing yet\n").families) == ["small", "other-v1.0"]
    catalog = load(tmp_path, TEXT, OWN)
    assert list(catalog.families) == ["small", "other-v1.0", "new"]
    small = catalog.families["small"]
    assert (small.title, small.sampling, small.format) == ("Mine", {"top_p": 0.5}, "chatml")
    assert len(small.files) == 2
    assert list(catalog.licences) == ["mit", "asked", "mine"]
    asked = catalog.licence("asked")
    assert asked and asked.title == "Asked" and not asked.accept
    found = catalog.by_file("new.gguf", 1_500_000_000)
    assert found and found[0].name == "new"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('title = "Mine"', "title = Mine"), r"line 3"),
        (('title = "Mine"', 'titel = "Mine"'), r"line 3: small.titel: Extra"),
        (("n_ff = 5", ""), r"line 6: new.n_ff: .*required"),
        (("top_p", "top_q"), r"line 4: small.sampling"),
        (("accept = false", "accept = 5"), r"line 28: asked.accept"),
        (('title = "Mine"', 'recommended = "Q2_K"'), r"line 2: small: the recommended Q2_K"),
        (('title = "Mine"', 'licence = "no"'), r"line 3: small.licence: no \[licence.no\]"),
        (("new.gguf", "Other.gguf"), r"new.Q4_0: other.gguf is there twice"),
        (('[family.small]\ntitle = "Mine"\nsampling', "family.small = 3\n#"), r"small: is not a"),
    ],
)
def test_a_fault_in_own_tables_is_named_with_its_file(
    change: tuple[str, str], expected: str, tmp_path: Path
) -> None:
    assert change[0] in OWN
    with pytest.raises(CatalogError) as refused:
        load(tmp_path, TEXT, OWN.replace(*change, 1))
    message = refused.value.message
    assert re.search(expected, message), message
    assert message.startswith("/") and "config/models.toml" in message
    assert "move it away" in refused.value.hint


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
