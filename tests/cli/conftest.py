"""Runs the real program, as a script would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass
class Run:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON values on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Corral = Callable[..., Run]


@pytest.fixture
def corral(private_home: object) -> Corral:
    """``corral("ask", "…")`` runs the command line; ``stdin`` takes text or bytes."""

    def run(*arguments: str, stdin: str | bytes = b"", timeout: float = 120) -> Run:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [sys.executable, "-P", "-m", "corral", *arguments],
            input=data,
            capture_output=True,
            timeout=timeout,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in out + err
        assert "\x1b" not in out + err, "no escape where nobody is at a terminal"
        return Run(done.returncode, out, err)

    return run
