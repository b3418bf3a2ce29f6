"""What every channel says of corral: the one place it is written, beside pyproject.toml.

A script of this folder takes it with ``sys.path.insert(0, str(PACKAGING))`` and ``import product``.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NAME: str = PROJECT["name"]
VERSION: str = PROJECT["version"]
LICENCE: str = PROJECT["license"]
PYTHON: str = PROJECT["requires-python"].removeprefix(">=")
"""The oldest Python it runs on, such as 3.11."""

SUMMARY = "Chat with Llama 2 models on your own machine, offline"
DESCRIPTION = (
    "corral is a chat application for the terminal. It talks with Llama 2 models and their "
    "relatives in GGUF files through llama.cpp, on your own machine, and remembers everything you "
    "wrote. Nothing leaves the machine: only a download or a search on the hub opens a connection."
)

# To be changed here, and nowhere else, once the project has an address of its own.
HOME = "https://github.com/corral-chat/corral"
DOWNLOADS = f"{HOME}/releases/download/v{VERSION}"
"""Where the files of a release lie."""
ID = "io.github.corral_chat.corral"
"""AppStream's and macOS's name of the program."""
PUBLISHER = "The corral authors"
EMAIL = "corral@localhost"


def engine() -> str:
    """The exact version of llama-cpp-python that this version of corral is for."""
    for requirement in PROJECT["dependencies"]:
        if found := re.fullmatch(r"llama-cpp-python==(\S+)", requirement):
            return found[1]
    raise LookupError("pyproject.toml does not pin llama-cpp-python")


def system() -> str:
    """What a build on this machine is for, in the names of files: linux-x86_64, darwin-arm64."""
    return f"{platform.system()}-{platform.machine()}".lower()


def epoch() -> int:
    """Seconds since 1970 that everything built from this checkout carries.

    SOURCE_DATE_EPOCH, else the last commit, else (an unpacked archive) the time of this file.
    """
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    try:
        # An archive that was unpacked inside of somebody's repository is not of its commits.
        if (ROOT / ".git").exists():
            return int(subprocess.run(command, capture_output=True, check=True).stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):
        pass
    return int(Path(__file__).stat().st_mtime)


def release_date() -> str:
    """The day of the release as 2026-11-21."""
    return datetime.datetime.fromtimestamp(epoch(), datetime.UTC).date().isoformat()
