"""The objects of a huge JSON list, one after the other, whatever is wrong with some of them.

No more than one object and a little around it is in memory. Where one cannot be read, reading goes
on where the next one seems to begin.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

CHUNK = 1 << 20
"""Characters that are read at once."""
LARGEST = 64 << 20
"""Characters one object may have; more than any conversation that was ever led."""

MOST_BROKEN = 5_000
"""Objects one after the other that cannot be read; behind so many nothing is looked for."""

_SPACE = re.compile(r"[ \t\r\n\ufeff]*")
_BETWEEN = re.compile(r"[ \t\r\n,\x1e\ufeff\0]*")
_CUT = 16
"""An error so near to the end of what was read only says that there is more to read."""
_LONGEST_START = 200
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\\n]|\\.){1,60}")\s*:')


class Source(Protocol):
    """Decoded text that is read piece by piece."""

    def read(self, size: int, /) -> str: ...


@dataclass(frozen=True, slots=True)
class Element:
    """One object of the list, or why it is none."""

    number: int
    """Counted from 1."""
    value: Any = None
    problem: str = ""
    doubtful: bool = False
    """It stands behind a broken one, and may be a piece of that."""


class NoListError(Exception):
    """The text is no JSON list of objects, and no object."""


class _Malformed(Exception):
    """Why an object makes no sense."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _NeedsMore(Exception):
    """The object goes on behind what was read."""


def elements(source: Source, *, chunk: int = CHUNK, largest: int = LARGEST) -> Iterator[Element]:
    """The objects of a list; also of several objects one after the other, as in JSON lines.

    Raises:
        NoListError: it does not begin like one of these.
        OSError, EOFError: the source cannot be read any further.
    """
    return _Reader(source, chunk, largest).elements()


class _Reader:
    def __init__(self, source: Source, chunk: int, largest: int) -> None:
        self._source = source
        self._chunk = chunk
        self._largest = largest
        self._text = ""
        self._at = 0
        self._ended = False
        self._decoder = json.JSONDecoder(
            parse_float=_finite, parse_constant=_no_number, strict=False
        )
        self._number = 0
        self._next: re.Pattern[str] | None = None
        """How the objects of this list begin."""
        self._searching = False
        """Whether an object was broken: from there on they are found by how they begin."""

    def elements(self) -> Iterator[Element]:
        if not self._skip(_SPACE):
            raise NoListError("it is empty")
        sign = self._text[self._at]
        if sign not in "[{":
            raise NoListError("it is not JSON")
        inside, broken = sign == "[", 0
        if inside:
            self._at += 1
        while self._find_next():
            if inside and self._text[self._at] == "]" and not self._searching:
                return
            if self._next is None and (first := _FIRST_KEY.match(self._text, self._at)):
                self._next = re.compile(r"\{\s*" + re.escape(first[1]) + r"\s*:")
            self._number += 1
            element = self._element()
            yield element
            broken = broken + 1 if element.problem else 0
            if broken == MOST_BROKEN:
                yield Element(self._number + 1, problem="The rest was not read: too much is broken")
                return
        if inside and not self._searching:
            yield Element(self._number + 1, problem="The file ends before its list does")

    def _element(self) -> Element:
        """The object that begins here; afterwards this is behind it."""
        doubtful = self._searching
        try:
            return Element(self._number, self._decode(), doubtful=doubtful)
        except _Malformed as error:
            # What comes behind cannot be told by its brackets any more.
            self._searching = True
            self._at += 1
            return Element(self._number, problem=error.reason, doubtful=doubtful)

    def _decode(self) -> Any:
        while True:
            try:
                value, end = self._try()
            except _NeedsMore:
                if len(self._text) - self._at > self._largest:
                    raise _Malformed("It is too large, or has no end") from None
                if self._ended:
                    raise _Malformed("It has no end") from None
                # As much again as there is: what is tried again stays below twice the text.
                self._more(max(self._chunk, len(self._text) - self._at))
                continue
            self._at = end
            return value

    def _try(self) -> tuple[Any, int]:
        try:
            value, end = self._decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            near = error.pos >= len(self._text) - _CUT
            if near or error.msg.startswith("Unterminated string"):
                raise _NeedsMore from None
            raise _Malformed(f"It is not valid JSON: {error.msg}") from None
        except RecursionError:
            raise _Malformed("It is nested too deeply") from None
        except ValueError as error:  # A number with thousands of digits, or none at all.
            raise _Malformed(f"It holds no sensible number: {error}") from None
        if end == len(self._text) and not isinstance(value, dict | list | str) and not self._ended:
            raise _NeedsMore  # A number may go on.
        return value, end

    def _search(self) -> bool:
        """Go to the next place that begins like the first object did; False at the end."""
        if self._next is None:
            # The first one is broken itself: nobody knows how the others begin.
            self._next = re.compile(r'\{\s*"(?:title|format|mapping|id)"\s*:')
        while True:
            found = self._next.search(self._text, self._at)
            if found is not None:
                self._at = found.start()
                return True
            if self._ended:
                return False
            self._at = max(self._at, len(self._text) - _LONGEST_START)
            self._more(self._chunk)

    def _find_next(self) -> bool:
        """Skip what stands between objects; False at the end."""
        return self._search() if self._searching else self._skip(_BETWEEN)

    def _skip(self, signs: re.Pattern[str]) -> bool:
        while True:
            found = signs.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return True
            if self._ended:
                return False
            self._more(self._chunk)

    def _more(self, size: int) -> None:
        """Read on, and forget what is behind."""
        fresh = self._source.read(size)
        self._ended = not fresh
        self._text = self._text[self._at :] + fresh
        self._at = 0


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("one is too large")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is none")
