"""A terminal's input in which a paste of megabytes arrives at once.

Textual looks at every character of a paste by itself: ten megabytes take so long that nobody can
type, or stop an answer, meanwhile. Here a paste is taken in pieces, up to the sequence that ends
it; everything else is Textual's.
"""

from __future__ import annotations

import os
import selectors
from codecs import getincrementaldecoder
from collections.abc import Generator, Iterable

from textual import events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

READ = 64 * 1024
"""Bytes that are read at once."""

WAIT = 0.1
"""Seconds between two looks at whether the input is to end."""


class PasteParser(XTermParser):
    """Textual's parser, but for what is between the two sequences around a paste.

    It is a private class of Textual, whose version is pinned; a test compares the two.
    """

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._before = ""
        """The last characters before, in which the beginning sequence may have begun."""
        self._pasted: list[str] | None = None
        """What was pasted so far; None outside of a paste."""
        self._held = ""
        """The end of what was pasted, in which the ending sequence may have begun."""

    def feed(self, data: str) -> Iterable[Message]:
        if not data:
            yield from super().feed(data)
            return
        while data:
            if self._pasted is None:
                data = yield from self._outside(data)
            else:
                data = yield from self._inside(data)

    def _outside(self, data: str) -> Generator[Message, None, str]:
        """Feed up to the beginning of a paste; gives the rest."""
        seen = self._before + data
        at = seen.find(BRACKETED_PASTE_START)
        if at < 0:
            self._before = seen[-len(BRACKETED_PASTE_START) + 1 :]
            yield from super().feed(data)
            return ""
        end = at + len(BRACKETED_PASTE_START) - len(self._before)
        self._before, self._pasted, self._held = "", [], ""
        yield from super().feed(data[:end])
        return data[end:]

    def _inside(self, data: str) -> Generator[Message, None, str]:
        """Keep what is pasted; at its end gives it as one event, and the rest back."""
        assert self._pasted is not None
        seen = self._held + data
        at = seen.find(BRACKETED_PASTE_END)
        if at < 0:
            begun = seen.rfind("\x1b", -len(BRACKETED_PASTE_END) + 1)
            cut = begun if begun >= 0 else len(seen)
            self._pasted.append(seen[:cut])
            self._held = seen[cut:]
            return ""
        text = "".join([*self._pasted, seen[:at]])
        self._pasted, self._held = None, ""
        # Textual's parser has seen only the two sequences, and so an empty paste.
        for message in super().feed(BRACKETED_PASTE_END):
            if not isinstance(message, events.Paste):
                yield message
        yield events.Paste(text.replace("\x00", ""))
        return seen[at + len(BRACKETED_PASTE_END) :]


class PastingDriver(LinuxDriver):
    """Textual's driver for Linux and macOS with that parser."""

    def run_input_thread(self) -> None:
        """Read the terminal until the input is to end."""
        parser = PasteParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        selector = selectors.SelectSelector()
        selector.register(self.fileno, selectors.EVENT_READ)
        try:
            while not self.exit_event.is_set():
                if selector.select(WAIT):
                    data = decode(os.read(self.fileno, READ))
                    if not data:  # The terminal is gone, or a character is not whole yet.
                        self.exit_event.wait(0.01)
                    else:
                        self._tell(parser.feed(data))
                self._tell(parser.tick())
        finally:
            selector.close()
            for _ in parser.feed(""):
                pass

    def _tell(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.process_message(message)


def with_pasting(driver: type[Driver]) -> type[Driver]:
    """The driver to use in place of one; anything but Textual's own is left alone."""
    return PastingDriver if driver is LinuxDriver else driver
