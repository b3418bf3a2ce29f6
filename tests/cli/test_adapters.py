"""``corral models adapters`` and ``corral ask --adapter``, run as a script would."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Corral
from tests.support.gguf_files import tiny_llama
from tests.support.lora_files import lora


@pytest.fixture
def tiny(corral: Corral, tmp_path: Path) -> Path:
    path = tiny_llama(tmp_path / "tiny.gguf")
    assert corral("models", "import", str(path), "--format", "llama-2").code == 0
    return path


def test_adapters_come_are_listed_and_go(corral: Corral, tiny: Path, tmp_path: Path) -> None:
    assert corral("models", "adapters", "--json").json == []
    assert "models adapters import FILE" in corral("models", "adapters").err
    path = lora(tmp_path / "cats.gguf")
    [done] = corral("models", "adapters", "import", str(path), "--json").json
    assert (done["name"], done["path"], done["ok"]) == ("cats", str(path), True)
    (large := tmp_path / "elsewhere").mkdir()
    lora(large / "large.gguf", {"blk.0.attn_q.weight": (128, 128)})
    corral("models", "adapters", "import", str(large / "large.gguf"), "--name", "Large one")

    listed = {one["name"]: one for one in corral("models", "adapters", "list", "--json").json}
    assert set(listed) == {"cats", "Large one"}
    cats = listed["cats"]
    assert (cats["state"], cats["rank"], cats["alpha"], cats["matrices"], cats["type"]) == (
        "installed", [4, 4], 8.0, 8, "F32",
    )  # fmt: skip
    checked = {
        one["name"]: one["reason"]
        for one in corral("models", "adapters", "-m", "tiny", "--json").json
    }
    assert checked["cats"] is None and "64 × 64 in this model" in checked["Large one"]
    table = corral("models", "adapters", "list", "-m", "tiny").out
    assert "belongs" in table and "does not belong: blk.0.attn_q.weight" in table

    shown = corral("models", "adapters", "show", "cats", "-m", "tiny")
    assert shown.code == 0 and "It belongs to tiny." in shown.out and "Rank          4" in shown.out
    refused = corral("models", "adapters", "show", "Large one", "-m", "tiny")
    assert refused.code == 7 and "does not belong to tiny" in refused.err

    assert corral("models", "adapters", "forget", "cats", "--json").json[0]["ok"]
    # It lies beside a model, so it is found.
    states = {one["name"]: one["state"] for one in corral("models", "adapters", "--json").json}
    assert states == {"Large one": "installed", "cats": "found"}
    assert path.exists()


def test_what_is_no_adapter_is_refused_and_the_others_come(
    corral: Corral, tiny: Path, tmp_path: Path
) -> None:
    good = lora(tmp_path / "cats.gguf")
    run = corral("models", "adapters", "import", str(tiny), str(good), "--json")
    assert run.code == 7
    assert [one["ok"] for one in run.json] == [False, True]
    assert "it is a model, not an adapter" in run.json[0]["reason"]
    assert corral("models", "adapters", "show", "dogs").code == 3


def test_an_answer_with_an_adapter_and_without(corral: Corral, tiny: Path, tmp_path: Path) -> None:
    path = lora(tmp_path / "cats.gguf")
    question = ["ask", "hello", "-m", "tiny", "--temperature", "0", "--max-tokens", "12", "--json"]

    def ask(*more: str) -> dict[str, object]:
        run = corral(*question, *more)
        assert run.code == 0, run.err
        done: dict[str, object] = run.lines[-1]
        return done

    plain = ask("--no-save")
    first = ask("--adapter", str(path))
    half = ask("--no-save", "--adapter", f"{path}:0.5")
    texts = {str(done["text"]) for done in (plain, first, half)}
    assert len(texts) == 3
    model = first["model"]
    assert isinstance(model, dict) and isinstance(plain["model"], dict)
    [used] = model["adapters"]
    assert (used["name"], used["file"], used["scale"]) == ("cats", str(path), 1.0)
    assert "adapters" not in plain["model"]

    # The conversation goes on with it, and without it once it is told so.
    id = str(first["conversation"])
    again = ask("-c", id)
    assert isinstance(again["model"], dict) and again["model"]["adapters"][0]["name"] == "cats"
    off = ask("-c", id, "--adapter", "off")
    assert isinstance(off["model"], dict) and "adapters" not in off["model"]
    still = ask("-c", id)
    assert isinstance(still["model"], dict) and "adapters" not in still["model"]


def test_what_is_wrong_is_told_before_anything_is_written(
    corral: Corral, tiny: Path, tmp_path: Path
) -> None:
    large = lora(tmp_path / "large.gguf", {"blk.0.attn_q.weight": (128, 128)})
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(lora(tmp_path / "cats.gguf").read_bytes()[:-100])
    for adapter, code, words in (
        (str(large), 7, "does not belong to tiny"),
        (str(broken), 7, "it has only"),
        ("nobody", 3, "There is no adapter called"),
        (f"{tmp_path / 'cats.gguf'}:1e9", 2, "The scale of"),
    ):
        run = corral("ask", "hello", "-m", "tiny", "--adapter", adapter)
        assert run.code == code, run.err
        assert words in run.err
    assert corral("history", "list", "--json").json == []
