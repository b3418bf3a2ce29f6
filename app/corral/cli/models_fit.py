"""``corral models fit``: whether a model runs here, where its layers go, how fast it would be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from corral.cli import machine
from corral.cli.models_shared import JSON, find_any, find_here, opened
from corral.cli.output import print_json, say
from corral.engine.protocol import KvType
from corral.errors import NotFound
from corral.models.library.local import LocalModel, describe, summary
from corral.models.library.names import existing_path
from corral.text import shorten
from corral.units import duration, gigabytes, thousands

if TYPE_CHECKING:
    from corral.models.downloads.plan import DownloadPlan
    from corral.models.fit.memory import Fit
    from corral.models.gguf.header import Header
    from corral.parts import Parts

KV_TYPES = ("f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")


@click.command(short_help="Say what a model needs of this machine.")
@click.argument("name")
@click.option("--ctx", "n_ctx", type=click.IntRange(min=1), help="Tokens of context.")
@click.option(
    "--kv", "kv_type", type=click.Choice(KV_TYPES), default="f16", help="Type of the KV cache."
)
@JSON
def fit(name: str, n_ctx: int | None, kv_type: KvType, as_json: bool) -> None:
    """Say what a model needs of this machine, before it is downloaded or loaded.

    NAME is a model, the path of a GGUF file, or owner/repository:QUANT of the hub, of which only
    the header is read.
    """
    with opened(as_json=as_json) as parts:
        model, header = _find(parts, name)
        machine.look(parts)
        found = parts.fitter.fit(model, header, n_ctx=n_ctx or 0, type_k=kv_type, type_v=kv_type)
        if as_json:
            print_json(found.record())
        else:
            _print(found)


def _find(parts: Parts, name: str) -> tuple[LocalModel, Header | None]:
    """The model and, where it can be had, its header."""
    model = find_here(parts.library, name)
    if model is None and "/" in name and not existing_path(name):
        return of_plan(parts.downloads.plan(name))
    model = model or find_any(parts.library, name)
    return model, parts.library.header(model) if model.state == "installed" else None


def of_plan(plan: DownloadPlan) -> tuple[LocalModel, Header]:
    """A model of the hub that the catalogue does not know.

    Raises:
        NotFound: it comes in several files, and nothing is known before they are here.
    """
    header = plan.header
    if header is None:
        raise NotFound(
            f"The header of {shorten(plan.title, 80)} cannot be read before it is here",
            hint=f"It needs at least the {gigabytes(plan.bytes, 2)} that it has",
        )
    model = describe(
        Path(plan.targets[0].name),
        summary(header),
        None,
        name=plan.name,
        quant=plan.quant,
        size=plan.bytes,
        sha256=plan.targets[0].sha256,
        format=None,
        state="available",
        source="file",
    )
    return model, header


def _print(fit: Fit) -> None:
    memory = fit.bytes
    say(f"{fit.name} with {thousands(fit.n_ctx)} tokens of context, KV cache {fit.kv_type}")
    say(
        f"Memory   {gigabytes(memory.total)}: weights {gigabytes(memory.weights)},"
        f" KV cache {gigabytes(memory.kv)}, compute {gigabytes(memory.compute)},"
        f" process {gigabytes(memory.process)}"
    )
    say(f"Fits     {_where(fit)}")
    if fit.tokens_per_second:
        low, high = fit.tokens_per_second
        first = [duration(ms / 1e3) for ms in fit.first_token_ms or ()]
        wait = f", {' to '.join(first)} for a prompt of 512 tokens" if first else ""
        how = "measured" if fit.measured else "estimated"
        say(f"Speed    {low:.1f} to {high:.1f} tok/s{wait} ({how})")
    if fit.quality_loss is not None:
        say(f"Quality  {fit.quality_loss:.1f} % more perplexity than unquantized")
    say(f"Why      {fit.reason}")


def _where(fit: Fit) -> str:
    match fit.fits:
        case "gpu":
            return f"yes, all {fit.layers} layers on the graphics card"
        case "partial":
            return f"yes, {fit.gpu_layers} of {fit.layers} layers on the graphics card"
        case "cpu":
            return "yes, on the processor"
    if fit.fits_if_released:
        return "yes, when the model in memory is let go"
    return f"no, {gigabytes(fit.missing)} of memory are missing"
