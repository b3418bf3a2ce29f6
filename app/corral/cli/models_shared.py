"""What the commands of ``corral models`` share: the parts, the contract's records, many at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from corral.cli.output import errors, note, print_json
from corral.errors import CorralError, NotFound
from corral.models.library.library import Library
from corral.models.library.local import LocalModel, from_catalogue
from corral.models.library.names import existing_path, full_name
from corral.parts import Parts, absolute, build
from corral.paths import Paths

JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


@contextmanager
def opened(*, as_json: bool) -> Iterator[Parts]:
    """The parts, closed again; errors become their line, hint and exit code."""
    with errors(as_json=as_json, paths=Paths.from_environment):
        parts = build(Paths.from_environment())
        try:
            for notice in parts.notices:
                note(notice)
            yield parts
        finally:
            parts.close_stores()


def asks() -> bool:
    """Whether there is a person who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def record(model: LocalModel) -> dict[str, Any]:
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


def find_here(library: Library, name: str) -> LocalModel | None:
    """What is on this machine, or on its way, in any state, under a name or the path of its file.

    A family's own name means its recommended quantization.
    """
    wanted = name.casefold()
    if family := library.catalog.families.get(wanted):
        wanted = full_name(family, family.recommended).casefold()
    models = library.models()
    for model in models:
        known = full_name(model.family, model.quant).casefold() if model.family else ""
        if wanted in (model.name.casefold(), known):
            return model
    if path := existing_path(name):
        found = str(absolute(str(path)))
        return next((model for model in models if model.path == found), None)
    return None


def find(library: Library, name: str) -> LocalModel:
    """As :func:`find_here`.

    Raises:
        NotFound, UsageError: there is none, or several; says how to get it, or names that are near.
    """
    return find_here(library, name) or library.resolve(name)


def find_any(library: Library, name: str) -> LocalModel:
    """As :func:`find`, and what is only in the catalogue, whether or not corral may download it.

    Raises:
        NotFound, UsageError: there is none, or several could be meant.
    """
    try:
        return find(library, name)
    except NotFound:
        called, _, quant = name.partition(":")
        family = library.catalog.families.get(called.casefold())
        if family is None:
            raise
        file = family.file(quant.upper() or family.recommended)
        if file is None:
            raise
        return from_catalogue(family, file)


class Deeds:
    """What was done to each of several models: a failure does not keep the next from its turn."""

    def __init__(self, action: str, *, as_json: bool) -> None:
        self._action = action
        self._json = as_json
        self._results: list[dict[str, Any]] = []
        self._exit_code = 0

    @contextmanager
    def each(self, name: str, path: str | None = None) -> Iterator[None]:
        """A :class:`CorralError` inside is noted and goes no further."""
        try:
            yield
        except CorralError as error:
            self.failed(name, path, error)

    def done(self, name: str, path: str | None, **more: Any) -> None:
        self._add(name, path, ok=True, reason=None, **more)

    def failed(self, name: str, path: str | None, error: CorralError, **more: Any) -> None:
        self._exit_code = error.exit_code
        self._add(name, path, ok=False, reason=error.message, **more)
        if not self._json:
            note(f"corral: {error.title}: {error.message}")
            if error.hint:
                note(f"  hint: {error.hint}")

    def skipped(self, name: str, path: str | None, reason: str) -> None:
        """For what is no failure of this command."""
        self._add(name, path, ok=False, reason=reason)
        if not self._json:
            note(f"{name} is left out: {reason}.")

    def _add(
        self, name: str, path: str | None, *, ok: bool, reason: str | None, **more: Any
    ) -> None:
        result = {"name": name, "path": path, "action": self._action, "ok": ok, "reason": reason}
        self._results.append(result | more)

    def finish(self) -> None:
        """Print the results where JSON is wanted, and leave with the code of the last failure."""
        if self._json:
            print_json(self._results)
        if self._exit_code:
            sys.exit(self._exit_code)
