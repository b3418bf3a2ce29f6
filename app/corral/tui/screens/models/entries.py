"""What the models screen lists, in which order, and which few rows it begins with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from corral.models.library.local import LocalModel
from corral.text import clean_line

if TYPE_CHECKING:
    from corral.models.fit.memory import Fit
    from corral.store.downloads import Download

Sort = Literal["name", "size", "fits", "speed", "state"]
SORTS: tuple[Sort, ...] = ("name", "size", "fits", "speed", "state")

LADDER = ("Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
"""The quantizations worth naming first: each a step in size, and the best of its size."""

_FITS = {"gpu": 0, "cpu": 1, "partial": 2, "no": 4}
_STATES = {"installed": 1, "downloading": 2, "paused": 3, "damaged": 4, "missing": 5}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: a model and what is known about it at the moment."""

    model: LocalModel
    download: Download | None = None
    """The one that brings it, as long as it is not done."""
    fit: Fit | None = None
    """None until it was worked out, or where it cannot be."""
    loaded: bool = False
    best: bool = False
    """Whether it is the one recommended for this machine."""
    verifying: float | None = None
    """How far its check is, from 0 to 1."""

    @property
    def key(self) -> str:
        """Tells rows apart also where two models have one name."""
        return f"{self.model.name}\n{self.model.path or ''}"

    @property
    def here(self) -> bool:
        """Whether there is anything of it on this machine."""
        return self.model.state != "available" or self.download is not None

    @property
    def title(self) -> str:
        """Without the quantization, which stands beside it; downloads have it in their title."""
        title = clean_line(self.model.title or self.model.name)
        return title.removesuffix(f" {self.model.quant}") if self.model.quant else title

    @property
    def advised(self) -> bool:
        """Whether the catalogue names this quantization first."""
        family = self.model.family
        return family is not None and self.model.quant == family.recommended

    @property
    def group(self) -> str:
        return self.model.family.name if self.model.family else self.model.name


def gather(
    models: Iterable[LocalModel],
    downloads: Iterable[Download],
    *,
    families: Iterable[str],
    loaded: Collection[str],
    best: str | None,
) -> list[Entry]:
    """All rows: the group of the recommended one, groups that are partly here, then the others.

    A group begins with the quantization to take where nobody chose one, and goes on by size.

    Args:
        models: as the library gives them, the catalogue's included.
        families: their names in the order of the catalogue.
        loaded: names of the models in memory.
        best: name of the recommended one.
    """
    waiting = {one.name: one for one in downloads if one.state != "done"}
    entries = [
        Entry(
            model,
            download=waiting.get(model.name, model.download)
            if model.state != "installed"
            else None,
            loaded=model.name in loaded,
            best=model.name == best,
        )
        for model in models
    ]
    order = {name: number for number, name in enumerate(families)}
    places: dict[str, int] = {}
    for entry in entries:
        place = 0 if entry.best else 1 if entry.here else 2
        places[entry.group] = min(place, places.get(entry.group, 2))
    return sorted(
        entries,
        key=lambda entry: (
            places[entry.group],
            order.get(entry.group, len(order)),
            entry.title.casefold(),
            entry.group,
            not entry.best,
            not entry.advised,
            entry.model.bytes,
        ),
    )


def choose(entries: Sequence[Entry], *, words: str, every: bool, sort: Sort) -> list[Entry]:
    """The rows to show, in their order.

    Args:
        words: all of them occur in a row; then every row is looked at.
        every: show the whole catalogue, not just a sensible choice of it.
    """
    wanted = words.casefold().replace(":", " ").split()
    if wanted:
        found = [e for e in entries if all(word in _searched(e) for word in wanted)]
    elif every:
        found = list(entries)
    else:
        sensible = _sensible(entries)
        found = [e for e in entries if e.here or e.best or e.model.name in sensible]
    match sort:
        case "size":
            found.sort(key=lambda entry: entry.model.bytes)
        case "fits":
            found.sort(key=lambda entry: (fits_rank(entry), -entry.model.bytes))
        case "speed":
            found.sort(key=lambda entry: (-_speed(entry), entry.model.bytes))
        case "state":
            found.sort(key=_state)
    return found


def _searched(entry: Entry) -> str:
    model = entry.model
    parts = (model.name, model.title, model.quant, model.size, model.kind, model.licence)
    # What can be had is what the screen is full of; “lab” is not to find it.
    state = "loaded" if entry.loaded else "" if model.state == "available" else model.state
    return " ".join(filter(None, (*parts, state, getattr(model, "repository", None)))).casefold()


def _sensible(entries: Iterable[Entry]) -> set[str]:
    """Names of what the catalogue recommends, and of the next smaller and larger steps."""
    groups: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        if entry.model.family:
            groups.setdefault(entry.group, {})[entry.model.quant] = entry
    names: set[str] = set()
    for quants in groups.values():
        family = next(iter(quants.values())).model.family
        assert family is not None
        steps = [quant for quant in LADDER if quant in quants or quant == family.recommended]
        near = [family.recommended]
        if family.recommended in steps and family.kind == "chat":
            at = steps.index(family.recommended)
            near += steps[max(0, at - 1) : at + 2]
        names |= {quants[quant].model.name for quant in near if quant in quants}
    return names


def fits_rank(entry: Entry) -> int:
    if entry.fit is None:
        return 5
    return 3 if entry.fit.fits == "no" and entry.fit.fits_if_released else _FITS[entry.fit.fits]


def _speed(entry: Entry) -> float:
    speed = entry.fit.tokens_per_second if entry.fit else None
    return speed[0] if speed else 0.0


def _state(entry: Entry) -> int:
    if entry.loaded:
        return 0
    if entry.download is not None:
        return 3 if entry.download.state in ("paused", "failed") else 2
    return _STATES.get(entry.model.state, 6)


def changed(before: Mapping[int, Download], now: Mapping[int, Download]) -> bool:
    """Whether downloads came, went or were finished: then the list itself is another."""
    states = {id: one.state == "done" for id, one in now.items()}
    return states != {id: one.state == "done" for id, one in before.items()}
