"""How far a long job is: a bar at a terminal, plain lines elsewhere, JSON lines where asked."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable

from corral.cli.output import StatusLine, note, print_json
from corral.text import shorten
from corral.units import duration, gigabytes, transfer_rate

EVERY_S = 10.0
"""Between two plain lines."""
_JSON_EVERY_S = 1.0
_BAR = 16


class Bar:
    """Shows bytes that come in, or are read.

    Args:
        title: what it is about, as the first words of every line.
        as_json: as lines on stdout, for what is not one array in the end.
        patient: say nothing in the first seconds; most files are read in less.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        title: str,
        *,
        as_json: bool = False,
        patient: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = shorten(title, 48)
        self._json = as_json
        self._clock = clock
        self._terminal = sys.stderr.isatty() and not as_json
        self._line = StatusLine()
        self._next = clock() + (EVERY_S if patient else 0.0)
        self._last = ""

    def show(
        self, done: int, total: int, rate: float = 0.0, eta: float | None = None, note_: str = ""
    ) -> None:
        """Call it as often as you like.

        Args:
            rate: bytes per second; 0 where nothing moves.
            eta: seconds.
            note_: what it waits for, or is doing besides.
        """
        now = self._clock()
        if self._json:
            if now >= self._next:
                self._next = now + _JSON_EVERY_S
                print_json(
                    {
                        "type": "progress",
                        "bytes": done,
                        "total": total,
                        "bytes_per_second": round(rate),
                        "eta_s": None if eta is None else round(eta, 1),
                        "note": note_,
                    }
                )
            return
        text = self._text(done, total, rate, eta, note_)
        if self._terminal:
            self._line.show(text[: shutil.get_terminal_size().columns - 1])
        elif now >= self._next and text != self._last:
            self._next = now + EVERY_S
            self._last = text
            note(text)

    def clear(self) -> None:
        self._line.clear()

    def _text(self, done: int, total: int, rate: float, eta: float | None, note_: str) -> str:
        share = min(1.0, done / total) if total else 0.0
        full = round(share * _BAR)
        bar = "▓" * full + "░" * (_BAR - full) if self._terminal else ""
        parts = [
            self._title,
            bar,
            f"{100 * share:.0f} %",
            f"{gigabytes(done, 2).removesuffix(' GB')} of {gigabytes(total, 2)}",
            transfer_rate(rate) if rate else "",
            f"{duration(eta)} left" if eta is not None and rate else "",
            shorten(note_, 120),
        ]
        return "  ".join(part for part in parts if part)
