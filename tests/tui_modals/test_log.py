"""The engine's log: bounded, clean, and followed while it grows."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tests.tui_modals.host import HOSTILE, SIZES, Host, assert_harmless, is_shown, shown, until
from textual.widgets import Log

from corral.tui.screens.log import LogScreen
from corral.tui.screens.tailing import LONGEST_LINE, MOST_BYTES, MOST_LINES, Tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)


# --- reading --------------------------------------------------------------------------------------


def test_gives_only_what_was_added(log: Path) -> None:
    append(log, "one\ntwo")
    tail = Tail(log)
    assert tail.read() == (True, "one\ntwo")
    assert tail.read() == (False, "")
    append(log, " and a half\nthree\r\n")
    assert tail.read() == (False, " and a half\nthree\n")


def test_a_shorter_or_another_file_is_read_from_its_start(log: Path) -> None:
    append(log, "a long first line\n")
    tail = Tail(log)
    tail.read()
    log.write_text("short\n")
    assert tail.read() == (True, "short\n")
    log.rename(log.with_suffix(".old"))
    append(log, "a new file that is longer than the old one\n")
    assert tail.read() == (True, "a new file that is longer than the old one\n")


def test_of_a_large_file_only_the_end_is_read(log: Path) -> None:
    line = "x" * 99 + "\n"
    log.write_text(line * 20_000 + "the end\n")
    fresh, text = Tail(log).read()
    lines = text.split("\n")
    assert fresh and lines[-2:] == ["the end", ""]
    assert len(lines) == MOST_LINES + 1
    assert all(part == line[:-1] for part in lines[:-2])


def test_what_was_missed_is_skipped(log: Path) -> None:
    append(log, "first\n")
    tail = Tail(log)
    tail.read()
    append(log, "y" * (MOST_BYTES * 2) + "\nlast\n")
    assert tail.read() == (True, "last\n")


def test_lines_are_cut_also_across_reads(log: Path) -> None:
    append(log, "z" * 600)
    tail = Tail(log)
    text = tail.read()[1]
    for part in ("z" * 600, "z" * 600, "z\nnext\n"):
        append(log, part)
        text += tail.read()[1]
    first, second, rest = text.split("\n")
    assert first.startswith("z" * LONGEST_LINE) and first.endswith("…")
    assert len(first) == LONGEST_LINE + 1
    assert (second, rest) == ("next", "")


def test_half_a_character_waits_for_its_other_half(log: Path) -> None:
    whole = "é".encode()
    log.write_bytes(b"caf" + whole[:1])
    tail = Tail(log)
    assert tail.read() == (True, "caf")
    with log.open("ab") as file:
        file.write(whole[1:] + b"\xff\n")
    assert tail.read() == (False, "é\ufffd\n")


def test_is_cleaned(log: Path) -> None:
    append(log, f"{HOSTILE}\n")
    text = Tail(log).read()[1]
    assert "\x1b" not in text and "\u202e" not in text and "[/INST]" in text


# --- the screen -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_shows_the_end_and_follows(log: Path, size: tuple[int, int]) -> None:
    append(log, "".join(f"line {number} {HOSTILE}\n" for number in range(300)))
    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.open(LogScreen(log))
        await until(pilot, lambda: "line 299 [/INST]" in shown(pilot))
        assert_harmless(pilot)
        append(log, "and one more\n")
        await until(pilot, lambda: "and one more" in shown(pilot))


async def test_stays_where_one_scrolled_to(log: Path) -> None:
    append(log, "".join(f"line {number}\n" for number in range(300)))
    app = Host()
    async with app.run_test() as pilot:
        screen = LogScreen(log)
        await app.open(screen)
        await until(pilot, lambda: "line 299" in shown(pilot))
        await pilot.press("home")
        await until(pilot, lambda: "line 0 " in shown(pilot))
        append(log, "and one more\n")
        await until(pilot, lambda: screen.query_one(Log).line_count == 301)
        assert "line 0 " in shown(pilot)


async def test_does_not_grow_without_end(log: Path) -> None:
    append(log, "".join(f"old {number}\n" for number in range(MOST_LINES)))
    app = Host()
    async with app.run_test() as pilot:
        screen = LogScreen(log)
        await app.open(screen)
        await until(pilot, lambda: screen.query_one(Log).line_count == MOST_LINES)
        for batch in range(3):
            append(log, "".join(f"new {batch} {number}\n" for number in range(1_500)))
            last = f"new {batch} 1499"
            await until(pilot, partial(is_shown, pilot, last))
        assert screen.query_one(Log).line_count <= 2 * MOST_LINES + 1_500
        assert screen.query_one(Log).lines[-2] == "new 2 1499"


async def test_copies_clean_text(log: Path) -> None:
    append(log, f"one\n{HOSTILE}\n")
    app = Host()
    async with app.run_test(notifications=True) as pilot:
        await app.open(LogScreen(log))
        await until(pilot, lambda: "one" in shown(pilot))
        await pilot.press("c")
        await until(pilot, lambda: "Copied 2 lines" in shown(pilot))
        (copied,) = app.copied
        assert copied.startswith("one\n[/INST]") and "\x1b" not in copied


async def test_a_missing_file_says_so_and_is_shown_once_it_is_there(log: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(LogScreen(log))
        await until(pilot, lambda: "There is no log yet" in shown(pilot))
        await pilot.press("c")
        assert app.copied == []
        append(log, "here it is\n")
        await until(pilot, lambda: "here it is" in shown(pilot))
        assert "There is no log yet" not in shown(pilot)


async def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(LogScreen(tmp_path))
        await until(pilot, lambda: "The log cannot be read" in shown(pilot))
