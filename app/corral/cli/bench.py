"""``corral bench``: how fast a model is on this machine."""

from __future__ import annotations

import asyncio
import signal

import click

from corral.benching.bench import Bench
from corral.benching.report import Report
from corral.cli.models_shared import JSON
from corral.cli.output import StatusLine, errors, note, print_json, say, table
from corral.parts import Parts, build
from corral.paths import Paths
from corral.signals import Signals
from corral.units import duration


@click.command(short_help="Measure load, prompt, generation, reuse and restore.")
@click.option("-m", "--model", help="Name or path of a model; else the one that would answer.")
@JSON
def bench(model: str | None, as_json: bool) -> None:
    """Measure how fast a model is on this machine.

    Loading, reading a prompt, generating, the next turn of a conversation, and one that is opened
    again in a new process. It takes a quarter of a minute for the starter and about two minutes
    for a large model; close what else is busy. What the models screen and `corral models fit` say
    about speed is corrected by it.
    """
    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        try:
            for notice in parts.notices:
                note(notice)
            report = asyncio.run(_measure(parts, model))
        finally:
            parts.close_stores()
        if as_json:
            print_json(report.record())
        else:
            _print(report)


async def _measure(parts: Parts, model: str | None) -> Report:
    """Runs it where Ctrl+C and a termination end it in order: its workers end with it.

    Raises:
        SystemExit: it was stopped.
    """
    status = StatusLine()
    work = asyncio.ensure_future(
        Bench(parts).run(
            model, lambda what, done: status.show(f"{100 * done:3.0f} %  {what} · Ctrl+C stops")
        )
    )
    signals = Signals(work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        raise SystemExit(128 + (signals.number or signal.SIGINT)) from None
    finally:
        status.clear()
        await parts.engine.close()


def _print(report: Report) -> None:
    say(report.title)
    rows = [[figure.title, figure.shown, figure.note] for figure in report.figures]
    table(rows[1:], rows[0])
    say(f"Measured in {duration(report.seconds)} on {report.machine['processor']}")
