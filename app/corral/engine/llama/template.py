"""A model file's own Jinja chat template, rendered into segments. Runs only in the worker.

The sandbox keeps a template from reaching Python, but it can still burn time and memory: the engine
kills the worker when a template does not answer in time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from corral.engine.protocol import Segment

_OPEN, _CLOSE = "\ue010", "\ue011"
_MARK = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


class TemplateError(Exception):
    """The template cannot be compiled, or refuses this dialogue."""


def render(
    template: str,
    messages: Sequence[dict[str, str]],
    special_tokens: Sequence[str],
    *,
    bos: str,
    eos: str,
    add_generation_prompt: bool,
) -> list[Segment]:
    """Segments of the dialogue: only what the template itself writes can be a control token.

    Each content is replaced by a mark while the template runs, and put back as ordinary text
    behind it, so that nothing a person writes is ever parsed for control tokens.

    Raises:
        TemplateError: with Jinja's reason.
    """
    from jinja2 import TemplateError as JinjaError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(reason: str) -> NoReturn:
        raise TemplateError(reason)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
    contents = [message["content"].strip() for message in messages]
    marked = [
        {**message, "content": f"{_OPEN}{number}{_CLOSE}"}
        for number, message in enumerate(messages)
    ]
    try:
        text = environment.from_string(template).render(
            messages=marked,
            bos_token=bos,
            eos_token=eos,
            add_generation_prompt=add_generation_prompt,
        )
    except TemplateError:
        raise
    except (JinjaError, RecursionError, MemoryError, TypeError, ValueError, ArithmeticError) as e:
        raise TemplateError(f"{type(e).__name__}: {e}") from None
    missing = [n for n in range(len(messages)) if f"{_OPEN}{n}{_CLOSE}" not in text]
    if missing:
        role = messages[missing[0]].get("role", "user")
        raise TemplateError(f"it leaves out or rewrites what was said ({role})")
    return _segments(text, contents, special_tokens)


def _segments(text: str, contents: list[str], special_tokens: Sequence[str]) -> list[Segment]:
    alternatives = [re.escape(token) for token in special_tokens if token]
    pattern: Any = re.compile(f"({'|'.join(alternatives)})") if alternatives else None
    segments: list[Segment] = []
    position = 0

    def literal(part: str) -> None:
        for index, piece in enumerate(pattern.split(part) if pattern else [part]):
            if piece:
                _append(segments, ("special" if index % 2 else "text", piece))

    for mark in _MARK.finditer(text):
        literal(text[position : mark.start()])
        if contents[int(mark[1])]:
            _append(segments, ("text", contents[int(mark[1])]))
        position = mark.end()
    literal(text[position:])
    return segments


def _append(segments: list[Segment], segment: Segment) -> None:
    """Neighbouring texts become one: token borders depend on what stands beside a text."""
    if segments and segment[0] == "text" == segments[-1][0]:
        segments[-1] = ("text", segments[-1][1] + segment[1])
    else:
        segments.append(segment)
