"""The model hub: what it holds, and the bytes of its files, at a revision that never changes.

Importing this module is cheap: the network's libraries are loaded by the first question that may
be asked. Nothing here writes below the models' folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from corral.errors import CorralError, Refused, UsageError
from corral.models.files import set_length
from corral.models.gguf.header import Header, read_header
from corral.models.hub.names import safe_file, safe_repository, safe_revision
from corral.models.hub.types import HubError, Listing, RemoteFile, Repository
from corral.text import shorten

if TYPE_CHECKING:
    from corral.models.hub.http import Http

ENDPOINT = "https://huggingface.co"

_HEADS = (2, 8, 32)
"""Megabytes from the start of a file in which its header is looked for, one after the other."""
_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class Hub:
    """A client of one hub; may be used by many threads at once.

    Every method raises, besides what it says itself:
        HubError: no network, no hub, a hub that is busy or down, or offline mode.
        NotFound, Refused: there is no such thing, or it is not for this person; see the message.
        UsageError: a name that cannot be one.

    Args:
        cache: a folder for temporary files and for what the hub's library keeps.
        offline: nothing is asked, ever; ``HF_HUB_OFFLINE`` does the same.
        endpoint: else ``HF_ENDPOINT``, else Hugging Face.
        token: else ``HF_TOKEN``, else the one ``hf auth login`` left; sent to the hub alone, and
            only for repositories that ask for one.
        patience: seconds to wait for an answer.
        stall: seconds to wait for the next bytes of a file.
    """

    def __init__(
        self,
        cache: Path,
        *,
        offline: bool = False,
        endpoint: str | None = None,
        token: str | None = None,
        patience: float = 10.0,
        stall: float = 30.0,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.endpoint = (endpoint or environment.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
        self._cache = cache
        self._offline = "--offline or CORRAL_OFFLINE says so" if offline else _switched(environment)
        self._token = _token(token or environment.get("HF_TOKEN") or _token_file(environment))
        self._patience = patience
        self._stall = stall
        self._connected: Http | None = None
        self._lock = threading.Lock()

    @property
    def offline(self) -> str:
        """Why nothing is asked; empty when it may be."""
        return self._offline

    def file(self, repository: str, revision: str, file: str) -> RemoteFile:
        """What the hub says about one file; one HEAD request."""
        _check(repository, revision, file)
        return self._http().file(repository, revision, file)

    def files(self, repository: str, revision: str = "main") -> Listing:
        """Every file of a repository, with sizes and hashes; one request."""
        _check(repository, revision)
        return self._http().files(repository, revision)

    def search(self, query: str, limit: int = 30) -> list[Repository]:
        """Repositories with GGUF files, the most downloaded first."""
        return self._http().search(query, limit)

    def text(self, repository: str, revision: str, file: str, limit: int = 262_144) -> bytes:
        """A small file, checked against its hash.

        Raises:
            Refused: it is longer than ``limit`` bytes, or not what its hash says.
        """
        remote = self.file(repository, revision, file)
        shown = shorten(file, 80)
        if remote.size > limit:
            raise Refused(f"“{shown}” is {remote.size} bytes long, too much for a text")
        with self.open(remote, 0, remote.size) as chunks:
            data = b"".join(chunks)
        if remote.sha256:
            digest = hashlib.sha256(data).hexdigest()
        else:  # git's own naming of contents, not ours to choose
            digest = hashlib.sha1(
                b"blob %d\0" % len(data) + data, usedforsecurity=False
            ).hexdigest()
        if digest != remote.etag:
            raise Refused(f"“{shown}” did not arrive as the hub holds it", title="Does not match")
        return data

    def header(self, remote: RemoteFile) -> Header:
        """The validated header of a model file, from the first megabytes of it.

        The ``path`` in it leads nowhere. A model that is split into several files cannot be read.

        Raises:
            Refused: it is not a model file that is safe to load and possible to chat with.
        """
        try:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._cache, prefix="header-") as folder:
                return self._header(remote, Path(folder) / remote.file.rpartition("/")[2])
        except OSError as error:
            raise CorralError(
                f"The beginning of “{shorten(remote.file, 80)}” cannot be looked at:"
                f" {error.strerror}",
                hint=f"Look at {shorten(str(self._cache), 160)} and the room on its disk",
            ) from None

    def _header(self, remote: RemoteFile, path: Path) -> Header:
        have = 0
        with path.open("wb") as file:
            set_length(file, remote.size)
        for head in (size * 1024 * 1024 for size in _HEADS):
            stop = min(head, remote.size)
            with path.open("r+b") as file, self.open(remote, have, stop) as chunks:
                file.seek(have)
                file.writelines(chunks)
            have, last = stop, stop == remote.size or head == _HEADS[-1] * 1024 * 1024
            try:
                header = read_header(path)
            except Refused:
                if last:
                    raise
                continue
            # What reads the zeros that were not fetched as vocabulary finds no weights.
            if last or remote.size - header.tensor_bytes <= have:
                return header
        raise AssertionError("the last head returns or raises")

    def open(
        self,
        remote: RemoteFile,
        start: int,
        stop: int,
        room: Callable[[int], memoryview] | None = None,
    ) -> AbstractContextManager[Iterator[bytes | memoryview]]:
        """The bytes from ``start`` to before ``stop``; asks the hub for a fresh address each time.

        Chunks have up to 256 KiB, the fastest size there is on a loopback; long ranges come
        straight from the socket, short ones (below 32 MiB) leave the connection open for the next.
        A read may block for as long as ``stall``; :meth:`close` ends it from any thread.

        Args:
            room: gives a place of at most so many bytes; a chunk of a long range is then the
                beginning of that place, received without a copy.

        Raises:
            HubError: before or while iterating; with ``retry`` when the rest can be asked for.
            RangeIgnored: ``start`` is not 0 and the server cannot do that.
            FileChanged: it has another size or hash now.
        """
        _check(remote.repository, remote.revision, remote.file)
        return self._http().body(remote, start, stop, room)

    def close(self) -> None:
        """Ends every connection; whoever reads gets an error at once."""
        with self._lock:
            if self._connected:
                self._connected.close()
                self._connected = None

    def _http(self) -> Http:
        if self._offline:
            raise HubError(
                f"Nothing is asked of the hub: {self._offline}",
                title="Offline",
                hint="What is on this machine can be used; start without it to search and download",
            )
        with self._lock:
            if self._connected is None:
                with _library_environment(self._cache, self.endpoint):
                    from corral.models.hub.http import Http
                self._connected = Http(self.endpoint, self._token, self._patience, self._stall)
            return self._connected


@contextmanager
def _library_environment(cache: Path, endpoint: str) -> Iterator[None]:
    """What the hub's library reads when it is imported; later it would be too late.

    No telemetry, no transfers of its own, no token that it finds itself, nothing outside our cache.
    """
    wanted = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache / "huggingface"),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _switched(environment: Mapping[str, str]) -> str:
    """Which of the library's own switches is on."""
    for name in _SWITCHES:
        if environment.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return f"{name} is set"
    return ""


def _token_file(environment: Mapping[str, str]) -> str:
    """The token where ``hf auth login`` keeps it."""
    home = environment.get("HF_HOME")
    if not home:
        home = f"{environment.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    try:
        path = Path(environment.get("HF_TOKEN_PATH") or f"{home}/token").expanduser()
        return path.read_text(encoding="ascii")
    except (OSError, RuntimeError, ValueError):
        return ""


def _token(text: str) -> str | None:
    """``text`` if it can be sent as a token."""
    return text.strip() if re.fullmatch(r"[!-~]{8,200}", text.strip()) else None


def _check(repository: str, revision: str, file: str | None = None) -> None:
    if not safe_repository(repository):
        raise UsageError(
            f"“{shorten(repository, 80)}” cannot be the name of a repository",
            hint="They look like owner/name",
        )
    if not safe_revision(revision):
        raise UsageError(f"“{shorten(revision, 80)}” cannot be a revision of a repository")
    if file is not None and not safe_file(file):
        raise Refused(
            f"The name “{shorten(file, 80)}” is not safe for a file on this machine",
            title="Unsafe name",
        )
