"""``corral models show``: all that is known about a model, or what a repository of the hub has."""

from __future__ import annotations

from typing import Any

import click

from corral.cli.models_shared import JSON, find_any, find_here, opened, record
from corral.cli.output import note, print_json, say, table
from corral.errors import NotFound
from corral.models.hub.offers import Offer, offers
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.models.library.names import existing_path
from corral.parts import Parts
from corral.text import shorten
from corral.units import gigabytes


@click.command(short_help="Show a model, or a repository of the hub.")
@click.argument("name")
@JSON
def show(name: str, as_json: bool) -> None:
    """Show a model: its file, numbers, prompt format and licence.

    NAME may also be a repository of the hub, owner/repository: then its files are listed.
    """
    with opened(as_json=as_json) as parts:
        model = find_here(parts.library, name)
        if model is None and "/" in name and not existing_path(name):
            _show_repository(parts, name, as_json=as_json)
            return
        facts = _facts(parts.library, model or find_any(parts.library, name))
        if as_json:
            print_json(facts)
            return
        for key, value in facts.items():
            if value not in (None, "") and key != "chat_template":
                say(f"{key:16} {value}")


def _facts(library: Library, model: LocalModel) -> dict[str, Any]:
    facts = record(model) | {"repository": model.repository, "revision": model.revision}
    if licence := library.catalog.licence(model.licence):
        facts |= {"licence_title": licence.title, "licence_url": licence.url or None}
    if family := model.family:
        file = family.file(model.quant)
        facts |= {
            "card": family.card or None,
            "context_length": family.context or None,
            "n_layer": family.n_layer,
            "n_embd": family.n_embd,
            "n_head": family.n_head,
            "n_head_kv": family.n_head_kv,
            "vocab_size": family.n_vocab,
            "quality_loss": family.quality.get(model.quant),
            "pinned": bool(file and file.verified),
        }
    if model.state != "installed":
        return facts
    header = library.header(model)
    return facts | {
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


def _show_repository(parts: Parts, name: str, *, as_json: bool) -> None:
    """Lists what ``owner/repository`` offers, or the one file that is named."""
    repository, _, quant = name.partition(":")
    owner, _, rest = repository.partition("/")
    repository, _, file = rest.partition("/")
    listing = parts.hub().files(f"{owner}/{repository}")
    found = [
        offer
        for offer in offers(listing.files)
        if quant.casefold() in ("", offer.quant.casefold()) and file in ("", offer.file)
    ]
    if not found:
        raise NotFound(
            f"“{shorten(name, 80)}” names no complete GGUF model of the hub",
            hint=f"“corral models show {owner}/{repository}” lists what there is",
        )
    if as_json:
        print_json(
            {
                "repository": listing.repository,
                "revision": listing.revision,
                "gated": listing.gated,
                "licence": listing.licence,
                "files": [_offer(listing.repository, offer) for offer in found],
            }
        )
        return
    rows = [
        [_called(listing.repository, offer), offer.quant or "?", gigabytes(offer.bytes, 2)]
        for offer in found
    ]
    table(rows, ["Name", "Quant", "Size"])
    note(f"Licence: {shorten(listing.licence or 'not told', 60)}. “corral models fit NAME” says")
    note("what of it this machine can run, “corral models pull NAME” downloads it.")


def _called(repository: str, offer: Offer) -> str:
    return f"{repository}:{offer.quant}" if offer.quant else f"{repository}/{offer.file}"


def _offer(repository: str, offer: Offer) -> dict[str, Any]:
    remotes = [remote for joined in offer.files for remote in joined]
    return {
        "name": _called(repository, offer),
        "file": offer.file,
        "quant": offer.quant,
        "bytes": offer.bytes,
        "sha256": remotes[0].sha256 if len(remotes) == 1 else None,
        "parts": [remote.file for remote in remotes] if len(remotes) > 1 else [],
    }
