"""Checks of what a byte server answers, before a byte of it is believed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from corral.errors import Refused
from corral.models.hub.types import SIGN_IN, FileChanged, HubError, RangeIgnored, RemoteFile
from corral.text import shorten

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)
_MARKUP = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<error", b'{"', b"{ ", b"{\n")


def redirected(url: str, location: str) -> str:
    """The address that ``url`` leads to.

    Raises:
        Refused: it is not one of the web, or it is less safe than the one before.
    """
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
    except ValueError:
        sound = False
    if not sound:
        raise Refused("The hub sent an address that is not one of the web", title="Bad redirect")
    if urlsplit(url).scheme == "https" and parts.scheme != "https":
        raise Refused(
            f"The hub wanted to go on without encryption, at {shorten(parts.hostname or '', 80)}",
            title="Bad redirect",
        )
    return target


def check_promise(headers: Mapping[str, str], remote: RemoteFile, *, last: bool) -> None:
    """Compares what the hub says about a file on the way to it.

    Raises:
        FileChanged: it is about another file than ``remote``.
    """
    etag = headers.get("X-Linked-Etag")
    if etag is None and last and "X-Repo-Commit" in headers:
        etag = headers.get("ETag")
    size = headers.get("X-Linked-Size", str(remote.size))
    if (etag and etag.removeprefix("W/").strip('"') != remote.etag) or size != str(remote.size):
        raise changed(remote)


def check_reply(
    status: int, headers: Mapping[str, str], remote: RemoteFile, start: int, stop: int
) -> None:
    """Whether these are the bytes that were asked for, and no others.

    Raises:
        HubError, RangeIgnored, FileChanged: as :meth:`corral.models.hub.client.Hub.open`.
    """
    if "html" in headers.get("Content-Type", "") and not remote.file.endswith((".html", ".htm")):
        raise a_page(remote)
    if headers.get("Content-Encoding", "identity") != "identity":
        raise HubError("The server compresses the file although it must not", retry=True)
    length = headers.get("Content-Length")
    if status == 200:
        if start:
            raise RangeIgnored("The server sends only the whole file", retry=True)
        if length is not None and length != str(remote.size):
            raise changed(remote)
        return
    match = _RANGE.fullmatch(headers.get("Content-Range", "")) if status == 206 else None
    if match is None:
        raise HubError(f"The server's answer makes no sense (status {status})", retry=True)
    first, final, total = (int(number) for number in match.groups())
    if total != remote.size:
        raise changed(remote)
    if first != start or not first <= final < stop:
        raise HubError("The server sends another part of the file than it should", retry=True)


def out_of_range(headers: Mapping[str, str], remote: RemoteFile) -> HubError | FileChanged:
    """What a status of 416 means: the server's file is not as long as the hub said."""
    match = _UNSATISFIED.fullmatch(headers.get("Content-Range", ""))
    if match and int(match[1]) != remote.size:
        return changed(remote)
    return HubError("The server says that the file has no such part (416)", retry=True)


def looks_like_a_page(chunk: bytes, remote: RemoteFile) -> bool:
    """Whether a model file begins as pages and error messages do."""
    begin = bytes(chunk[:64]).lstrip().lower()
    return ".gguf" in remote.file.casefold() and begin.startswith(_MARKUP)


def a_page(remote: RemoteFile) -> HubError:
    return HubError(
        f"A page for browsers came instead of “{shorten(remote.file, 80)}”",
        title="Not the hub",
        hint=SIGN_IN,
        retry=True,
    )


def changed(remote: RemoteFile) -> FileChanged:
    return FileChanged(
        f"“{shorten(remote.file, 80)}” of {remote.repository} is not the file any more that it was",
        hint="Nothing of it was used; what is known about it has to be renewed first",
    )
