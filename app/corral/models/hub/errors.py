"""What went wrong with a hub, in the words of a person; secrets are left out of every message."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

from corral.errors import CorralError, NotFound, Refused
from corral.models.hub.types import SIGN_IN, HubError
from corral.text import shorten

LONGEST_WAIT = 3600.0
"""Seconds; no server is believed more."""

FAILURES = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx2.StreamError,
    OSError,
    RuntimeError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What the network's libraries raise; the last four at replies that they did not expect."""

_SECRET = re.compile(r"hf_\w{4,}|(?<=//)[^/@\s]*@|\?[^\s\"'“”]+|(?<=Bearer )\S+", re.I)


@dataclass(frozen=True, slots=True)
class About:
    """What was asked for, and of whom."""

    endpoint: str
    repository: str = ""
    revision: str = ""
    file: str = ""
    token: str | None = None
    """The one that was sent."""

    @property
    def page(self) -> str:
        return f"{public(self.endpoint)}/{self.repository}"

    @property
    def thing(self) -> str:
        return f"“{shorten(self.file, 80)}” of {self.repository}" if self.file else self.repository


def public(text: str) -> str:
    """``text`` without tokens, passwords and signatures."""
    return _SECRET.sub("…", text)


def host_of(url: str) -> str:
    """``name:port`` of an address, or as much of it as there is."""
    try:
        parts = urlsplit(url)
        return shorten(
            f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or url, 80
        )
    except ValueError:
        return shorten(public(url), 80)


def translate(error: Exception, about: About, url: str = "") -> CorralError:
    """The error that a person sees for whatever the network's libraries raised.

    Args:
        url: where the request went; else the endpoint.
    """
    if isinstance(error, CorralError):
        return error
    if isinstance(error, HfHubHTTPError):
        return _told_by_hub(error, about)
    if isinstance(error, OfflineModeIsEnabled):
        return HubError("The hub's library was told to stay offline", title="Offline")
    if isinstance(error, httpx2.TooManyRedirects):
        return too_many_redirects(url or about.endpoint)
    if isinstance(error, httpx2.HTTPError):
        return _on_the_way(error, url or about.endpoint)
    if isinstance(error, httpx2.InvalidURL):
        return Refused("The hub sent an address that is none", title="Bad redirect")
    return not_a_hub(about.endpoint)


def not_a_hub(endpoint: str) -> HubError:
    return HubError(
        f"What answers at {host_of(endpoint)} is not a model hub",
        title="Not the hub",
        hint=SIGN_IN,
        retry=True,
    )


def bad_endpoint(endpoint: str) -> HubError:
    return HubError(
        f"“{shorten(public(endpoint), 80)}” is not the address of a hub",
        title="Bad address",
        hint="HF_ENDPOINT looks like https://huggingface.co, or is not set",
    )


def unusable(error: Exception) -> HubError:
    """What to say when a client cannot even be made."""
    return HubError(
        f"The network cannot be used as it is set up: {shorten(public(str(error)), 120)}",
        title="Bad network settings",
        hint="Look at HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR",
    )


def too_many_redirects(url: str) -> Refused:
    return Refused(f"{host_of(url)} sends from one address to the next", title="Bad redirect")


# --- replies ------------------------------------------------------------------------------------


def _told_by_hub(error: HfHubHTTPError, about: About) -> CorralError:
    """The more special classes come first, as the library derives them from each other."""
    if isinstance(error, GatedRepoError):
        return _gated(about)
    if isinstance(error, DisabledRepoError):
        return Refused(f"The hub has disabled {about.repository}", title="Disabled")
    if isinstance(error, RepositoryNotFoundError):
        return NotFound(
            f"The hub has no repository {about.repository}, or it is private",
            hint="Look at its name; “corral models search” finds repositories",
        )
    if isinstance(error, RevisionNotFoundError):
        return NotFound(
            f"{about.repository} no longer has the revision {about.revision[:12]}",
            hint=f"Its owner has rewritten it; see {about.page}",
        )
    if isinstance(error, EntryNotFoundError):
        return NotFound(f"The hub has no file {about.thing}", hint=f"See {about.page}")
    return _status(error, about)


def _gated(about: About) -> Refused:
    if about.token:
        return Refused(
            f"Your token does not open {about.repository}",
            title="Access not granted",
            hint=f"Accept the terms at {about.page} with the account of the token; its owner may "
            "have to confirm",
        )
    return Refused(
        f"{about.repository} is open only to those who accepted its terms on the hub",
        title="Terms not accepted",
        hint=f"Accept them at {about.page}, make a token at {public(about.endpoint)}"
        "/settings/tokens, and set HF_TOKEN to it",
    )


def _status(error: HfHubHTTPError, about: About) -> CorralError:
    code = error.response.status_code
    host = host_of(str(error.response.request.url))
    said = _said(error, about)
    if code in (408, 429) or code >= 500:
        return _busy(code, host, said, error.response.headers)
    if code == 401 and about.token:
        return Refused(
            "The hub does not accept your token",
            title="Wrong token",
            hint=f"Make a new one at {public(about.endpoint)}/settings/tokens, and set HF_TOKEN to "
            "it; without a token, what is public stays open",
        )
    if code == 407:
        return HubError("The proxy wants a name and a password", title="Proxy refused")
    words = {
        401: (Refused, f"{host} wants to know who asks for {about.thing}"),
        403: (Refused, f"{host} does not give out {about.thing}"),
        404: (NotFound, f"{host} has nothing at the address of {about.thing}"),
        410: (NotFound, f"{about.thing} was removed from the hub for good"),
        451: (Refused, f"{about.thing} is withheld for legal reasons"),
    }
    kind, message = words.get(code, (HubError, f"{host} refused the request"))
    return kind(f"{message} ({code}{said})", hint=f"See {about.page}" if about.repository else "")


def _busy(code: int, host: str, said: str, headers: Mapping[str, str]) -> HubError:
    wait = _wait(headers)
    hint = f"It asks to wait {wait:.0f} seconds" if wait else "Try again a little later"
    if code == 429:
        return HubError(
            f"{host} gets too many requests from here ({code}{said})",
            title="Too many requests",
            hint=f"{hint}; with a token (HF_TOKEN) the limit is higher",
            retry=True,
            retry_after=wait,
        )
    what = "took too long over the request" if code == 408 else "has trouble of its own"
    if code in (503, 504):
        what = (
            "is overloaded or being repaired" if code == 503 else "waited in vain for its storage"
        )
    message = f"{host} {what} ({code}{said})"
    return HubError(message, title="The hub is busy", hint=hint, retry=True, retry_after=wait)


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server wants us to wait."""
    told = headers.get("Retry-After", "").strip()
    if told.isascii() and told.isdigit():
        return min(LONGEST_WAIT, float(told[:9]))
    limit = parse_ratelimit_headers(headers)
    return (
        min(LONGEST_WAIT, float(limit.reset_in_seconds)) if limit and not limit.remaining else None
    )


def _said(error: HfHubHTTPError, about: About) -> str:
    """What the server says itself, as a continuation of its status code."""
    text = error.server_message or ""
    if "<" in text[:200]:  # a page for browsers
        return ""
    if about.token:
        text = text.replace(about.token, "…")
    text = shorten(public(text), 120).rstrip(".")
    return f": {text}" if text else ""


# --- the way there ------------------------------------------------------------------------------


def _on_the_way(error: httpx2.HTTPError, url: str) -> CorralError:
    host = host_of(url)
    causes = list(_causes(error))
    if isinstance(error, httpx2.UnsupportedProtocol):
        return Refused(f"“{shorten(public(url), 80)}” is no address of a hub", title="Bad address")
    if tls := next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None):
        why = getattr(tls, "verify_message", "") or tls.reason or str(tls)
        return HubError(
            f"There is no safe connection to {host}: {shorten(why, 100)}",
            title="Not a safe connection",
            hint="Look at this machine's clock and network; SSL_CERT_FILE names further "
            "authorities to trust",
        )
    kinds: tuple[tuple[Callable[[], bool], str, str], ...] = (
        (
            lambda: any(isinstance(cause, socket.gaierror) for cause in causes),
            "No network",
            f"The address of {host} is not known",
        ),
        (
            lambda: isinstance(error, httpx2.TimeoutException),
            "No answer",
            f"{host} does not answer",
        ),
        (
            lambda: isinstance(error, httpx2.ConnectError),
            "No network",
            f"{host} cannot be reached: {_reason(causes)}",
        ),
        (lambda: isinstance(error, httpx2.ProxyError), "Proxy refused", f"{host} is out of reach"),
        (
            lambda: isinstance(error, httpx2.RemoteProtocolError),
            "Interrupted",
            f"{host} ended the connection too early",
        ),
    )
    title, message = next(
        ((title, message) for applies, title, message in kinds if applies()),
        ("Interrupted", f"The connection to {host} broke: {_reason(causes)}"),
    )
    if proxy := proxy_of(url):
        message += f", through the proxy {proxy}"
    hint = "Is this machine online? What is already here can be used without"
    return HubError(message, title=title, hint=hint, retry=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _reason(causes: list[BaseException]) -> str:
    """The system's own word for it, in lower case as it stands in the middle of a sentence."""
    words = (c.strerror for c in causes if isinstance(c, OSError) and isinstance(c.strerror, str))
    why = shorten(public(next(words, "")), 80)
    return f"{why[0].lower()}{why[1:]}" if why else "no reason given"


def proxy_of(url: str) -> str:
    """``host:port`` of the proxy that the environment names for an address, "" if none."""
    try:
        parts = urlsplit(url)
        if not parts.hostname or proxy_bypass(parts.netloc.rpartition("@")[2]):
            return ""
    except ValueError:
        return ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return host_of(proxy if "//" in proxy else f"//{proxy}") if proxy else ""
