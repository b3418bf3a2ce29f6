"""llama.cpp in the process of the tests themselves."""

from __future__ import annotations

from functools import cache

from corral.engine.llama import library


@cache
def log() -> library.NativeLog:
    """The one of this process: llama.cpp speaks to the last that was made, and for good."""
    return library.start()
