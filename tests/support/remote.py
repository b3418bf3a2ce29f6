"""What the tests of the hub's client ask for, and how they read it."""

from __future__ import annotations

from pathlib import Path

from corral.errors import CorralError
from corral.models.hub.client import Hub
from corral.models.hub.types import RemoteFile

REPO = "somebody/Tiny-GGUF"
FILE = "tiny.Q4_K_M.gguf"
DATA = b"GGUF" + bytes(range(256)) * 4000
TEXT = b"You may use this.\n"
ROOT = Path(__file__).parents[2]
HOSTILE = "\x1b]0;owned\x07\nhf_secretsecret https://cdn/x?X-Amz-Signature=deadbeef \u202eevil"


def read(hub: Hub, remote: RemoteFile, start: int = 0, stop: int | None = None) -> bytes:
    with hub.open(remote, start, remote.size if stop is None else stop) as chunks:
        return b"".join(chunks)


def said(error: CorralError) -> str:
    return f"{error.title}. {error.message}. {error.hint}"
