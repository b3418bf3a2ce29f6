"""The cleaning function: nothing a terminal would obey gets through, however it is cut."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.text import clean, clean_line, shorten

PAYLOADS = {
    "clipboard": "\x1b]52;c;aGk=\x07",
    "clipboard, ST": "\x1b]52;c;aGk=\x1b\\",
    "clipboard, C1": "\x9d52;c;aGk=\x9c",
    "link": "\x1b]8;;http://evil\x1b\\x\x1b]8;;\x1b\\",
    "title": "\x1b]0;owned\x07",
    "clear": "\x1b[2J\x1b[H$ ",
    "report": "\x1b[6n",
    "reset": "\x1bc",
    "nul": "a\x00b",
    "delete": "a\x7fb",
    "bidi": "abc\u202efdp.exe",
    "isolates": "\u2066x\u2069",
    "tags": "\U000e0041\U000e0042",
    "backspace": "safe\x08\x08\x08\x08evil\r",
    "separators": "a\u2028b\u2029c\ufeffd\u2060",
    "surrogate": "a\ud800b",
}


def harmless(text: str, allowed: str) -> bool:
    return all(
        c in allowed
        or (
            unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp")
            and c not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
        )
        for c in text
    )


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_payloads_are_defused(payload: str) -> None:
    assert harmless(clean(payload), "\n")
    assert harmless(clean_line(payload), "")
    clean(payload).encode()


@given(st.text(), st.integers(0, 50))
def test_a_cut_changes_nothing(text: str, at: int) -> None:
    if text[at - 1 : at + 1] == "\r\n":
        return
    assert clean(text[:at]) + clean(text[at:]) == clean(text)


@given(st.text())
def test_clean_is_harmless_and_stable(text: str) -> None:
    assert harmless(clean(text), "\n")
    assert clean(clean(text)) == clean(text)


def test_what_people_write_is_kept() -> None:
    text = "Zürich 日本 👩‍👩‍👧 ❤️ – “quotes”\nx = arr[i]\n"
    assert clean(text) == text
    assert clean("a\tb") == "a    b"
    assert clean_line("a\nb\tc") == "a b c"


def test_shorten() -> None:
    assert shorten("  a \n b ", 10) == "a b"
    assert shorten("abcdefghij", 5) == "abcd…"
