"""``corral models``: the real program against the loopback hub."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Corral
from tests.support.gguf_files import tiny_llama
from tests.support.hub import COMMIT, TOKEN, HubServer, flip, hub_server

from corral.cli.models_pull import why
from corral.cli.progress import Bar
from corral.models.transfer.pieces import PIECE
from corral.store.downloads import Download, State

REPOSITORY = "somebody/tiny-GGUF"
LICENCE = b"TINY LICENCE AGREEMENT\n\nBe kind \x1b[31mto llamas.\n"

CATALOGUE = """
[licence.llama2]
repository = "somebody/tiny-GGUF"
revision = "{commit}"
files = ["LICENSE.txt"]

[family.tiny-chat]
title = "Tiny Chat"
size = "7M"
kind = "chat"
licence = "llama2"
format = "llama-2"
repository = "somebody/tiny-GGUF"
revision = "{commit}"
n_vocab = 1000
n_layer = 2
n_embd = 512
n_head = 4
n_head_kv = 2
n_ff = 1536
recommended = "F32"
files = [
  {{ quant = "F32", file = "tiny.F32.gguf", bytes = {bytes}, sha256 = "{sha256}" }},
  {{ quant = "Q8_0", file = "tiny.Q8_0.gguf", gigabytes = 0.007, sha256 = "{other}" }},
]
"""


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 27 MB: four pieces."""
    path = tmp_path_factory.mktemp("weights") / "tiny.F32.gguf"
    return tiny_llama(path, n_embd=512, n_ff=1536)


@dataclass
class Shop:
    """The hub, and what the catalogue says of it."""

    hub: HubServer
    weights: Path

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.weights.read_bytes()).hexdigest()

    @property
    def size(self) -> int:
        return self.weights.stat().st_size

    def add(self, weights: Path | bytes, **options: object) -> None:
        files = {"tiny.F32.gguf": weights, "LICENSE.txt": LICENCE}
        self.hub.add(REPOSITORY, files, licence="llama2", **options)  # type: ignore[arg-type]


@pytest.fixture
def shop(weights: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with hub_server() as hub:
        for name, value in hub.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        shop = Shop(hub, weights)
        shop.add(weights)
        (private_home / "config").mkdir(parents=True)
        (private_home / "config" / "models.toml").write_text(
            CATALOGUE.format(commit=COMMIT, bytes=shop.size, sha256=shop.sha256, other="b" * 64)
        )
        yield shop


DOWNLOAD = Download(
    id=1, name="a:Q", title="A", family=None, quant="Q", repository="a/b", revision=COMMIT,
    licence=None, folder="/", targets=(), bytes=1,
)  # fmt: skip
AGREED = ("--accept-licence", "llama2")


def test_a_licence_is_accepted_once_and_the_model_comes(
    corral: Corral, shop: Shop, private_home: Path
) -> None:
    refused = corral("models", "pull", "tiny-chat", "--accept-licence", "mit")
    assert refused.code == 7
    assert "--accept-licence llama2" in refused.err and "ai.meta.com" in refused.err
    assert shop.hub.sent() == 0

    run = corral("models", "pull", "tiny-chat", *AGREED, "--json")
    assert run.code == 0
    *progress, done = run.lines
    assert progress and all(
        set(line) >= {"type", "bytes", "total", "bytes_per_second", "eta_s"}
        and (line["type"], line["total"]) == ("progress", shop.size)
        for line in progress
    )
    path = Path(done["path"])
    assert done == {
        "type": "done", "name": "tiny-chat:F32", "path": str(path), "sha256": shop.sha256,
        "fetched_bytes": shop.size,
    }  # fmt: skip
    assert path.read_bytes() == shop.weights.read_bytes()
    assert path.parent == private_home / "data/models/somebody--tiny-GGUF"
    assert (path.parent / "LICENSE.txt").read_bytes() == LICENCE

    asked = len(shop.hub.log)
    again = corral("models", "pull", "TINY-CHAT:f32", "--json")
    assert again.lines == [done | {"fetched_bytes": 0}]
    assert len(shop.hub.log) == asked, "what is here needs no network"
    listed = {model["name"]: model for model in corral("models", "list", "--json").json}
    model = listed["tiny-chat:F32"]
    assert (model["state"], model["source"], model["licence"]) == (
        "installed",
        "download",
        "llama2",
    )
    assert model["bytes"] == shop.size and model["sha256"] == shop.sha256
    answer = corral("ask", "hello", "-m", "tiny-chat", "--max-tokens", "2", "--json")
    assert answer.lines[-1]["model"]["sha256"] == shop.sha256


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "corral", "models", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_bytes(process: subprocess.Popen[str], wanted: int) -> None:
    """Until a line of ``pull --json`` tells of so many bytes."""
    assert process.stdout
    for line in process.stdout:
        told = json.loads(line)
        assert told["type"] == "progress", told
        if told["bytes"] >= wanted:
            return
    raise AssertionError("it ended")


def test_after_ctrl_c_the_same_command_goes_on(corral: Corral, shop: Shop) -> None:
    shop.hub.rate = 4e6  # Slow enough for Ctrl+C to come in time, on a busy machine too.
    process = start("pull", "tiny-chat", *AGREED, "--json")
    wait_for_bytes(process, PIECE)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "the same command goes on" in err and "Traceback" not in err
    shop.hub.rate = 0
    shop.hub.settle()
    before = shop.hub.sent()
    assert before < shop.size
    done = corral("models", "pull", "tiny-chat", "--json").lines[-1]
    assert done["sha256"] == shop.sha256
    assert done["fetched_bytes"] <= shop.size - PIECE
    shop.hub.settle()
    assert shop.hub.sent() <= shop.size + 2 * PIECE


def test_a_second_pull_only_looks_on(corral: Corral, shop: Shop) -> None:
    shop.hub.rate = 3e6  # Slow enough for a second one to start meanwhile, on a busy machine too.
    first = start("pull", "tiny-chat", *AGREED, "--json")
    wait_for_bytes(first, 1)
    second = start("pull", "tiny-chat", "--json")
    wait_for_bytes(second, 1)
    second.send_signal(signal.SIGINT)
    assert "goes on in the corral that is open" in second.communicate(timeout=10)[1]
    assert second.returncode == 130
    shop.hub.rate = 0
    run = corral("models", "pull", "tiny-chat", "--json")
    assert run.lines[-1]["sha256"] == shop.sha256
    out, _ = first.communicate(timeout=20)
    assert first.returncode == 0
    assert json.loads(out.splitlines()[-1])["sha256"] == shop.sha256
    shop.hub.settle()
    assert shop.hub.sent() == shop.size, "the bytes came once"


def at_terminal(typed: dict[bytes, bytes], *arguments: str) -> tuple[int, bytes]:
    """Runs the program at a pseudo-terminal of 90 columns.

    Args:
        typed: what is answered when a text is seen, in order.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "corral", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(theirs)
    output, answers, seen = b"", list(typed.items()), 0
    deadline = time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    output += os.read(ours, 65536)
                except OSError:
                    break
            if answers and answers[0][0] in output[seen:]:
                seen = len(output)
                os.write(ours, answers.pop(0)[1])
        assert not answers, output[-2000:]
        return process.wait(10), output
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_at_a_terminal_the_licence_is_shown_and_asked(corral: Corral, shop: Shop) -> None:
    shop.hub.rate = 20e6
    code, output = at_terminal({b"agree? [y/N]": b"n\r"}, "models", "pull", "tiny-chat")
    assert code == 7
    assert b"TINY LICENCE AGREEMENT" in output and b"\x1b[31m" not in output
    assert shop.hub.sent() == 0
    code, output = at_terminal({b"agree? [y/N]": b"y\r"}, "models", "pull", "tiny-chat")
    assert code == 0
    text = output.decode()
    assert re.search(r"Tiny Chat F32  ▓+░+  \d+ %  0\.\d\d of 0\.03 GB  \d.* left", text), text
    bars = [line for line in re.split(r"[\r\n]+", text) if "░" in line]
    assert all(len(line) < 90 for line in bars), "a bar never wraps"
    assert "tiny-chat:F32 is here" in text
    code, output = at_terminal({b"Remove it?": b"n\r"}, "models", "remove", "tiny-chat")
    assert code == 7 and b"frees 0.03 GB" in output
    assert corral("models", "list", "--json").json[0]["state"] == "installed"


def test_plain_lines_come_about_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    bar = Bar("Tiny\x1b[31m", clock=lambda: now)
    for step in range(250):
        now = 100.0 + step / 10
        bar.show(step * 1_000_000, 250_000_000, 10e6, 25 - step / 10, "checking")
    told = capsys.readouterr()
    assert not told.out and "\x1b" not in told.err
    assert [line.split("  ")[1] for line in told.err.splitlines()] == ["0 %", "40 %", "80 %"]
    assert "0.10 of 0.25 GB  10.0 MB/s  15 s left  checking" in told.err


def test_bad_names_are_told(corral: Corral, shop: Shop) -> None:
    unknown = corral("models", "pull", "llama-2-7b-caht:Q4_K_M")
    assert unknown.code == 3 and "llama-2-7b-chat:Q4_K_M" in unknown.err
    quant = corral("models", "pull", "tiny-chat:Q9_K")
    assert quant.code == 3 and "F32, Q8_0" in quant.err
    for name in ("../../etc/passwd", "a/b\x1b]0;title\x07:Q4_0", "somebody/nothing"):
        run = corral("models", "pull", name)
        assert run.code in (2, 3, 7), (name, run)
        assert "corral: " in run.err and "hint" in run.err
    first = corral("models", "pull", "llama-7b:Q4_0")
    assert first.code == 7 and "import" in first.err
    starter = corral("models", "pull", "smollm2-135m-instruct", "--json")
    assert starter.code == 0 and starter.lines[-1]["fetched_bytes"] == 0
    assert shop.hub.sent() == 0


def test_without_a_network(corral: Corral, shop: Shop) -> None:
    offline = corral("--offline", "models", "pull", "tiny-chat", *AGREED)
    assert offline.code == 6 and "offline" in offline.err.lower()
    assert corral("--offline", "models", "search", "llama").code == 6
    assert not shop.hub.log
    shop.hub.stop()
    began = time.monotonic()
    down = corral("models", "pull", "tiny-chat", *AGREED)
    assert down.code == 6 and "127.0.0.1" in down.err
    assert time.monotonic() - began < 60
    shop.hub.start()


def test_gated_repositories(corral: Corral, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.add(shop.weights, gated=True)
    without = corral("models", "pull", "tiny-chat", *AGREED)
    assert without.code == 7 and "HF_TOKEN" in without.err
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    wrong = corral("models", "pull", "tiny-chat", *AGREED)
    assert wrong.code == 7 and "hf_wrong" not in wrong.err
    assert shop.hub.sent() == 0
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    run = corral("models", "pull", "tiny-chat", *AGREED, "--json")
    assert run.lines[-1]["sha256"] == shop.sha256


def test_a_pin_that_does_not_match_is_refused_before_a_byte(corral: Corral, shop: Shop) -> None:
    changed = shop.weights.read_bytes()[:-1] + b"x"
    shop.add(changed)
    run = corral("models", "pull", "tiny-chat", *AGREED)
    assert run.code == 7 and "changed upstream" in run.err
    assert shop.hub.sent() == 0
    assert [m["name"] for m in corral("models", "list", "--json").json] == ["smollm2-135m-instruct"]


def test_wrong_bytes_are_kept_aside_and_repaired(corral: Corral, shop: Shop) -> None:
    shop.hub.fault(flip(PIECE + 5))
    run = corral("models", "pull", "tiny-chat", *AGREED)
    assert run.code == 7 and "not the file that was promised" in run.err
    states = {m["name"]: m["state"] for m in corral("models", "list", "--json").json}
    assert states["tiny-chat:F32"] == "paused"
    shop.hub.settle()
    before = shop.hub.sent()
    again = corral("models", "pull", "tiny-chat", "--json")
    assert again.lines[-1]["sha256"] == shop.sha256
    shop.hub.settle()
    assert shop.hub.sent() - before <= shop.size


def test_damage_is_found_and_only_its_piece_comes_again(corral: Corral, shop: Shop) -> None:
    corral("models", "pull", "tiny-chat", *AGREED)
    path = Path(corral("models", "pull", "tiny-chat", "--json").lines[-1]["path"])
    right = corral("models", "verify", "tiny-chat", "--json")
    assert right.code == 0 and right.json[0]["ok"] and right.json[0]["sha256"] == shop.sha256
    with path.open("r+b") as file:
        file.seek(2 * PIECE + 100)
        byte = file.read(1)
        file.seek(2 * PIECE + 100)
        file.write(bytes([byte[0] ^ 1]))
    wrong = corral("models", "verify", "--all", "--json")
    assert wrong.code == 7
    result = next(one for one in wrong.json if one["name"] == "tiny-chat:F32")
    assert not result["ok"] and result["damaged_pieces"] == [2] and "piece" in result["reason"]
    assert "--repair" in corral("models", "verify", "tiny-chat").err
    assert corral("ask", "hello", "-m", "tiny-chat").code == 7
    shop.hub.settle()
    before = shop.hub.sent()
    mended = corral("models", "verify", "--repair", "tiny-chat", "--json")
    assert mended.code == 0 and mended.json[0]["repaired"]
    assert mended.json[0]["sha256"] == shop.sha256
    shop.hub.settle()
    assert shop.hub.sent() - before == mended.json[0]["fetched_bytes"] == PIECE
    assert path.read_bytes() == shop.weights.read_bytes()

    removed = corral("models", "remove", "tiny-chat", "--json")
    assert removed.json[0]["ok"] and removed.json[0]["freed_bytes"] >= shop.size
    assert not path.exists() and "deleted" in removed.err
    gone = corral("models", "remove", "tiny-chat", "--json")
    assert gone.code == 3 and not gone.json[0]["ok"]


def test_other_repositories_of_the_hub(corral: Corral, shop: Shop) -> None:
    small = tiny_llama(shop.weights.with_name("other.gguf"), type="Q8_0", chat_template="{{ 1 }}")
    files: dict[str, bytes | Path] = {"other.Q8_0.gguf": small, "README.md": b"# Other"}
    shop.hub.add("else/Other-GGUF", files, licence="mit", downloads=1234)
    found = corral("models", "search", "other", "--json")
    assert found.json[0]["name"] == "else/Other-GGUF" and found.json[0]["downloads"] == 1234
    assert "else/Other-GGUF:Q8_0" in corral("models", "show", "else/Other-GGUF").out
    run = corral("models", "pull", "else/Other-GGUF:Q8_0", "--json")
    assert run.code == 0, run
    assert run.lines[-1]["name"] == "else/Other-GGUF:Q8_0"
    assert "not in the catalogue" in run.err
    model = next(m for m in corral("models", "list", "--json").json if m["source"] == "download")
    assert (model["licence"], model["format"]) == ("mit", "template")


FIT = {
    "name", "n_ctx", "kv_type", "bytes", "device_bytes", "free_bytes", "fits", "gpu_layers",
    "layers", "tokens_per_second", "first_token_ms", "quality_loss", "measured", "reason",
}  # fmt: skip


def test_fit_and_show_before_anything_is_here(corral: Corral, shop: Shop) -> None:
    run = corral("models", "fit", "llama-2-70b-chat:q6_k", "--ctx", "2048", "--json")
    assert run.code == 0
    fit = run.json
    assert set(fit) >= FIT and (fit["n_ctx"], fit["layers"]) == (2048, 81)
    assert fit["bytes"]["total"] == sum(v for k, v in fit["bytes"].items() if k != "total")
    assert 56e9 < fit["bytes"]["weights"] < 57e9 and fit["quality_loss"] == 0.16
    if fit["fits"] == "no" and not fit["fits_if_released"]:
        assert fit["missing"] > 0 and "short" in fit["reason"]
    half = corral("models", "fit", "llama-2-70b-chat:Q6_K", "--ctx", "2048", "--kv", "q8_0")
    assert half.code == 0 and "KV cache q8_0" in half.out and "Why" in half.out

    shown = corral("models", "show", "llama-2-70b-chat:Q6_K", "--json").json
    assert (shown["state"], shown["pinned"]) == ("available", False)
    assert shown["card"].endswith("TheBloke/Llama-2-70B-Chat-GGUF")
    assert shown["licence_title"] == "Llama 2 Community License"
    assert not shop.hub.log, "the catalogue's numbers suffice"

    small = tiny_llama(shop.weights.with_name("fit.gguf"), context=512)
    shop.hub.add("else/Other-GGUF", {"other.F32.gguf": small, "x/../y.gguf": b""}, licence="mit")
    fit = corral("models", "fit", "else/Other-GGUF:F32", "--json").json
    assert fit["bytes"]["weights"] <= small.stat().st_size and fit["n_ctx"] == 512
    listing = corral("models", "show", "else/Other-GGUF", "--json").json
    assert [file["name"] for file in listing["files"]] == ["else/Other-GGUF:F32"]


HUGE = """
[family.huge-chat]
title = "Huge Chat"
size = "700B"
kind = "chat"
licence = "mit"
format = "llama-2"
repository = "somebody/huge-GGUF"
revision = "{commit}"
n_layer = 80
n_embd = 8192
n_head = 64
n_head_kv = 8
n_ff = 28672
recommended = "Q2_K"
files = [{{ quant = "Q2_K", file = "huge.Q2_K.gguf", gigabytes = 5000, sha256 = "{sha256}" }}]
"""


def test_what_is_too_large_for_the_machine_is_told_first(
    corral: Corral, shop: Shop, private_home: Path
) -> None:
    path = private_home / "config" / "models.toml"
    path.write_text(HUGE.format(commit=COMMIT, sha256=shop.sha256))
    shop.hub.add("somebody/huge-GGUF", {"huge.Q2_K.gguf": shop.weights})
    fit = corral("models", "fit", "huge-chat", "--json").json
    assert fit["fits"] == "no" and fit["missing"] > 4e12
    run = corral("models", "pull", "huge-chat")
    assert run.code == 0
    assert "does not run on this machine" in run.err and "short" in run.err
    path.write_text(path.read_text().replace("n_ff", "n_fff"))
    broken = corral("models", "list")
    assert broken.code == 0 and f"{path}, line 14: huge-chat.n_fff" in broken.err


@pytest.mark.parametrize(
    ("state", "more", "code"),
    [
        ("failed", {"error": "It is not the file"}, 7),
        ("queued", {"note": "The hub does not answer; next attempt at 10:00", "tries": 2}, 6),
        ("paused", {"error": "The disk is full"}, 4),
        ("paused", {}, 1),
    ],
)
def test_a_download_that_ends_early_has_its_exit_code(
    state: State, more: dict[str, Any], code: int
) -> None:
    error = why(replace(DOWNLOAD, state=state, hint="Free some", **more))
    assert error.exit_code == code and error.message
    assert error.hint == "Free some. What has arrived is kept; the same command goes on with it"


def test_files_are_copied_and_moved(corral: Corral, tmp_path: Path) -> None:
    for option in ("--copy", "--move"):
        path = tiny_llama(tmp_path / f"mine{option}.gguf", seed=len(option))
        inode = path.stat().st_ino
        run = corral("models", "import", str(path), option, "--json")
        assert run.code == 0
        here = Path(run.json[0]["path"])
        assert "imported" in here.parts and here.is_file()
        assert path.exists() == (option != "--move")
        assert (here.stat().st_ino == inode) == (option == "--move")


def test_models_of_other_programs(
    corral: Corral, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    assert corral("models", "adopt", "--json").json == []
    path = tmp_path / "person/.lmstudio/models/somebody/tiny-GGUF/tiny.gguf"
    path.parent.mkdir(parents=True)
    tiny_llama(path)
    path.with_name("broken.gguf").write_bytes(b"GGUF")
    listed = corral("models", "adopt", "--list", "--json")
    assert listed.code == 0
    good = next(one for one in listed.json if one["ok"])
    assert (good["path"], good["program"], good["known"]) == (str(path), "LM Studio", False)
    assert next(one for one in listed.json if not one["ok"])["reason"]
    assert corral("models", "adopt", "Ollama").code == 3
    adopted = corral("models", "adopt", good["name"], "--json")
    assert [(one["path"], one["ok"]) for one in adopted.json] == [(str(path), True)]
    model = next(m for m in corral("models", "list", "--json").json if m["path"] == str(path))
    assert (model["source"], model["state"]) == ("adopted", "installed")
    removed = corral("models", "remove", model["name"])
    assert removed.code == 0 and "stays" in removed.err and path.exists()
