"""Where corral's files live: the only reader of ``CORRAL_HOME``, the only user of platformdirs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from corral.placing import put


@dataclass(frozen=True, slots=True)
class Paths:
    """The four folders, each made with mode 0700 by :meth:`make`."""

    config: Path
    data: Path
    cache: Path
    logs: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Paths:
        """Below ``CORRAL_HOME`` when that is set, else where the platform keeps such things."""
        if home := environment.get("CORRAL_HOME"):
            root = Path(home)
            with contextlib.suppress(RuntimeError):  # ~nobody
                root = root.expanduser()
            root = root.absolute()
            return cls(root / "config", root / "data", root / "cache", root / "logs")
        dirs = platformdirs.PlatformDirs("corral", appauthor=False)
        return cls(
            dirs.user_config_path, dirs.user_data_path, dirs.user_cache_path, dirs.user_log_path
        )

    def make(self) -> None:
        """Create the folders, private to the person.

        Raises:
            OSError: a folder cannot be made; the caller turns it into one clear line.
        """
        for folder in (self.config, self.data, self.cache, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.name == "posix" and folder.stat().st_mode & 0o077:
                folder.chmod(0o700)

    @property
    def settings_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def engines(self) -> Path:
        """Engine packs, a folder each; nothing native is loaded from anywhere else."""
        return self.data / "engines"

    @property
    def engine_notes(self) -> Path:
        """What trying them out said."""
        return self.cache / "engines.json"

    @property
    def presets(self) -> Path:
        """A person's own presets, a file each; nobody makes it but the person."""
        return self.config / "presets"

    @property
    def database(self) -> Path:
        return self.data / "corral.db"

    @property
    def engine_log(self) -> Path:
        return self.logs / "engine.log"

    @property
    def app_log(self) -> Path:
        return self.logs / "corral.log"


def write_own(path: Path, text: str) -> None:
    """Write a person's file whole or not at all; where it is a link, what that leads to.

    Raises:
        OSError: it cannot be written; what was there before is whole.
    """
    if path.is_symlink():  # Somebody keeps it elsewhere, and it stays there.
        path = path.resolve()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o600)
        put(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
