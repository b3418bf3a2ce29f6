"""What is wrong with a grammar or a schema: the line, where it is, and the reason."""

from __future__ import annotations


class GrammarError(ValueError):
    """A grammar or a schema that cannot be used.

    Args:
        reason: one plain sentence without full stop.
        line: in the text, counted from 1; 0 where no line is to blame.
        where: the rule of a grammar, or the path in a schema; "" for the whole.
    """

    def __init__(self, reason: str, *, line: int = 0, where: str = "") -> None:
        self.reason = reason
        self.line = line
        self.where = where
        place = ", ".join(filter(None, [f"line {line}" if line else "", where]))
        super().__init__(f"{place}: {reason}" if place else reason)
