"""What a hub tells, and how it fails: the words of :mod:`corral.models.hub.client`."""

from __future__ import annotations

from dataclasses import dataclass

from corral.errors import NetworkError, Refused

SIGN_IN = "Perhaps a network asks you to sign in first: open a web page, then try again"
"""What helps where something that is no hub answers."""


class HubError(NetworkError):
    """The hub, or the way to it, failed.

    Args:
        retry: the same request may go well a little later.
        retry_after: seconds the server asked for, if it did.
    """

    title = "The hub failed"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        title: str | None = None,
        retry: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, title=title)
        self.retry = retry
        self.retry_after = retry_after


class RangeIgnored(HubError):
    """The server sends the whole file although a part of it was asked for."""


class FileChanged(Refused):
    """The file on the hub is not the one that was asked for."""

    title = "Changed on the hub"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at one commit of a repository."""

    repository: str
    revision: str
    """The commit, 40 hexadecimal digits."""
    file: str
    """Its path in the repository; safe as a relative path on every system."""
    size: int
    """Bytes."""
    sha256: str | None
    """None for the small files that git itself keeps."""
    etag: str
    """The sha256, or git's blob id."""


@dataclass(frozen=True, slots=True)
class Repository:
    """What a search tells."""

    name: str
    downloads: int
    """In the last 30 days."""
    likes: int
    updated: str
    """ISO 8601; "" where the hub does not say."""
    gated: bool
    licence: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit; files with names that cannot be trusted are left out."""

    repository: str
    revision: str
    gated: bool
    licence: str | None
    files: tuple[RemoteFile, ...]
