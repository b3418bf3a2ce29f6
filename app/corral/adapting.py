"""Which LoRA adapters an answer is given with: named by a person, found, checked and hashed.

A conversation remembers names and scales. Those that do not belong to the model that answers now
are left out and said so, since a conversation may change its model and change it back; those that
somebody names for this one answer have to belong to it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corral.chat.conversation import Conversation
from corral.engine.protocol import MOST_ADAPTERS, Adapter
from corral.errors import NotFound, Refused, UsageError
from corral.models.files import Cancelled
from corral.models.library.adapters import LocalAdapter, does_not_belong
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.text import shorten

KEY = "adapters"
"""Among a conversation's parameters."""
MOST_SCALE = 100.0
OFF = "off"

Choice = tuple[str, float]
"""Name or path of an adapter, and its scale."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a person's choices."""

    active: tuple[Adapter, ...] = ()
    left_out: str = ""
    """Which of them do not belong to the model, and why, in plain words; "" where all do."""


def settle(
    library: Library,
    conversation: Conversation | None,
    wanted: Sequence[Choice] | None,
    model: LocalModel,
    *,
    cancelled: Cancelled | None = None,
) -> Settled:
    """The adapters of one answer. Reads headers, and the whole of a file that is not known yet.

    Args:
        wanted: for this answer; None takes those of the conversation.

    Raises:
        NotFound, Refused: one is gone or damaged; or one of ``wanted`` does not belong to the
            model.
        UsageError: one is named twice, there are too many, or a scale is out of range.
        Cancellation: ``cancelled`` said so.
    """
    try:
        return _settled(library, chosen(conversation) if wanted is None else wanted, model,
                        left_out=wanted is None, cancelled=cancelled)  # fmt: skip
    except (NotFound, Refused, UsageError) as error:
        if wanted is None:
            error.hint = "/adapter off and --adapter off go on without it."
        raise


def _settled(
    library: Library,
    choices: Sequence[Choice],
    model: LocalModel,
    *,
    left_out: bool,
    cancelled: Cancelled | None,
) -> Settled:
    """Args:
    left_out: what does not belong to the model is left out, and not refused.
    """
    check(choices)
    active: list[Adapter] = []
    reasons: list[str] = []
    for name, scale in choices:
        adapter = library.adapter(name)
        if reason := library.adapter_mismatch(adapter, model):
            if not left_out:
                raise does_not_belong(adapter.name, model.name, reason)
            reasons.append(f"{shorten(adapter.name, 60)}: {reason}")
            continue
        found = to_load(library, adapter, scale, cancelled)
        if any(found.sha256 == other.sha256 for other in active):
            raise UsageError(f"The adapter {shorten(adapter.name, 60)} is named twice")
        active.append(found)
    return Settled(tuple(active), "; ".join(reasons))


def to_load(
    library: Library, adapter: LocalAdapter, scale: float, cancelled: Cancelled | None = None
) -> Adapter:
    """An adapter as the engine wants it; hashed where nobody did.

    Raises:
        NotFound, Refused: it is gone, changed or holds what is no number.
        Cancellation: ``cancelled`` said so.
    """
    hashed = library.hashed(adapter, cancelled)
    return Adapter(
        path=hashed.path,
        sha256=hashed.sha256 or "",
        size=hashed.bytes,
        mtime_ns=hashed.mtime_ns,
        scale=scale,
        name=shorten(hashed.name, 80),
    )


def check(choices: Sequence[Choice]) -> None:
    """Raises:
    UsageError: there are too many, or a scale is out of range.
    """
    if len(choices) > MOST_ADAPTERS:
        raise UsageError(f"{len(choices)} adapters are more than the {MOST_ADAPTERS} allowed")
    for name, scale in choices:
        if not (math.isfinite(scale) and abs(scale) <= MOST_SCALE):
            raise UsageError(
                f"The scale of {shorten(name, 60)} is {scale:g}, "
                f"allowed are {-MOST_SCALE:g} to {MOST_SCALE:g}"
            )


# --- as a conversation keeps them, and as a person types them -----------------------------------


def chosen(conversation: Conversation | None) -> tuple[Choice, ...]:
    """Those of a conversation. What an older or newer version stored and is not understood is as
    if it were not there."""
    stored = conversation.parameters.get(KEY) if conversation else None
    found: list[Choice] = []
    for one in stored if isinstance(stored, list) else ():
        name = one.get("name") if isinstance(one, dict) else None
        scale = one.get("scale", 1.0) if isinstance(one, dict) else None
        if not (isinstance(name, str) and name and isinstance(scale, int | float)):
            continue
        if abs(scale) <= MOST_SCALE:
            found.append((name, float(scale)))
    return tuple(found)


def with_choices(parameters: dict[str, Any], choices: Iterable[Choice]) -> dict[str, Any]:
    """A conversation's parameters with these in place of those it had."""
    kept = {key: value for key, value in parameters.items() if key != KEY}
    stored = [{"name": name, "scale": scale} for name, scale in choices]
    return kept | {KEY: stored} if stored else kept


def parse(text: str) -> Choice:
    """``NAME`` or ``FILE``, or one of them with ``:SCALE`` behind it.

    Raises:
        UsageError: it is empty.
    """
    text = text.strip()
    name, _, last = text.rpartition(":")
    scale = number(last) if name and existing(text) is None else None
    if scale is None:
        name, scale = text, 1.0
    if not name:
        raise UsageError("The name of the adapter is missing", hint="NAME or FILE, then :SCALE")
    return durable(name), scale


def parse_all(texts: Sequence[str]) -> tuple[Choice, ...] | None:
    """What was given on a command line: None where nothing was, none for ``off``.

    Raises:
        UsageError: one is empty.
    """
    if not texts:
        return None
    return () if list(texts) == [OFF] else tuple(parse(text) for text in texts)


def number(text: str) -> float | None:
    """What a person typed as a scale; None where it is no number."""
    try:
        return float(text.strip().replace(",", ".").lstrip("×"))
    except ValueError:
        return None


def durable(name: str) -> str:
    """A name, or the absolute path of a file, which holds in any folder."""
    path = existing(name)
    return str(path.absolute()) if path and path.suffix.casefold() == ".gguf" else name


def existing(name: str) -> Path | None:
    """The path that a name is; None where nothing is there, or can be."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # ~nobody, or far too long
        path = Path(name).expanduser()
        return path if path.exists() else None
    return None


def provenance(adapters: Iterable[Adapter]) -> list[dict[str, Any]]:
    """The ``adapters`` of an answer's ``model`` object."""
    return [
        {"name": one.name, "file": one.path, "sha256": one.sha256, "scale": one.scale}
        for one in adapters
        if one.scale
    ]


def shown(name: str, scale: float) -> str:
    """``cats`` or ``cats ×0.5``; the stem of a file for its path."""
    short = shorten(Path(name).stem if name.casefold().endswith(".gguf") else name, 40)
    return short if scale == 1 else f"{short} ×{scale:g}"
