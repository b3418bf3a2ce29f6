"""``corral models pull``: ask what has to be asked, then follow the download to its end."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from corral.cli import machine
from corral.cli.models_fit import of_plan
from corral.cli.models_shared import JSON, asks, find_any, find_here, opened
from corral.cli.output import INTERRUPTED, note, print_json, say
from corral.cli.progress import Bar
from corral.errors import CorralError, DoesNotFit, NetworkError, Refused
from corral.text import clean

if TYPE_CHECKING:
    from corral.models.catalog import Licence
    from corral.models.downloads.downloads import Downloads
    from corral.models.downloads.plan import DownloadPlan
    from corral.models.library.local import LocalModel
    from corral.models.library.verifying import Verdict
    from corral.parts import Parts
    from corral.store.downloads import Download

LOOK_S = 0.2
"""Between two looks at the row."""
ATTEMPTS = 2
"""In a row without a byte: then a script is told instead of waiting for ever."""


@click.command(short_help="Download a model, or go on with it.")
@click.argument("name")
@click.option(
    "--accept-licence",
    "agreed",
    multiple=True,
    metavar="LICENCE",
    help="You have read this licence and agree, as in --accept-licence llama2.",
)
@JSON
def pull(name: str, agreed: tuple[str, ...], as_json: bool) -> None:
    """Download a model, or go on with it: stop it at any moment and call it again.

    NAME is one of the catalogue, with or without its quantization (llama-2-7b-chat:Q4_K_M), or a
    repository of the hub (owner/repository:QUANT, owner/repository/file.gguf).
    """
    with opened(as_json=as_json) as parts:
        model, fetched = find_here(parts.library, name), 0
        if model is not None and model.state == "damaged" and model.source == "download":
            fetched = mend(parts, model, check(parts, model), as_json=as_json)
            path = model.path
        elif model is not None and model.state == "installed":
            path = model.path
        else:
            plan = parts.downloads.plan(name)
            if plan.licence is not None:
                ask(parts.downloads, plan.licence, plan.title, agreed)
            if plan.warning:
                note(f"{plan.warning}.")
            warn_if_too_large(parts, plan)
            fetched = fetch(parts.downloads, parts.downloads.add(plan), as_json=as_json)
            path = str(plan.folder / plan.targets[0].name)
        model = next(one for one in parts.library.models() if one.path == path)
        if as_json:
            done = {"type": "done", "name": model.name, "path": path}
            print_json(done | {"sha256": model.sha256, "fetched_bytes": fetched})
        else:
            note(f"{model.name} is here{'' if fetched else ' already'}.")
            say(path or "")


def ask(downloads: Downloads, licence: Licence, title: str, agreed: tuple[str, ...]) -> None:
    """Have a licence accepted: beforehand on the command line, or now at the terminal.

    Raises:
        Refused: it was not.
    """
    if licence.name in agreed:
        downloads.accept(licence, downloads.licence_text(licence))
        return
    refused = Refused(
        f"{title} is under the {licence.title}, which you have not accepted",
        title="Licence not accepted",
        hint=f"Read it at {licence.url} and add “--accept-licence {licence.name}”",
    )
    if not asks():
        raise refused
    text = downloads.licence_text(licence)
    note(clean(text).rstrip())
    note("")
    note(f"{title} is under the {licence.title}, printed above ({licence.url}).")
    note(licence.summary)
    if not click.confirm("Have you read it, and do you agree?", err=True):
        raise refused
    downloads.accept(licence, text)


def warn_if_too_large(parts: Parts, plan: DownloadPlan) -> None:
    """Say that a model would not run here, and what would; at a terminal, ask.

    Raises:
        DoesNotFit: then it is not wanted.
    """
    if plan.header is None and plan.family is None:
        return
    model, header = of_plan(plan) if plan.header else (find_any(parts.library, plan.name), None)
    # Without graphics cards it is told at once, and mostly that suffices.
    if parts.fitter.fit(model, header).fits == "no":
        machine.look(parts)
    fit = parts.fitter.fit(model, header)
    if fit.fits == "no" and not fit.fits_if_released:
        note(f"{plan.title} does not run on this machine as it is. {fit.reason}.")
        if asks() and not click.confirm("Download it all the same?", err=True):
            raise DoesNotFit(fit.reason)


def check(parts: Parts, model: LocalModel) -> Verdict:
    """Read a model to its end, with a bar."""
    bar = Bar(f"{model.name}, reading", patient=True)
    try:
        return parts.library.verify(model, bar.show)
    finally:
        bar.clear()


def mend(parts: Parts, model: LocalModel, verdict: Verdict, *, as_json: bool = False) -> int:
    """Fetch again what is damaged of a file that was downloaded, and only that.

    Returns:
        The bytes that were fetched.

    Raises:
        CorralError: as :func:`fetch`.
    """
    if verdict.ok:
        return 0
    note(f"{model.name} is damaged: {verdict.reason}.")
    download = parts.downloads.repair(verdict.path, verdict.damaged_pieces)
    return fetch(parts.downloads, download, as_json=as_json)


def fetch(downloads: Downloads, download: Download, *, as_json: bool = False) -> int:
    """Follow a download of the queue until it is installed, and work on it if nobody else does.

    Returns:
        The bytes that came over the network meanwhile.

    Raises:
        CorralError: it failed, was paused or cancelled elsewhere, or the network stays away.
    """
    before = download.fetched
    # Who asks here waits for it: now, and before everything else in the queue.
    downloads.move(download.id, -len(downloads.all()))
    downloads.resume(download.id)
    bar = Bar(download.title, as_json=as_json)
    try:
        downloads.start()
        return max(0, _follow(downloads, download.id, bar).fetched - before)
    except KeyboardInterrupt:
        bar.clear()
        downloads.close()
        if downloads.get(download.id).state == "running":
            note("It goes on in the corral that is open.")
        else:
            note("Stopped. What has arrived is kept; the same command goes on with it.")
        sys.exit(INTERRUPTED)
    finally:
        bar.clear()
        downloads.close()


def _follow(downloads: Downloads, id: int, bar: Bar) -> Download:
    while True:
        download = downloads.get(id)
        if download.state == "done":
            return download
        if download.state in ("failed", "paused") or download.tries >= ATTEMPTS:
            raise why(download)
        doing = download.stage if download.stage != "transfer" else ""
        if download.state == "queued" and any(d.state == "running" for d in downloads.all()):
            doing = "waiting for another download"
        bar.show(download.done, download.bytes, download.rate, download.eta, download.note or doing)
        time.sleep(LOOK_S)


def why(download: Download) -> CorralError:
    """Why a download did not come to its end, with the exit code that this has."""
    kept = "What has arrived is kept; the same command goes on with it"
    hint = f"{download.hint}. {kept}" if download.hint else kept
    if download.state == "failed":
        return Refused(download.error, hint=hint, title="The download failed")
    if download.state == "queued":
        return NetworkError(download.note, hint=hint)
    if download.error:
        return DoesNotFit(download.error, hint=hint)
    return CorralError("It was paused from elsewhere", hint=hint, title="Paused")
