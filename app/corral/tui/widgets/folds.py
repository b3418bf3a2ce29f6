"""Long pasted texts that a few words stand for in the box: kept aside, and sent whole."""

from __future__ import annotations

import re

from corral.tui import wording

FOLDED_LINES = 1_000
FOLDED_LENGTH = 100_000
"""From here on a text that comes into the box by itself, such as a draft, is folded."""

PASTED_LINES = 200
PASTED_LENGTH = 20_000
"""The same for what is pasted: nobody types there before it is seen."""

UNFOLDED_LINES = 20_000
UNFOLDED_LENGTH = 1_000_000
"""What the box can still show line by line without a pause at every key."""

EDGE = 400
"""The first and the last line of a long text stay outside, where they are no longer than this."""

_SIGN = re.compile(r"\[[\d ]+ lines?, [\d ]+ characters? #\d+\]")


def is_long(text: str, lines: int = FOLDED_LINES, length: int = FOLDED_LENGTH) -> bool:
    """Whether a text has more characters or line breaks than that."""
    return len(text) > length or text.count("\n") + text.count("\r") > lines


class Folds:
    """The texts by the words that stand for them.

    A text stays after its sign was deleted, so that undo brings back both.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._texts)

    def clear(self) -> None:
        self._texts.clear()

    def fold(self, text: str) -> str:
        """Keep a text aside; gives the sign for it."""
        count = text.count("\n") + 1
        lines = f"{wording.number(count)} {'line' if count == 1 else 'lines'}"
        characters = f"{wording.number(len(text))} character{'' if len(text) == 1 else 's'}"
        sign = f"[{lines}, {characters} #{len(self._texts) + 1}]"
        self._texts[sign] = text
        return sign

    def fold_middle(self, text: str) -> str:
        """Fold all but the first and the last line, so that those can be read and edited."""
        start, end = text.find("\n") + 1, text.rfind("\n")
        if start > EDGE or start == 0:
            start = 0
        if end < start or len(text) - end > EDGE:
            end = len(text)
        return text[:start] + self.fold(text[start:end]) + text[end:]

    def text(self, sign: str) -> str | None:
        """What a sign stands for; None where it is only words."""
        return self._texts.get(sign)

    def unfold(self, text: str) -> str:
        """A text with everything that its signs stand for."""
        if not self._texts:
            return text
        return _SIGN.sub(lambda found: self._texts.get(found[0], found[0]), text)

    def length(self, text: str) -> int:
        """Characters of :meth:`unfold`, without making it."""
        signs = _SIGN.findall(text) if self._texts else []
        return len(text) + sum(len(self._texts.get(sign, sign)) - len(sign) for sign in signs)

    def spans(self, line: str) -> list[tuple[int, int]]:
        """Where the signs stand in a line: from, and up to."""
        if not self._texts:
            return []
        return [found.span() for found in _SIGN.finditer(line) if found[0] in self._texts]
