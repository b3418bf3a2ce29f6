"""Conversations as Markdown and as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from corral.moving.telling import Said, Told, line

_SIGNS = re.compile(r"([\\`*_\[\]<>#|])")


def markdown(told: Iterable[Told]) -> Iterator[str]:
    """Piece by piece; what was said stands as it was written."""
    for number, one in enumerate(told):
        if number:
            yield "\n---\n\n"
        yield f"# {_literal(one.title)}\n\n"
        yield from (f"- {label}: {_literal(value)}\n" for label, value in one.facts)
        if one.elsewhere:
            yield f"- {_elsewhere(one)}\n"
        if one.system:
            yield f"\n**System prompt**\n\n{_quoted(one.system)}\n"
        for said in one.said:
            yield from _in_markdown(said)


def _in_markdown(said: Said) -> Iterator[str]:
    if said.summary:
        yield f"\n**In place of everything above, the model sees**\n\n{_quoted(said.summary)}\n"
    state = f" ({_literal(said.ending)})" if said.ending else ""
    yield f"\n## {_literal(said.who)}{state}\n\n{_closed(said.text)}\n"
    when = said.when + (", pinned" if said.pinned else "")
    if not said.facts:
        yield f"\n*{when}*\n"
        return
    facts = "".join(f"- {label}: {_literal(value)}\n" for label, value in said.facts)
    yield f"\n<details><summary>{when}</summary>\n\n{facts}\n</details>\n"


def _closed(text: str) -> str:
    """With a fence closed that an answer left open: what follows is no code."""
    fence = ""
    for row in text.split("\n"):
        found = re.match(r" {0,3}(`{3,}|~{3,})(.*)", row)
        if not found:
            continue
        if not fence:
            fence = found[1] if found[1][0] == "~" or "`" not in found[2] else ""
        elif found[1].startswith(fence) and not found[2].strip():
            fence = ""
    return f"{text}\n{fence}" if fence else text


def _literal(text: str) -> str:
    return _SIGNS.sub(r"\\\1", text)


def _quoted(text: str) -> str:
    return "\n".join(f"> {row}".rstrip() for row in text.split("\n"))


def _elsewhere(one: Told) -> str:
    words = "message stands" if one.elsewhere == 1 else "messages stand"
    return f"{one.elsewhere} {words} on other branches; the JSON export has all of them"


def plain_text(told: Iterable[Told]) -> Iterator[str]:
    """Piece by piece, for eyes and printers."""
    for number, one in enumerate(told):
        if number:
            yield "\n\n"
        yield f"{one.title}\n{'=' * min(79, max(8, len(one.title)))}\n\n"
        yield from (f"{label}: {value}\n" for label, value in one.facts)
        if one.elsewhere:
            yield f"{_elsewhere(one)}\n"
        if one.system:
            yield f"\n--- System prompt ---\n\n{one.system}\n"
        for said in one.said:
            yield from _in_text(said)


def _in_text(said: Said) -> Iterator[str]:
    if said.summary:
        yield f"\n--- In place of everything above, the model sees ---\n\n{said.summary}\n"
    notes = [said.when, said.ending, "pinned" if said.pinned else ""]
    yield f"\n--- {said.who}, {', '.join(filter(None, notes))} ---\n\n{said.text}\n"
    if said.facts:
        yield "\n" + "".join(f"    {label}: {line(value)}\n" for label, value in said.facts)
