"""The terminal's input: as Textual reads it, but a paste of megabytes comes at once."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.faults.test_terminal import Terminal
from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.headless_driver import HeadlessDriver
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from corral.tui.pasting import PasteParser, PastingDriver, with_pasting

STREAMS = [
    "abc\x1b[A\x1b[200~pasted \r\n[31mmore\x1b[201~d\r",
    "\x1b[200~\x1b[201~x",
    "\x1b[200~a\x1b[201~\x1b[200~b\x1b[201~",
    "\x1b[200~a[20b\x00c\x1b[201~\x1b[<0;5;6M\x1b[I\x1b[O",
    "\x1b[200~" + "line\n" * 200 + "\x1b[201~\x1b[13;2u",
    "no paste é🦙\x1b[15~\x1b[48;30;100;600;1000t",
]


def read(parser: XTermParser, pieces: Iterable[str]) -> list[str]:
    found: list[Message] = []
    for piece in pieces:
        found += parser.feed(piece)
    return [
        f"paste {message.text!r}" if isinstance(message, events.Paste) else repr(message)
        for message in found
        # An empty paste is told by the one, and by the other not.
        if not (isinstance(message, events.Paste) and not message.text)
    ]


@pytest.mark.parametrize("stream", STREAMS)
def test_it_reads_what_textual_reads_however_it_comes_in_pieces(stream: str) -> None:
    expected = read(XTermParser(), [stream])
    assert read(PasteParser(), [stream]) == expected
    assert read(PasteParser(), stream) == expected
    chance = random.Random(7)
    for _ in range(50):
        rest, pieces = stream, []
        while rest:
            size = chance.randint(1, 9)
            pieces.append(rest[:size])
            rest = rest[size:]
        assert read(PasteParser(), pieces) == expected, pieces


def test_sequences_in_a_paste_are_text_and_none_of_it_is_lost() -> None:
    stream = "\x1b[200~a\x1b[31mb\x1b\x1b[20\x1b[200~c\x1b[201~d"
    for pieces in ([stream], list(stream)):
        found = read(PasteParser(), pieces)
        assert found[0] == "paste 'a\\x1b[31mb\\x1b\\x1b[20\\x1b[200~c'"
        assert len(found) == 2


def test_only_textual_s_own_driver_is_replaced() -> None:
    assert with_pasting(LinuxDriver) is PastingDriver
    assert with_pasting(HeadlessDriver) is HeadlessDriver


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX systems")
def test_ten_megabytes_come_through_a_terminal_and_keys_go_on(private_home: Path) -> None:
    terminal = Terminal(controlling=True)
    text = "\x1b[200~" + "a line of ten\n" * 700_000 + "\x1b[201~ and this"

    def feed() -> None:
        data = memoryview(text.encode())
        while data:
            data = data[os.write(terminal.ours, data[:65536]) :]

    try:
        terminal.wait_for(b"palette")
        began = time.monotonic()
        feeding = threading.Thread(target=feed)
        feeding.start()
        terminal.wait_for(b"700 001 lines", 30)
        terminal.wait_for(b"this", 5)
        feeding.join()
        assert time.monotonic() - began < 15
        terminal.type(b"\x11")
        assert terminal.wait_for_end() == 0
        terminal.assert_restored()
    finally:
        terminal.free()
