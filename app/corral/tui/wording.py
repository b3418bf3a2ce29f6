"""What the chat screen says: numbers, states and progress in plain words. No Textual in here."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from corral.adapting import shown
from corral.chat.conversation import Message
from corral.chatting import Working
from corral.text import clean_line, shorten

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_DAY = 86_400.0


def number(value: float) -> str:
    """A whole number with thin groups of three: ``1 287``."""
    return f"{int(value):,}".replace(",", " ")


def tokens(count: float) -> str:
    return f"{number(count)} {'token' if count == 1 else 'tokens'}"


def meter(fraction: float, width: int, full: str = "▰", empty: str = "▱") -> str:
    """A bar of ``width`` signs; anything over nothing shows at least one."""
    filled = round(max(0.0, min(1.0, fraction)) * width)
    if fraction > 0 and not filled:
        filled = 1
    return full * filled + empty * (width - filled)


def seconds(milliseconds: float) -> str:
    """A duration the way a person reads it: ``0.18 s``, ``12 s``, ``2 min 5 s``."""
    value = milliseconds / 1000
    if value < 10:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.0f} s"
    return f"{value // 60:.0f} min {value % 60:.0f} s"


def speed(tokens_per_second: float) -> str:
    digits = 1 if tokens_per_second < 100 else 0
    return f"{tokens_per_second:.{digits}f} tok/s"


def model_of(message: Message) -> str:
    """Who wrote an answer: ``Llama 2 7B Chat · Q4_K_M + cats ×0.5``."""
    model = message.model or {}
    title = str(model.get("title") or model.get("name") or "")
    return " ".join([titled(title, str(model.get("quant") or "")), *_adapters(model)]).strip()


def _adapters(model: dict[str, Any]) -> list[str]:
    found = model.get("adapters")
    found = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [f"+ {shown(str(one.get('name')), _figure(one, 'scale'))}" for one in found]


def titled(title: str, quant: str) -> str:
    """A model's title and quantization, cleaned."""
    title, quant = shorten(title, 60), shorten(quant, 20)
    return f"{title} · {quant}" if title and quant else title or quant


def model_size(name: str) -> str:
    """The parameters as the name of a model has them: ``13B``, ``135M``; else nothing."""
    found = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)([bm])(?![a-z])", name.casefold())
    return f"{found[1]}{found[2].upper()}" if found else ""


def statistics(message: Message) -> list[str]:
    """The figures below an answer, the most telling first; empty where there are none.

    ``guessed`` is the share of its tokens that were guessed ahead and found right; it explains the
    speed before it, as the reused part of the prompt does the first token.
    """
    usage, timings = message.usage or {}, message.timings or {}
    parts: list[str] = []
    if count := _figure(usage, "completion_tokens"):
        parts.append(tokens(count))
    if rate := _figure(timings, "tokens_per_second"):
        parts.append(speed(rate))
    accepted = _figure(usage, "accepted_tokens")
    if count and accepted / count >= 0.005:
        parts.append(f"{100 * min(1.0, accepted / count):.0f} % guessed")
    if first := _figure(timings, "first_token_ms"):
        parts.append(f"first token {seconds(first)}")
    prompt, reused = _figure(usage, "prompt_tokens"), _figure(usage, "reused_tokens")
    if prompt and reused:
        parts.append(f"reused {number(reused)} of {number(prompt)}")
    elif prompt:
        parts.append(f"{number(prompt)} prompt tokens")
    return parts


def ending(message: Message) -> str:
    """How an answer ended where that is worth a word: ``stopped``; "" for an ordinary end."""
    if message.status == "failed":
        return f"failed: {clean_line(message.error)}" if message.error else "failed"
    if message.status == "streaming":
        return "being written by another corral"
    if message.status == "stopped":
        # Words without a word about the model: the program ended before the answer did.
        return "interrupted" if message.text and not message.model else "stopped"
    if message.stop_reason == "length":
        return "the token limit ended it here"
    if "edited_from" in (message.parameters or {}):
        return "edited by you"
    return ""


def context(message: Message) -> tuple[int, int] | None:
    """Tokens in use after an answer, and the size of its window."""
    usage, model = message.usage or {}, message.model or {}
    window = _figure(model, "n_ctx")
    used = _figure(usage, "prompt_tokens") + _figure(usage, "completion_tokens")
    return (int(used), int(window)) if used and window else None


def progress(working: Working, model: str) -> tuple[str, float | None]:
    """What goes on before the words come, and how far it is where that is known."""
    fraction = working.done / working.total if working.total else None
    match working.stage:
        case "waiting":
            return "Waiting for the answer in another conversation", None
        case "starting":
            return f"Starting {model}".rstrip(), None
        case "loading":
            return f"Loading {model}".rstrip(), fraction
        case "condensing":
            return "Condensing what no longer fits", fraction
        case "reading" if working.total:
            return (
                f"Reading {number(working.done)} of {number(working.total)} tokens",
                fraction,
            )
        case "reading":
            return "Reading", None
    return "Writing", None


def group(updated: float, now: float) -> str:
    """The heading a conversation stands under in the list."""
    midnight = time.mktime((*time.localtime(now)[:3], 0, 0, 0, 0, 0, -1))
    if updated >= midnight:
        return "Today"
    if updated >= midnight - _DAY:
        return "Yesterday"
    if updated >= midnight - 6 * _DAY:
        return "This week"
    then = time.localtime(updated)
    month = _MONTHS[then.tm_mon - 1]
    return month if then.tm_year == time.localtime(now).tm_year else f"{month} {then.tm_year}"


def _figure(values: Mapping[str, Any], key: str) -> float:
    """A number from a stored object, 0 where it is absent or no number."""
    value = values.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
