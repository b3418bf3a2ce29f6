"""Vim's keys in the box."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.support.chat_app import History, chat, lines_of
from tests.support.scripted_engine import Script
from textual import events
from textual.app import App, ComposeResult
from textual.widgets import TextArea

from corral.settings import Settings
from corral.tui.setting import SETTINGS
from corral.tui.widgets.vim import Vim

ON = Settings(vim=True)


class Host(App[None]):
    """A text and vim's keys, without the rest."""

    def compose(self) -> ComposeResult:
        yield TextArea()


CASES = [
    # what stands there, where the cursor is, what is typed, what stands there then, and the cursor
    ("one two", (0, 0), "w", "one two", (0, 4)),
    ("one two", (0, 4), "b", "one two", (0, 0)),
    ("one two", (0, 0), "e", "one two", (0, 2)),
    ("one two", (0, 2), "e", "one two", (0, 6)),
    ("one, two", (0, 0), "w", "one, two", (0, 3)),
    ("one, two", (0, 0), "W", "one, two", (0, 5)),
    ("a b c d e", (0, 0), "3w", "a b c d e", (0, 6)),
    ("one\n\n  two", (0, 0), "w", "one\n\n  two", (1, 0)),
    ("one\n\n  two", (1, 0), "w", "one\n\n  two", (2, 2)),
    ("one\n\n  two", (2, 2), "b", "one\n\n  two", (1, 0)),
    ("  one", (0, 4), "0", "  one", (0, 0)),
    ("  one", (0, 4), "^", "  one", (0, 2)),
    ("  one", (0, 0), "$", "  one", (0, 4)),
    ("one", (0, 0), "5l", "one", (0, 2)),
    ("one", (0, 2), "9h", "one", (0, 0)),
    ("1\n2\n  3", (0, 0), "G", "1\n2\n  3", (2, 2)),
    ("1\n2\n  3", (2, 2), "gg", "1\n2\n  3", (0, 0)),
    ("1\n2\n3", (0, 0), "2G", "1\n2\n3", (1, 0)),
    ("1\n2\n3", (0, 0), "j", "1\n2\n3", (1, 0)),
    ("1\n2\n3", (2, 0), "2k", "1\n2\n3", (0, 0)),
    ("a-b-c", (0, 0), "2f-", "a-b-c", (0, 3)),
    ("a-b-c", (0, 4), "F-", "a-b-c", (0, 3)),
    ("a-b-c", (0, 0), "dt-", "-b-c", (0, 0)),
    ("a-b-c", (0, 0), "fx", "a-b-c", (0, 0)),
    ("one", (0, 0), "x", "ne", (0, 0)),
    ("one", (0, 2), "x", "on", (0, 1)),
    ("one", (0, 0), "9x", "", (0, 0)),
    ("one", (0, 2), "X", "oe", (0, 1)),
    ("one two", (0, 3), "D", "one", (0, 2)),
    ("one two", (0, 0), "dw", "two", (0, 0)),
    ("one two\nthree", (0, 4), "dw", "one \nthree", (0, 3)),
    ("one two", (0, 4), "db", "two", (0, 0)),
    ("one two", (0, 0), "de", " two", (0, 0)),
    ("one two", (0, 0), "d$", "", (0, 0)),
    ("one two three", (0, 0), "d2w", "three", (0, 0)),
    ("one two three", (0, 5), "diw", "one  three", (0, 4)),
    ("one two three", (0, 5), "daw", "one three", (0, 4)),
    ("1\n2\n3", (1, 0), "dd", "1\n3", (1, 0)),
    ("1\n2\n3", (2, 0), "dd", "1\n2", (1, 0)),
    ("1\n2\n3", (0, 0), "2dd", "3", (0, 0)),
    ("1\n2\n3", (0, 0), "10dd", "", (0, 0)),
    ("only", (0, 2), "dd", "", (0, 0)),
    ("1\n2\n3", (0, 0), "dj", "3", (0, 0)),
    ("1\n2\n3", (1, 0), "dG", "1", (0, 0)),
    ("1\n2\n3", (1, 0), "dgg", "3", (0, 0)),
    ("1\n2", (0, 0), "ddp", "2\n1", (1, 0)),
    ("1\n2", (0, 0), "yyp", "1\n1\n2", (1, 0)),
    ("1\n2", (1, 0), "yyP", "1\n2\n2", (1, 0)),
    ("1\n2", (0, 0), "yj2p", "1\n1\n2\n1\n2\n2", (1, 0)),
    ("ab", (0, 0), "xp", "ba", (0, 1)),
    ("one two", (0, 0), "yw$p", "one twoone ", (0, 10)),
    ("one two", (0, 0), "dwu", "one two", (0, 0)),
    ("abc", (0, 0), "xxuu", "abc", (0, 0)),
    ("aBc", (0, 0), "3~", "AbC", (0, 2)),
    ("abc", (0, 1), "rx", "axc", (0, 1)),
    ("abc", (0, 1), "5rx", "abc", (0, 1)),
    ("one\n  two", (0, 0), "J", "one two", (0, 3)),
    ("one", (0, 0), "qzZ", "one", (0, 0)),
    ("one two", (0, 0), "dqw", "one two", (0, 4)),
    ("one", (0, 0), "10lx", "on", (0, 1)),
    ("one", (0, 0), "yldhp", "oone", (0, 1)),
    # what is selected, both its ends included
    ("one two", (0, 0), "ved", " two", (0, 0)),
    ("one two", (0, 6), "vbd", "one ", (0, 3)),
    ("one two", (0, 5), "vd", "one to", (0, 5)),
    ("one two", (0, 1), "v3lx", "owo", (0, 1)),
    ("one two", (0, 5), "viwd", "one ", (0, 3)),
    ("one two three", (0, 5), "vawy$p", "one two threetwo ", (0, 16)),
    ("one two", (0, 0), "vfwohd", "o", (0, 0)),
    ("one two", (0, 0), "v$y", "one two", (0, 0)),
    ("1\n2\n3", (0, 0), "vjd", "\n3", (0, 0)),
    ("one\ntwo", (1, 1), "vkd", "oo", (0, 1)),
    ("1\n2\n3", (0, 0), "Vjd", "3", (0, 0)),
    ("1\n2\n3", (2, 0), "Vkd", "1", (0, 0)),
    ("1\n2\n3", (1, 0), "VGyP", "1\n2\n3\n2\n3", (1, 0)),
    ("1\n2\n3", (1, 0), "Vggy", "1\n2\n3", (0, 0)),
    ("1\n2\n3", (0, 0), "vjD", "3", (0, 0)),
    ("1\n2\n3", (0, 0), "V2jJ", "1 2 3", (0, 3)),
    ("one two", (0, 0), "ywwviwp", "one one ", (0, 4)),
    ("aBc", (0, 0), "vl~", "Abc", (0, 0)),
    ("aBc", (0, 0), "v$U", "ABC", (0, 0)),
    ("a\nb", (0, 0), "vjrx", "x\nx", (0, 0)),
    ("1\n2", (0, 0), "vVd", "2", (0, 0)),
    ("1\n2", (0, 0), "Vvd", "\n2", (0, 0)),
    ("one", (0, 0), "vlvx", "oe", (0, 1)),
    ("one", (0, 0), "vqzd", "ne", (0, 0)),
    ("", (0, 0), "vjkd", "", (0, 0)),
    ("one", (0, 0), "vdu", "one", (0, 0)),
]

TYPING = [
    ("one two", (0, 0), "cw", " two", (0, 0)),
    ("one two", (0, 4), "ciw", "one ", (0, 4)),
    ("one two", (0, 3), "C", "one", (0, 3)),
    ("1\n2\n3", (1, 0), "cc", "1\n\n3", (1, 0)),
    ("abc", (0, 1), "s", "ac", (0, 1)),
    ("abc", (0, 1), "i", "abc", (0, 1)),
    ("abc", (0, 1), "a", "abc", (0, 2)),
    ("  abc", (0, 4), "I", "  abc", (0, 2)),
    ("abc", (0, 0), "A", "abc", (0, 3)),
    ("1\n2", (0, 0), "o", "1\n\n2", (1, 0)),
    ("1\n2", (1, 0), "O", "1\n\n2", (1, 0)),
    ("", (0, 0), "A", "", (0, 0)),
    ("one two", (0, 0), "vec", " two", (0, 0)),
    ("1\n2\n3", (0, 0), "Vjc", "\n3", (0, 0)),
    ("1\n2\n3", (0, 0), "vjS", "\n3", (0, 0)),
]


async def test_keys_do_what_they_do_in_vim() -> None:
    async with Host().run_test() as pilot:
        area = pilot.app.query_one(TextArea)
        for mode, cases in (("normal", CASES), ("insert", TYPING)):
            for text, start, keys, then, cursor in cases:
                vim = Vim(area, lambda: None)
                area.load_text(text)
                vim.switch("normal")
                area.move_cursor(start)
                for key in keys:
                    vim.key(key)
                found = (area.text, area.cursor_location, vim.mode)
                assert found == (then, cursor, mode), (text, keys, found)


async def test_a_slip_of_the_count_is_no_trouble() -> None:
    async with Host().run_test() as pilot:
        area = pilot.app.query_one(TextArea)
        vim = Vim(area, lambda: None)
        area.load_text("word " * 100)
        vim.switch("normal")
        for key in "yy" + "9" * 40 + "p" + "9" * 40 + "w" + "9" * 40 + "k":
            vim.key(key)
        assert area.document.line_count == 1
        for key in "9" * 5_000 + "lv" + "9" * 5_000 + "h":  # more digits than Python reads
            vim.key(key)
        assert area.selected_text


async def test_esc_leaves_typing_and_i_goes_back_to_it(tmp_path: Path) -> None:
    async with chat(tmp_path, settings=ON) as c:
        await c.pilot.press(*"abc")
        assert "NORMAL" not in c.text()
        await c.pilot.press("escape")
        await c.until(lambda: "NORMAL" in c.text())
        await c.pilot.press("x", "Q", "a", "d")
        assert c.screen.prompt.text == "abd"
        await c.until(lambda: "NORMAL" not in c.text())
        await c.pilot.press("ctrl+u", "escape", *"/hel", "enter")  # a command begins typing, too
        await c.until(lambda: c.covered)


async def test_enter_sends_in_both_modes_and_typing_goes_on(tmp_path: Path) -> None:
    async with chat(tmp_path, settings=ON) as c:
        await c.pilot.press(*"hello", "escape", "enter")
        await c.until(lambda: c.path())
        await c.settled()
        assert c.path()[0].text == "hello"
        await c.pilot.press(*"dd")
        assert c.screen.prompt.text == "dd"


async def test_esc_still_stops_at_once(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["One ", "two"], hold_after=1), settings=ON) as c:
        await c.send("Count")
        await c.until(lambda: "One" in c.text())
        await c.pilot.press("escape")
        await c.settled()
        assert c.path()[-1].status == "stopped"


async def test_k_and_j_recall_at_the_edges(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("Two", ("one?", "one."), ("two?", "two."))

    async with chat(tmp_path, fill=fill, settings=ON) as c:
        await c.pilot.press("escape", "k")
        assert c.screen.prompt.text == "two?"
        await c.pilot.press("k", "j")
        assert c.screen.prompt.text == "two?"


async def test_a_folded_text_is_one_piece_for_vim_too(tmp_path: Path) -> None:
    async with chat(tmp_path, settings=ON) as c:
        await c.type("ab ")
        c.app.post_message(events.Paste("a line\n" * 500))
        await c.until(lambda: "501 lines" in c.screen.prompt.area.text)
        await c.pilot.press("escape", "x")
        assert c.screen.prompt.text == "ab "
        await c.pilot.press("u", "0", "d", "d", "P")
        assert "ab " + "a line\n" * 500 in c.screen.prompt.text


async def test_what_is_selected_is_shown_and_ctrl_r_takes_an_undo_back(tmp_path: Path) -> None:
    async with chat(tmp_path, settings=ON) as c:
        area = c.screen.prompt.area
        await c.type("one two three")
        await c.pilot.press("escape", "0", "v", "e", "right", "right")
        assert "VISUAL" in c.text() and area.selected_text == "one "  # up to the cursor on t
        await c.pilot.press("o", "l")  # the other end of it
        assert area.selected_text == "ne t"
        await c.pilot.press("b", "ctrl+c")
        assert c.app.clipboard == "one t"
        assert "NORMAL" in c.text() and "VISUAL" not in c.text() and area.selection.is_empty
        await c.pilot.press("V")
        assert "VISUAL LINE" in c.text() and area.selected_text == "one two three"
        await c.pilot.press("d", "u", "ctrl+r")
        assert area.text == ""
        await c.pilot.press("u")
        assert area.text == "one two three"
        # Another text may come in meanwhile, and the place where it began is gone.
        await c.pilot.press("G", "$", "v")
        c.screen.prompt.fill("ab")
        await c.pilot.press("d")
        assert area.text in ("a", "ab", "") and area.vim is not None and area.vim.mode == "normal"
        # A folded text is one piece here, too.
        c.screen.prompt.fill("")
        await c.pilot.press("i", "x")
        area.take("a line\n" * 500)
        await c.pilot.press("y", "escape", "0", "v", "l", "d")
        assert area.whole == "y"


async def test_it_is_a_setting_that_holds_at_once(tmp_path: Path) -> None:
    setting = next(one for group in SETTINGS.values() for one in group if one.name == "vim")
    async with chat(tmp_path, size=(60, 20)) as c:
        await c.pilot.press("escape", *"ix")
        assert c.screen.prompt.text == "ix"
        c.screen.keep_setting(setting, True, False)
        await c.pilot.press("escape", *"dd")
        assert c.screen.prompt.text == ""
        await c.until(lambda: any("NORMAL" in line for line in lines_of(c.app)))
        assert tomllib.loads(c.paths.settings_file.read_text()) == {"vim": True}
        c.screen.keep_setting(setting, False, True)
        await c.pilot.press(*"dd")
        assert c.screen.prompt.text == "dd"
        await c.until(lambda: "NORMAL" not in c.text())
