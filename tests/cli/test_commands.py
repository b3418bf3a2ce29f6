"""The other commands: models, history, doctor."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Corral
from tests.support.gguf_files import tiny_llama

from corral import __version__


def test_models_list_show_and_import(corral: Corral, tmp_path: Path) -> None:
    listed = corral("models", "list", "--json").json
    assert [m["name"] for m in listed] == ["smollm2-135m-instruct"]
    assert set(listed[0]) >= {
        "name", "family", "size", "kind", "quant", "bytes", "state", "path", "sha256", "licence",
        "source",
    }  # fmt: skip
    everything = corral("models", "list", "--all", "--json").json
    assert {"llama-2-7b-chat:Q4_K_M", "llama-2-70b:Q2_K"} <= {m["name"] for m in everything}

    path = tmp_path / "my model.gguf"
    tiny_llama(path)
    done = corral("models", "import", str(path), "--format", "completion", "--json")
    assert done.code == 0
    assert done.json[0]["ok"] and done.json[0]["path"] == str(path)
    name = done.json[0]["name"]
    assert name in corral("models", "list").out
    shown = corral("models", "show", name, "--json").json
    assert shown["format"] == "completion" and len(shown["sha256"]) == 64
    answer = corral("ask", "hello", "-m", name, "--max-tokens", "3", "--json", "--no-save")
    assert answer.lines[-1]["model"]["file"] == str(path)
    path.unlink()
    assert [m["state"] for m in corral("models", "list", "--json").json if m["name"] == name] == [
        "missing"
    ]


def test_a_damaged_file_is_refused_and_the_others_are_imported(
    corral: Corral, tmp_path: Path
) -> None:
    good, cut = tmp_path / "good.gguf", tmp_path / "cut.gguf"
    tiny_llama(good)
    cut.write_bytes(good.read_bytes()[:-1000])
    run = corral("models", "import", str(cut), str(good), "--json")
    assert run.code == 7
    assert [result["ok"] for result in run.json] == [False, True]
    assert run.json[0]["reason"]


def test_history_commands(corral: Corral) -> None:
    corral("ask", "Tell me about alpacas", "--max-tokens", "4")
    corral("ask", "And now bread", "--max-tokens", "4")
    listed = corral("history", "list", "--json").json
    assert [c["title"] for c in listed] == ["And now bread", "Tell me about alpacas"]
    assert set(listed[0]) == {
        "folder", "preset",
        "id", "title", "created", "updated", "messages", "model", "pinned", "archived",
    }  # fmt: skip
    hits = corral("history", "search", "alpac", "--json").json
    assert [h["id"] for h in hits] == [1] and {"message", "snippet"} <= set(hits[0])
    assert corral("history", "rename", "1", "Camelids").code == 0
    assert "Camelids" in corral("history", "list").out
    assert corral("history", "delete", "1").code == 0
    assert [c["id"] for c in corral("history", "list", "--json").json] == [2]
    assert corral("history", "delete", "1").code == 3


def test_doctor(corral: Corral, private_home: Path) -> None:
    run = corral("doctor", "--json")
    assert run.code == 0
    report = run.json
    assert {"corral", "python", "engine", "memory", "disk", "paths", "recommended"} <= set(report)
    assert report["engine"]["version"] == "0.3.36"
    assert any(device["kind"] == "cpu" for device in report["engine"]["devices"])
    assert report["paths"]["data"] == str(private_home / "data")
    chosen = {choice["field"]: choice for choice in report["choices"]}
    assert set(chosen) == {
        "kv_type", "flash_attn", "n_batch", "n_ubatch", "load_mode", "repack", "threads", "pace",
        "lookup", "exact", "draft",
    }  # fmt: skip
    assert all(set(one) == {"field", "value", "reason"} for one in chosen.values())
    assert report["choices_for"] == "smollm2-135m-instruct"
    kept = report["kept_prompts"]
    assert set(kept) == {"bytes", "limit", "conversations"} and kept["bytes"] == 0
    text = corral("doctor").out
    assert "llama-cpp-python" in text and f"n_ubatch    {chosen['n_ubatch']['value']}:" in text

    # What a person set is said; the machine was measured above, which takes seconds.
    file = private_home / "config" / "config.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        '[engine]\nthreads = 1\npace = "quiet"\ntype_k = "q8_0"\ndraft = "no-such-model"\n'
    )
    report = corral("doctor", "--json").json
    chosen = {choice["field"]: choice for choice in report["choices"]}
    assert chosen["threads"]["value"] == "1" and chosen["pace"]["value"] == "quiet"
    assert chosen["kv_type"]["value"] == "q8_0/f16"
    assert "no-such-model" in chosen["draft"]["reason"] and chosen["draft"]["value"] == "none"
    # What makes no sense is named with its line, and the default is used.
    file.write_text("[engine]\nthreads = 10000\n")
    run = corral("doctor", "--json")
    (notice,) = run.json["notices"]
    assert "line 2" in notice and "engine.threads" in notice and "512" in notice
    chosen = {choice["field"]: choice for choice in run.json["choices"]}
    assert chosen["threads"]["value"] == "auto"


def test_a_broken_setting_is_named_and_the_program_works(
    corral: Corral, private_home: Path
) -> None:
    (private_home / "config").mkdir(parents=True)
    file = private_home / "config" / "config.toml"
    file.write_text('# mine\ntheme = "puna"\n\n[engine]\nthreads = "many"\n')
    run = corral("ask", "hi", "--max-tokens", "2")
    assert run.code == 0
    assert "line 5" in run.err and "engine.threads" in run.err
    file.write_text("theme = [")
    run = corral("ask", "hi", "--max-tokens", "2")
    assert run.code == 0 and "line 1" in run.err


def test_help_needs_no_other_page(corral: Corral) -> None:
    top = corral("--help").out
    for command in ("ask", "models", "history", "bench", "doctor"):
        assert command in top
        assert corral(command, "--help").code == 0
    assert __version__ in corral("--version").out


def test_a_folder_that_cannot_be_used_is_one_clear_line(corral: Corral, private_home: Path) -> None:
    private_home.write_text("a file in the way")
    run = corral("history", "list")
    assert run.code == 1
    assert "hint" in run.err and str(private_home) in run.err
