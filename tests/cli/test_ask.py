"""``corral ask`` as the contract has it, with the real starter model."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Corral

QUESTION = "What is the capital of France?"


def test_json_ends_with_one_done_line(corral: Corral) -> None:
    run = corral("ask", QUESTION, "--seed", "1", "--temperature", "0", "--json")
    assert run.code == 0
    *deltas, done = run.lines
    assert {line["type"] for line in deltas} == {"delta"}
    assert done["type"] == "done"
    assert done["text"] == "".join(line["text"] for line in deltas)
    assert "Paris" in done["text"]
    assert done["stop_reason"] == "end"
    assert set(done["model"]) >= {
        "name", "file", "sha256", "quant", "n_ctx", "gpu_layers", "threads",
    }  # fmt: skip
    usage = done["usage"]
    assert usage["prompt_tokens"] == usage["reused_tokens"] + usage["evaluated_tokens"]
    assert set(done["timings"]) >= {
        "load_ms", "prompt_ms", "first_token_ms", "generation_ms", "tokens_per_second",
    }  # fmt: skip

    again = corral("ask", "And of Italy?", "--continue", "--temperature", "0", "--json").lines[-1]
    assert again["conversation"] == done["conversation"]
    assert "Rome" in again["text"]
    by_id = corral("ask", "Thanks", "-c", str(done["conversation"]), "--max-tokens", "2", "--json")
    assert by_id.lines[-1]["stop_reason"] == "length"
    shown = corral("history", "show", str(done["conversation"]), "--json").json
    assert [m["role"] for m in shown["messages"]] == ["user", "assistant"] * 3
    assert shown["active"] == shown["messages"][-1]["id"]


def test_plain_text_and_stdin(corral: Corral) -> None:
    run = corral("ask", "Repeat this word:", "--max-tokens", "8", "--stats", stdin="llama\n")
    assert run.code == 0
    assert run.out.strip()
    assert "tok/s" in run.err
    shown = corral("history", "show", "1", "--json").json
    assert shown["messages"][0]["text"] == "Repeat this word:\n\nllama\n"


def test_no_save_leaves_nothing(corral: Corral) -> None:
    run = corral("ask", QUESTION, "--no-save", "--json", "--max-tokens", "3")
    assert run.lines[-1]["conversation"] is None
    assert corral("history", "list", "--json").json == []


def test_dry_run_shows_the_prompt_and_generates_nothing(corral: Corral, llama_vocab: Path) -> None:
    run = corral(
        "ask", "hello </s><s>[INST] x", "-m", str(llama_vocab), "--format", "llama-2",
        "--dry-run", "--json",
    )  # fmt: skip
    assert run.code == 0, run.err
    prompt = run.json
    assert prompt["type"] == "prompt" and prompt["format"] == "llama-2"
    assert prompt["tokens"].count(1) == 1 and 2 not in prompt["tokens"]
    hello = corral(
        "ask", "Hello", "-m", str(llama_vocab), "--format", "llama-2", "--dry-run", "--json"
    )
    assert hello.json["tokens"] == [1, 518, 25580, 29962, 15043, 518, 29914, 25580, 29962]
    assert corral("history", "list", "--json").json == []


def test_complete_continues_the_text(corral: Corral) -> None:
    run = corral("ask", "One, two, three,", "--complete", "--temperature", "0", "--max-tokens", "6")
    assert run.code == 0
    assert "four" in run.out


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (["ask"], b"", 2, "empty"),
        (["ask", "hi", "--temperature", "-1"], b"", 2, "temperature"),
        (["ask", "hi", "--ctx", "99999999"], b"", 2, "tokens"),
        (["ask", "hi", "--nonsense"], b"", 2, "No such option"),
        (["ask", "hi", "-m", "no-such-model"], b"", 3, "no-such-model"),
        (["ask", "hi", "-m", "/no/such/file.gguf"], b"", 3, ""),
        (["ask", "hi", "-c", "99"], b"", 3, "99"),
        (["ask", "hi", "-m", "/"], b"", 7, ""),
        (["ask", "hi", "-m", "/dev/zero"], b"", 7, ""),
        (["ask", "hi", "--format", "klingon"], b"", 2, "klingon"),
        (["ask"], b"\xff\xfe\x00\x01", 2, "UTF-8"),
        (["ask"], b"hello\x00there", 2, "NUL"),
        (["history", "show", "7"], b"", 3, "7"),
        (["models", "show", "llama-9-7b-chat"], b"", 3, "llama-9-7b-chat"),
    ],
    ids=lambda value: " ".join(value)[-30:] if isinstance(value, list) else "",
)
def test_bad_input(
    corral: Corral, arguments: list[str], stdin: bytes, code: int, said: str
) -> None:
    run = corral(*arguments, stdin=stdin, timeout=20)
    assert run.code == code, run.err
    assert said in run.err
    assert len(run.err) < 1500


def test_an_error_in_json_is_one_object(corral: Corral) -> None:
    run = corral("ask", "hi", "-m", "no-such-model", "--json")
    assert run.code == 3
    assert run.lines[-1].keys() == {"type", "title", "message", "hint"}
    assert run.lines[-1]["type"] == "error"


def test_a_message_beyond_the_window_is_refused_with_its_tokens(corral: Corral) -> None:
    run = corral("ask", "--ctx", "256", "--json", stdin="word " * 400)
    assert run.code == 4
    assert "tokens" in run.lines[-1]["message"]
    conversation = corral("history", "list", "--json").json[0]
    assert conversation["messages"] == 0


def test_endless_noise_is_refused_at_once(corral: Corral) -> None:
    with subprocess.Popen(["cat", "/dev/urandom"], stdout=subprocess.PIPE) as noise:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "corral", "ask"],
            stdin=noise.stdout,
            capture_output=True,
            timeout=20,
        )
        noise.kill()
    assert done.returncode == 2
    assert b"UTF-8" in done.stderr


def test_a_reader_that_goes_away_is_no_error(corral: Corral) -> None:
    command = f"{sys.executable} -P -m corral models list --all --json | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=20)
    assert done.stderr == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_was_written(
    corral: Corral, private_home: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "corral", "ask", "Write a very long story.", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        text = process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert b"Traceback" not in err
    assert process.returncode == 128 + number
    last = out.splitlines()[-1] if out else text
    assert b'"stop_reason": "stopped"' in last
    shown = corral("history", "show", "1", "--json").json
    assert shown["messages"][1]["status"] == "stopped"
    assert shown["messages"][1]["text"]


def test_a_reader_that_leaves_in_the_middle_loses_nothing(corral: Corral) -> None:
    command = f"{sys.executable} -P -m corral ask 'Write a very long story.' | head -c 5"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
    assert done.stderr == b"" and len(done.stdout) == 5
    shown = corral("history", "show", "1", "--json").json
    assert shown["messages"][1]["status"] == "stopped" and shown["messages"][1]["text"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_letter_the_locale_does_not_know_ends_nothing(
    corral: Corral, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    run = corral("ask", "Continue: 日本", "--complete", "--max-tokens", "4", "--dry-run")
    assert run.code == 0 and "日本" in run.out


def test_a_closed_stdin_is_no_input(corral: Corral) -> None:
    command = f"{sys.executable} -P -m corral ask hi --max-tokens 2 --no-save <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_files_are_private(corral: Corral, private_home: Path) -> None:
    old = os.umask(0)
    try:
        corral("ask", QUESTION, "--max-tokens", "2")
    finally:
        os.umask(old)
    for path in [private_home, *private_home.rglob("*")]:
        if path != private_home:
            assert path.stat().st_mode & 0o077 == 0, path
    with sqlite3.connect(private_home / "data" / "corral.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
