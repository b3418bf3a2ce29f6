"""Which catalogue model suits this machine best, and why, in one line."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from corral.models.catalog import Catalog, Family
from corral.models.fit.fitter import Fitter, by_preference
from corral.models.fit.machine import Machine
from corral.models.fit.memory import Fit, Range
from corral.models.library.local import from_catalogue
from corral.units import gigabytes

SHARE = 0.85
"""Of the free memory: the rest stays for the browser that is open, too."""
COMFORTABLE = 3.0
"""Tokens a second: about as fast as a person reads aloud."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    name: str
    """As people type it: ``llama-2-7b-chat:Q4_K_M``."""
    fit: Fit
    reason: str
    """One line."""


def recommend(catalog: Catalog, fitter: Fitter, machine: Machine) -> Recommendation | None:
    """The largest Llama 2 chat model that is comfortable here; None where not even the smallest
    fits.

    A larger model in its recommended quantization answers better than a smaller one in a finer
    one. What is too slow gives way to the next smaller; the smallest is taken as it is.
    """
    roomy = _with_share(machine)
    found: list[Recommendation] = []
    for family, quants in _candidates(catalog):
        for file in by_preference(family)[quants]:
            fit = fitter.fit(from_catalogue(family, file), machine=roomy)
            if not fit.fits_if_released or fit.tokens_per_second is None:
                continue
            size = gigabytes(file.bytes or file.gigabytes * 1e9)
            reason = f"{machine.title}: {family.title} {file.quant}, {size}, about "
            reason += f"{_shown(fit.tokens_per_second)} tok/s"
            found.append(Recommendation(f"{family.name}:{file.quant}", fit, reason))
            if _speed(fit.tokens_per_second, fitter.calibrated) >= COMFORTABLE:
                return found[-1]
            break
    return found[-1] if found else None


def _candidates(catalog: Catalog) -> list[tuple[Family, slice]]:
    """Each family's recommended file from large to small, then the smaller files of each."""
    families = [
        family
        for family in catalog.families.values()
        if family.format == "llama-2" and family.kind == "chat" and family.name[:7] == "llama-2"
    ]
    families.sort(key=lambda family: family.n_embd, reverse=True)
    best = [(family, slice(0, 1)) for family in families]
    return best + [(family, slice(1, None)) for family in families[-1:]]


def _with_share(machine: Machine) -> Machine:
    return replace(
        machine,
        memory_available=int(SHARE * machine.memory_available),
        releasable=int(SHARE * machine.releasable),
    )


def _speed(tokens: Range, calibrated: bool) -> float:
    """What to expect: the low end, or the middle of a range that nobody measured."""
    return tokens[0] if calibrated else math.sqrt(tokens[0] * tokens[1])


def _shown(tokens: Range) -> str:
    digits = 1 if tokens[0] < 3 else 0
    return f"{tokens[0]:.{digits}f}–{tokens[1]:.{digits}f}"
