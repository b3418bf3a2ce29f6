"""What is remembered about loading models: a person's numbers, crashes, and how fast it goes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from corral.engine.protocol import LoadSpec
from corral.errors import StoreError, UsageError
from corral.models.files import mark, status_of
from corral.models.library.local import LocalModel

_RATE = "load-rate"
_CRASHES = 16
"""Ways to load one file that are remembered as having crashed."""
_NOT_A_PERSON_S = {"path", "vocab_only"}


class Memo(Protocol):
    """What is needed of :class:`corral.store.store.Store`."""

    def remember(self, key: str, value: str) -> None: ...
    def recall(self, key: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Crash:
    """A load that ended its worker."""

    said: str
    """The error's sentence."""
    memory: bool
    """Whether memory was the reason."""


class LoadMemo:
    """Notes that outlive the program. None of them is worth failing for: what cannot be written
    is not remembered, what cannot be read is as if it were not there."""

    def __init__(self, memo: Memo) -> None:
        self._memo = memo

    # --- load parameters of one model -------------------------------------------------------------

    def parameters(self, model: LocalModel) -> dict[str, Any]:
        """Fields of :class:`LoadSpec` that a person set for this model, for all conversations."""
        values = self._read(f"load-parameters:{model.path}")
        try:
            LoadSpec.model_validate({**values, "path": "/"})
        except ValidationError:
            return {}
        return values

    def set_parameters(self, model: LocalModel, values: Mapping[str, Any]) -> None:
        """Remember fields of :class:`LoadSpec` for a model; None forgets one.

        Raises:
            UsageError: there is no such field, or the value is out of range.
            StoreError: it could not be kept.
        """
        kept = {key: value for key, value in values.items() if value is not None}
        unknown = [key for key in values if key not in set(LoadSpec.model_fields) - _NOT_A_PERSON_S]
        if unknown:
            raise UsageError(f"There is no load parameter {unknown[0]}")
        try:
            LoadSpec.model_validate({**kept, "path": "/"})
        except ValidationError as error:
            detail = error.errors()[0]
            raise UsageError(
                f"{detail['loc'][0]}: {detail['msg']}", title="Parameter out of range"
            ) from None
        before = self.parameters(model)
        now = {key: value for key, value in before.items() if key not in values} | kept
        self._memo.remember(f"load-parameters:{model.path}", json.dumps(now))

    # --- crashes ----------------------------------------------------------------------------------

    def crash(self, spec: LoadSpec) -> Crash | None:
        """How loading this very file in this very way ended the last time, if it crashed."""
        found = self._crashes(spec).get(_as_text(spec))
        if not isinstance(found, dict):
            return None
        return Crash(str(found.get("said", "")), bool(found.get("memory")))

    def note_crash(self, spec: LoadSpec, said: str, *, memory: bool) -> None:
        crashes = self._crashes(spec)
        crashes.pop(_as_text(spec), None)  # The latest is the last.
        crashes[_as_text(spec)] = {"said": said, "memory": memory}
        self._keep_crashes(spec, dict(list(crashes.items())[-_CRASHES:]))

    def forget_crash(self, spec: LoadSpec) -> None:
        """It went well this way."""
        crashes = self._crashes(spec)
        if crashes.pop(_as_text(spec), None):
            self._keep_crashes(spec, crashes)

    def forget_crashes(self, spec: LoadSpec) -> None:
        """The person wants this file to be tried again, in every way."""
        if self._crashes(spec):
            self._keep_crashes(spec, {})

    def _crashes(self, spec: LoadSpec) -> dict[str, Any]:
        """Notes about this file as it is now, by the way it was loaded."""
        found = self._read(_crash_key(spec))
        crashes = found.get("crashes")
        return crashes if found.get("file") == _mark(spec) and isinstance(crashes, dict) else {}

    def _keep_crashes(self, spec: LoadSpec, crashes: dict[str, Any]) -> None:
        note = json.dumps({"file": _mark(spec), "crashes": crashes}) if crashes else ""
        with contextlib.suppress(StoreError):
            self._memo.remember(_crash_key(spec), note)

    # --- speed ------------------------------------------------------------------------------------

    def rate(self) -> float | None:
        """Bytes a second of the last load that was worth measuring."""
        rate = self._read(_RATE).get("bytes_per_second")
        return float(rate) if isinstance(rate, int | float) and rate > 0 else None

    def note_rate(self, bytes_per_second: float) -> None:
        with contextlib.suppress(StoreError):
            self._memo.remember(_RATE, json.dumps({"bytes_per_second": bytes_per_second}))

    def _read(self, key: str) -> dict[str, Any]:
        try:
            found = json.loads(self._memo.recall(key) or "{}")
        except (StoreError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _crash_key(spec: LoadSpec) -> str:
    return f"load-crash:{spec.path}"


def _mark(spec: LoadSpec) -> list[int] | None:
    status = status_of(Path(spec.path))
    return list(mark(status)) if status else None


def _as_text(spec: LoadSpec) -> str:
    return spec.model_dump_json(exclude_defaults=True)
