"""Who takes part in a comparison: models, presets and sets of parameters, as they are named."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from corral import adapting
from corral.engine.params import LoadSpec, Sampling
from corral.errors import UsageError
from corral.forming import OFF
from corral.planning import Options, Plan
from corral.text import shorten

MOST = 12
"""Contenders at once; more are a benchmark."""

_PARAMETERS = (set(Sampling.model_fields) | set(LoadSpec.model_fields)) - {
    *("path", "vocab_only", "grammar", "samplers", "logit_bias", "dry_sequence_breakers")
} | {"max_tokens"}


@dataclass(frozen=True, slots=True)
class Contender:
    """What one of the answers is made with; the words are the person's."""

    options: Options
    model: str = ""
    preset: str = ""
    set: str = ""
    """A set of parameters, as it was typed."""


def contenders(
    models: Sequence[str],
    presets: Sequence[str] = (),
    sets: Sequence[str] = (),
    base: Options = Options(),
) -> list[Contender]:
    """Every model with every preset and every set of parameters; what is not named stays as it is.

    Args:
        sets: as :func:`parameter_set` takes them.
        base: what holds for all of them; a set counts more.

    Raises:
        UsageError: there are fewer than two, or too many; or a set cannot be understood.
    """
    found = []
    for model, preset, text in product(models or [""], presets or [""], sets or [""]):
        changed = parameter_set(text)
        options = replace(
            base,
            model=adapting.durable(model) if model else base.model,
            preset=preset or base.preset,
            parameters={**base.parameters, **changed.parameters},
            adapters=base.adapters if changed.adapters is None else changed.adapters,
            format=changed.format or base.format,
        )
        found.append(Contender(options, model, preset, " ".join(text.split())))
    if len(found) < 2:
        raise UsageError(
            "A comparison needs at least two contenders",
            title="Nothing to compare with",
            hint='corral compare -m A -m B "…", or one model with two --preset or two --set',
        )
    if len(found) > MOST:
        raise UsageError(f"{len(found)} contenders are more than the {MOST} allowed")
    return found


def parameter_set(text: str) -> Options:
    """``temperature=0.2 top_k=1 adapter=cats:0.5 format=chatml`` as what it changes.

    Raises:
        UsageError: there is no such parameter, or it has no value.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        raise UsageError(f"A quotation mark is not closed: {shorten(text, 60)}") from None
    parameters: dict[str, Any] = {}
    adapters: list[str] = []
    format: str | None = None
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip().replace("-", "_").casefold()
        if name == "adapter" and value:
            adapters.append(value)
        elif name == "format" and value:
            format = value
        elif name not in _PARAMETERS or not equals or not value:
            known = "temperature, top_p, top_k, min_p, repeat_penalty, seed, max_tokens, n_ctx"
            raise UsageError(
                f"{shorten(word, 40)} is no parameter with a value",
                title="Not a set of parameters",
                hint=f"name=value, with spaces between; for example {known}, adapter, format",
            )
        else:
            parameters[name] = _value(value)
    return Options(parameters=parameters, adapters=adapting.parse_all(adapters), format=format)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def names_of(
    contenders: Sequence[Contender], plans: Sequence[Plan | None]
) -> list[tuple[str, str]]:
    """What tells each of them from the others, and the same with its model: so votes are counted.

    Where nothing else differs, the first is the model, too.
    """
    models = [
        p.model.name if p else _shown(c.model) for c, p in zip(contenders, plans, strict=True)
    ]
    presets = ["no preset" if one.preset == OFF else one.preset for one in contenders]
    others = [column for column in (presets, [c.set for c in contenders]) if len(set(column)) > 1]
    columns = [models, *others] if len(set(models)) > 1 or not others else others
    found: list[tuple[str, str]] = []
    again: Counter[str] = Counter()
    for label, name in zip(_joined(columns), _joined([models, *others]), strict=True):
        again[label] += 1
        # Two files of the same name in two folders.
        number = f" ({again[label]})" if again[label] > 1 else ""
        found.append((shorten(label, 80) + number, shorten(name, 200) + number))
    return found


def _joined(columns: Sequence[Sequence[str]]) -> list[str]:
    return [" · ".join(filter(None, row)) or "as it is" for row in zip(*columns, strict=True)]


def _shown(model: str) -> str:
    return Path(model).stem if model.casefold().endswith(".gguf") else model or "the usual model"
