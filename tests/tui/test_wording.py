"""Words and numbers of the chat screen, and the tree behind it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from corral import trouble
from corral.chat.conversation import Message, Role
from corral.chat.window import Seen, recorded
from corral.chatting import Working
from corral.errors import CorralError
from corral.tui import links, wording
from corral.tui.dialogue import Dialogue
from corral.tui.widgets.line import Part, fit
from corral.tui.widgets.markdown import code_blocks
from corral.tui.widgets.message import cut, remainder


def message(id: int, parent: int | None = None, role: Role = "assistant", **values: Any) -> Message:
    given: dict[str, Any] = {"text": "", "status": "complete", "created": 0.0}
    return Message(id, 1, parent, role, **(given | values))


def test_numbers() -> None:
    assert wording.number(1287) == "1 287"
    assert wording.number(12) == "12"
    assert wording.meter(0.3, 10) == "▰▰▰▱▱▱▱▱▱▱"
    assert wording.meter(0.001, 10) == "▰▱▱▱▱▱▱▱▱▱"
    assert wording.meter(7, 3) == "▰▰▰"
    assert wording.seconds(180) == "0.18 s"
    assert wording.seconds(12_400) == "12 s"
    assert wording.seconds(125_000) == "2 min 5 s"
    assert wording.speed(41.23) == "41.2 tok/s"
    assert wording.speed(412.3) == "412 tok/s"


def test_statistics_say_what_is_known() -> None:
    usage = {"prompt_tokens": 1061, "reused_tokens": 1024, "completion_tokens": 212}
    timings = {"tokens_per_second": 41.2, "first_token_ms": 180.0}
    assert wording.statistics(message(1, usage=usage, timings=timings)) == [
        "212 tokens",
        "41.2 tok/s",
        "first token 0.18 s",
        "reused 1 024 of 1 061",
    ]
    guessed = usage | {"drafted_tokens": 256, "accepted_tokens": 136}
    assert wording.statistics(message(1, usage=guessed, timings=timings)) == [
        "212 tokens",
        "41.2 tok/s",
        "64 % guessed",
        "first token 0.18 s",
        "reused 1 024 of 1 061",
    ]
    guessed["accepted_tokens"] = 0
    assert "guessed" not in " ".join(wording.statistics(message(1, usage=guessed)))
    assert wording.statistics(message(1)) == []
    # A damaged row is no reason to end.
    assert wording.statistics(message(1, usage={"completion_tokens": "many"})) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ""),
        ({"status": "stopped", "model": {"name": "x"}, "text": "a"}, "stopped"),
        ({"status": "stopped", "text": "a"}, "interrupted"),
        ({"status": "stopped"}, "stopped"),
        ({"status": "failed", "error": "no memory"}, "failed: no memory"),
        ({"stop_reason": "length"}, "the token limit ended it here"),
    ],
)
def test_endings(values: dict[str, Any], words: str) -> None:
    assert wording.ending(message(1, **values)) == words


def test_progress() -> None:
    assert wording.progress(Working("loading", 0.43, 1.0), "m") == ("Loading m", 0.43)
    assert wording.progress(Working("reading", 512, 1061), "m") == (
        "Reading 512 of 1 061 tokens",
        512 / 1061,
    )
    assert wording.progress(Working("starting"), "") == ("Starting", None)


def test_groups() -> None:
    now = time.mktime((2026, 3, 12, 15, 0, 0, 0, 0, -1))
    hour, day = 3600.0, 86_400.0
    assert wording.group(now - 14 * hour, now) == "Today"
    assert wording.group(now - 16 * hour, now) == "Yesterday"
    assert wording.group(now - 3 * day, now) == "This week"
    assert wording.group(now - 10 * day, now) == "March"
    assert wording.group(now - 100 * day, now) == "December 2025"


def test_a_line_gives_up_what_matters_least() -> None:
    left = [Part("▲"), Part("corral", rank=3), Part("A long title")]
    right = [Part("model"), Part("GPU", rank=5), Part("41 tok/s", rank=4)]
    widths = (60, 38, 34, 26, 20, 8)
    shown = [fit(left, right, width, " ").plain for width in widths]
    assert shown[0] == "▲ corral A long title".ljust(42) + "model GPU 41 tok/s"
    assert shown[1] == "▲ corral A long title".ljust(24) + "model 41 tok/s"
    assert shown[2] == "▲ corral A long title".ljust(29) + "model"
    assert shown[3] == "▲ A long title".ljust(21) + "model"
    assert shown[4] == "▲ A long tit…  model"
    assert all(len(text) <= width for text, width in zip(shown, widths, strict=True))


def test_where_long_messages_are_cut() -> None:
    assert cut("short", 5, 100) == 5
    text = "\n".join("abcdefghij")
    assert text[: cut(text, 3, 100)] == "a\nb\nc"
    assert cut("x" * 500, 5, 100) == 100
    assert remainder(text, cut(text, 3, 100)).startswith("… 7 more lines, 14 characters")
    assert remainder(text, len(text)) == ""


def test_blocks_of_code() -> None:
    text = (
        "a\n\n```py\nx = 1\n```\n\n- list\n\n  ~~~\n  nested\n  ~~~\n\n"
        "end\n\n    indented\n\n```\n\n```"
    )
    assert code_blocks(text) == ["x = 1", "nested", "indented"]


def test_a_damaged_chain_gives_what_hangs_together() -> None:
    loop = Dialogue([message(1, 2), message(2, 1)], 2)
    assert [m.id for m in loop.path()] == [1, 2]
    torn = Dialogue([message(5, 4)], 5)
    assert [m.id for m in torn.path()] == [5]
    assert Dialogue([], 7).path() == []


def test_siblings() -> None:
    dialogue = Dialogue(
        [
            message(1, role="user"),
            message(2, 1),
            message(3, 2, "user"),
            message(4, 3),
            message(5, 1),
        ],
        5,
    )
    five = dialogue.path()[-1]
    assert dialogue.place(five) == (2, 2)
    two = dialogue.sibling(five, -1)
    assert two is not None
    assert two.id == 2
    assert dialogue.leaf(two) == 4
    assert dialogue.sibling(five, 1) is None


def test_the_window_of_the_last_answer_counts() -> None:
    model = {"name": "x"}
    path = [
        message(1, role="user"),
        message(2, 1, model=model, parameters={"window_from": 1}),
        message(3, 2, "user"),
        message(4, 3, model=model, parameters={"window_from": 3}),
        message(5, 4, "user"),
        message(6, 5, status="failed"),
    ]
    assert recorded(path) == Seen(((1, 3),))
    assert recorded([*path, message(7, 6, "user"), message(8, 7, model=model)]) == Seen()


def test_targets_of_links() -> None:
    found = links.target("http://user:pw@bücher.example:8080/a b?c=ü#d")
    assert found is not None
    assert found.host == "xn--bcher-kva.example"
    assert found.url == "http://xn--bcher-kva.example:8080/a%20b?c=%C3%BC#d"
    assert links.target("https://") is None
    assert links.target("https://a:b:c/") is None
    assert links.target("https://x/" + "a" * 3000) is None
    spoofed = links.target("https://x/\u202e\x1b]52")
    assert spoofed is not None
    assert spoofed.url.isascii()
    assert "\x1b" not in spoofed.url


def test_a_log_without_words(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "corral.log"
    try:
        try:
            raise ValueError("my words")
        except ValueError as error:
            raise CorralError("more words") from error
    except CorralError as error:
        assert trouble.write_down(log, error)
        failure = error
    written = log.read_text()
    assert "builtins.ValueError\n" in written
    assert "corral.errors.CorralError\n" in written
    assert log.stat().st_mode & 0o077 == 0
    assert not trouble.write_down(tmp_path, failure)
