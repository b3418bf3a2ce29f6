"""Short messages in the corner: literal text, never markup."""

from __future__ import annotations

from typing import Literal

from textual.dom import DOMNode

from corral.errors import CorralError
from corral.text import clean, clean_line, shorten

_LONGEST = 400


def say(
    node: DOMNode,
    text: str,
    title: str = "",
    severity: Literal["information", "warning", "error"] = "information",
    seconds: float = 4.0,
) -> None:
    """Tell the person something."""
    text = clean(text)
    if len(text) > _LONGEST:
        text = text[:_LONGEST].rstrip() + "…"
    node.app.notify(
        text,
        title=shorten(clean_line(title), 80),
        severity=severity,
        timeout=seconds,
        markup=False,
    )


def fail(node: DOMNode, error: CorralError, *, where: str = "") -> None:
    """Tell what went wrong, where if that is not in view, and what helps."""
    text = f"In “{where}”: {error.message}" if where else error.message
    say(node, text + (f"\n{error.hint}" if error.hint else ""), error.title, "error", 10.0)
