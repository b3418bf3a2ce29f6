"""``corral models``: what is on this machine, and what the catalogue has."""

from __future__ import annotations

import click

from corral.cli.models_adapters import adapters
from corral.cli.models_clean import clean
from corral.cli.models_files import adopt, import_models, remove, verify
from corral.cli.models_fit import fit
from corral.cli.models_pull import pull
from corral.cli.models_search import search
from corral.cli.models_shared import JSON, opened, record
from corral.cli.models_show import show
from corral.cli.output import note, print_json, table
from corral.models import GET_STARTER
from corral.models.library.local import LocalModel
from corral.units import duration, gigabytes


@click.group()
def models() -> None:
    """The models on this machine, and how they come here and go."""


for command in (show, fit, search, pull, import_models, adopt, verify, remove, clean, adapters):
    models.add_command(command)


@models.command("list")
@click.option("--all", "everything", is_flag=True, help="The catalogue's other files, too.")
@JSON
def list_models(everything: bool, as_json: bool) -> None:
    """List the models: name, size on disk, format, state."""
    with opened(as_json=as_json) as parts:
        found = parts.library.models(all=everything)
        if as_json:
            print_json([record(model) for model in found])
        elif found:
            rows = [
                [
                    model.name,
                    model.quant,
                    gigabytes(model.bytes, 2) if model.bytes else "",
                    model.format or "?",
                    _state(model),
                    model.licence or "",
                ]
                for model in found
            ]
            table(rows, ["Name", "Quant", "Size", "Format", "State", "Licence"])
        else:
            note("No model is on this machine. corral models pull NAME downloads one,")
            note("corral models import FILE takes yours in,")
            note(f"{GET_STARTER} brings a small one.")


def _state(model: LocalModel) -> str:
    """The state, and of a download how far it is."""
    download = model.download
    if download is None:
        return model.state
    share = f"{100 * download.done / max(1, download.bytes):.0f} %"
    if download.state == "failed":
        return f"failed at {share}"
    left = f", {duration(download.eta)} left" if download.eta is not None else ""
    return f"{model.state} {share}{left}"
