"""Why a model would be loaded as it would: for ``corral doctor``."""

from __future__ import annotations

from pathlib import Path

from corral.engine.protocol import LoadSpec
from corral.errors import CorralError
from corral.loading import drafts
from corral.models.fit.choices import Choice, choices
from corral.models.fit.fitter import Fitter
from corral.models.fit.machine import Machine
from corral.models.library.library import Library
from corral.planning import Options, Plan, Planner
from corral.settings import EngineSettings


def reasons(
    planner: Planner,
    library: Library,
    fitter: Fitter,
    settings: EngineSettings,
    machine: Machine,
    *,
    threads: str = "",
    on_battery: bool = False,
) -> tuple[str, list[Choice]]:
    """The model that a new conversation begins with, and each choice about loading it.

    Where no model can be planned, its name is empty and the choices are the usual ones.

    Args:
        threads: why so many are taken here.
    """
    try:
        # Any format will do: none of the choices depends on it.
        plan = planner.plan(None, Options(format="completion"))
        spec = fitter.plan_load(plan.model, plan.header, plan.spec, machine)
    except CorralError:
        none = LoadSpec(
            path="", pace="quiet" if on_battery else "full", exact=settings.exact,
            repack=settings.repack,
        )  # fmt: skip
        found = choices(
            none, (), machine, threads=threads, on_battery=on_battery,
            lookup=settings.lookup, no_draft="There is no model to guess for",
        )  # fmt: skip
        return "", found
    name, why_none = _draft(plan, spec, library, machine)
    return plan.model.name, choices(
        spec, plan.asked, machine, threads=threads, on_battery=on_battery,
        lookup=settings.lookup, draft=name, no_draft=why_none,
    )  # fmt: skip


def _draft(plan: Plan, spec: LoadSpec, library: Library, machine: Machine) -> tuple[str, str]:
    """The draft model's name, else why there is none."""
    if spec.draft:
        named = [model.name for model in library.models() if model.path == spec.draft]
        return (named or [Path(spec.draft).name])[0], ""
    if not plan.draft_wanted:
        return "", plan.draft_refused
    if why_not := drafts.why_not(machine, plan.header, spec):
        return "", why_not
    found = drafts.best(library, plan.model, plan.header, drafts.compatible)
    if found is None:
        return "", "No model that is here has the same vocabulary and a quarter of the size or less"
    no_room = drafts.no_room(machine, plan.header, spec, found[1])
    return ("", f"{found[0].name}: {no_room}") if no_room else (found[0].name, "")
