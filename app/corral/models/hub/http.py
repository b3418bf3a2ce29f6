"""The requests to a hub: its library for metadata and errors, httpx2 for the bytes.

The library's own transfers are not used: they forget what they have and check no hash. When this
is imported, the environment of :func:`corral.models.hub.client.library_environment` has to be set.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import re
import socket
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import (
    HfApi,
    close_session,
    get_hf_file_metadata,
    hf_hub_url,
    hf_raise_for_status,
)
from huggingface_hub.errors import GatedRepoError
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
from pydantic import BaseModel, Field, TypeAdapter

import corral
from corral.errors import CorralError, Refused
from corral.models.hub.body import Room, chunks_of
from corral.models.hub.errors import (
    FAILURES,
    About,
    bad_endpoint,
    not_a_hub,
    too_many_redirects,
    translate,
    unusable,
)
from corral.models.hub.names import is_commit, safe_file, safe_repository
from corral.models.hub.replies import (
    check_promise,
    check_reply,
    out_of_range,
    redirected,
)
from corral.models.hub.types import FileChanged, Listing, RemoteFile, Repository
from corral.text import shorten

HOPS = 5
"""Redirects; the hub itself needs one."""
_SMALL = 65_536
_LONGEST_ANSWER = 16 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ETAG = re.compile(r"[\w.:+/=-]{1,200}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d(T[\d:.]{5,16}Z?)?", re.ASCII)
_Value = TypeVar("_Value")


class _Found(BaseModel):
    """One repository of a search's answer."""

    id: str
    downloads: int = Field(0, ge=0)
    likes: int = Field(0, ge=0)
    last_modified: str = Field("", alias="lastModified")
    gated: bool | str | None = False
    tags: list[str] = []


_FOUND = TypeAdapter(list[_Found])


class Http:
    """One hub's connections; :class:`corral.models.hub.client.Hub` says what the methods mean."""

    def __init__(self, endpoint: str, token: str | None, patience: float, stall: float) -> None:
        self._endpoint = endpoint
        self._patience = patience
        self._stall = stall
        self._wants_token: set[str] = set()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        _quiet()
        self._token = token if _may_carry_secrets(endpoint) else None
        try:
            self._client = httpx2.Client(follow_redirects=False, timeout=patience)
        except (ValueError, ImportError, OSError, httpx2.InvalidURL) as error:
            raise unusable(error) from None
        self._agent = build_hf_headers(
            token=False, library_name="corral", library_version=corral.__version__
        )

    def close(self) -> None:
        with self._lock:
            for connection in list(self._sockets):
                # To close it would not wake a thread that waits for bytes.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._client.close()
        close_session()

    # --- metadata

    def file(self, repository: str, revision: str, file: str) -> RemoteFile:
        url = self._url(repository, revision, file)

        def ask(token: str | None) -> RemoteFile:
            told = get_hf_file_metadata(
                url, token=token or False, timeout=self._patience, headers=self._agent
            )
            if told.commit_hash is None or told.etag is None or told.size is None:
                raise not_a_hub(self._endpoint)
            return self._remote(repository, told.commit_hash, file, told.size, told.etag)

        remote = self._ask(ask, About(self._endpoint, repository, revision, file))
        if is_commit(revision) and remote.revision != revision:
            raise FileChanged(f"The hub answers with another revision of {repository}")
        return remote

    def files(self, repository: str, revision: str) -> Listing:
        api = HfApi(
            self._endpoint, token=False, library_name="corral", library_version=corral.__version__
        )

        def ask(token: str | None) -> Listing:
            info = api.model_info(
                repository,
                revision=revision,
                files_metadata=True,
                timeout=self._patience,
                token=token or False,
            )
            if info.disabled:
                raise Refused(f"The hub has disabled {repository}", title="Disabled")
            if not is_commit(info.sha or ""):
                raise not_a_hub(self._endpoint)
            return Listing(
                repository=repository,
                revision=info.sha or "",
                gated=bool(info.gated),
                licence=_licence(info.tags or []),
                files=tuple(self._listed(repository, info.sha or "", info.siblings or [])),
            )

        return self._ask(ask, About(self._endpoint, repository, revision))

    def _listed(self, repository: str, commit: str, siblings: list[Any]) -> Iterator[RemoteFile]:
        seen: set[str] = set()
        for sibling in siblings:
            name, size = sibling.rfilename, sibling.size
            etag = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
            # On many systems names that differ in case alone are the same file.
            if size is None or not safe_file(name) or name.casefold() in seen:
                continue
            seen.add(name.casefold())
            yield self._remote(repository, commit, name, size, etag)

    def _remote(self, repository: str, commit: str, file: str, size: int, etag: str) -> RemoteFile:
        if not (is_commit(commit) and _ETAG.fullmatch(etag) and size >= 0):
            raise not_a_hub(self._endpoint)
        sha256 = etag if _SHA256.fullmatch(etag) else None
        return RemoteFile(repository, commit, file, size, sha256, etag)

    def search(self, query: str, limit: int) -> list[Repository]:
        asked = {
            "search": query[:200],
            "filter": "gguf",
            "sort": "downloads",
            "limit": str(limit),
            "expand": ["downloads", "likes", "lastModified", "gated", "tags"],
        }

        def ask(_: str | None) -> list[Repository]:
            url = f"{self._endpoint}/api/models"
            with self._client.stream("GET", url, params=asked, headers=self._agent) as response:
                _raise_for_status(response)
                if response.status_code != 200:
                    raise not_a_hub(self._endpoint)
                answer = bytearray()
                for chunk in response.iter_bytes():
                    answer += chunk
                    if len(answer) > _LONGEST_ANSWER:
                        raise not_a_hub(self._endpoint)
            return [
                Repository(
                    name=found.id,
                    downloads=found.downloads,
                    likes=found.likes,
                    updated=found.last_modified if _DATE.fullmatch(found.last_modified) else "",
                    gated=bool(found.gated),
                    licence=_licence(found.tags),
                )
                for found in _FOUND.validate_json(bytes(answer))
                if safe_repository(found.id)
            ][:limit]

        return self._ask(ask, About(self._endpoint))

    def _ask(self, ask: Callable[[str | None], _Value], about: About) -> _Value:
        """The token goes out only where the hub said that it wants one."""
        token = self._token if about.repository in self._wants_token else None
        try:
            try:
                return ask(token)
            except GatedRepoError:
                if token or not self._token:
                    raise
            token = self._token
            self._wants_token.add(about.repository)
            return ask(token)
        except CorralError:
            raise
        except FAILURES as error:
            raise translate(error, replace(about, token=token)) from None

    def _url(self, repository: str, revision: str, file: str) -> str:
        return hf_hub_url(repository, file, revision=revision, endpoint=self._endpoint)

    # --- bytes

    @contextlib.contextmanager
    def body(
        self, remote: RemoteFile, start: int, stop: int, room: Room | None = None
    ) -> Iterator[Iterator[bytes | memoryview]]:
        about = About(self._endpoint, remote.repository, remote.revision, remote.file)
        response = self._ask(lambda token: self._request(remote, start, stop, token), about)
        chunks = chunks_of(response, remote, start, stop, self._stall, room)
        try:
            yield chunks
        finally:
            chunks.close()
            response.close()

    def _request(
        self, remote: RemoteFile, start: int, stop: int, token: str | None
    ) -> httpx2.Response:
        url = self._url(remote.repository, remote.revision, remote.file)
        home = _origin(url)
        for _ in range(HOPS + 1):
            headers = {**self._agent, "Accept-Encoding": "identity"}
            if start or stop < remote.size:
                headers["Range"] = f"bytes={start}-{stop - 1}"
            if token and _origin(url) == home:
                headers["Authorization"] = f"Bearer {token}"
            try:
                response = self._send(url, headers)
            except httpx2.HTTPError as error:
                raise translate(error, About(self._endpoint), url) from None
            try:
                last = not response.has_redirect_location
                if response.status_code == 416:
                    raise out_of_range(response.headers, remote)
                _raise_for_status(response)
                check_promise(response.headers, remote, last=last)
                if last:
                    check_reply(response.status_code, response.headers, remote, start, stop)
                    return response
                url = redirected(url, response.headers["Location"])
                if int(response.headers.get("Content-Length", _SMALL + 1)) <= _SMALL:
                    response.read()  # so that the connection can be used again
            except BaseException:
                response.close()
                raise
            response.close()
        raise too_many_redirects(url)

    def _send(self, url: str, headers: dict[str, str]) -> httpx2.Response:
        request = self._client.build_request("GET", url, headers=headers)
        request.extensions["trace"] = self._trace
        return self._client.send(request, stream=True)

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            with self._lock:
                self._sockets.add(info["return_value"].get_extra_info("socket"))


def _raise_for_status(response: httpx2.Response) -> None:
    """As the hub's library does it, but without reading the reply to its end, however long."""
    if response.is_error:
        bare = httpx2.Response(
            response.status_code, headers=response.headers, request=response.request
        )
        hf_raise_for_status(bare)


def _licence(tags: Iterable[object]) -> str | None:
    """The one a repository is tagged with, cleaned."""
    for tag in tags:
        if isinstance(tag, str) and tag.startswith("license:"):
            return shorten(tag.removeprefix("license:"), 40) or None
    return None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _may_carry_secrets(endpoint: str) -> bool:
    """Only encrypted, or to this machine itself.

    Raises:
        HubError: it is no address of a hub.
    """
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in ("http", "https") and parts.port != 0 and not parts.username
    except ValueError:
        sound = False
    if not sound or not parts.hostname:
        raise bad_endpoint(endpoint)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(parts.hostname).is_loopback
    return False


def _quiet() -> None:
    """The libraries' logs hold signed addresses and must not reach the terminal."""
    for name in ("huggingface_hub", "httpx2", "httpcore2"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
