"""Where a link in an answer really leads."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

_LONGEST = 2_000
_HARMLESS = "!#$%&'()*+,/:;=?@[]~"


@dataclass(frozen=True, slots=True)
class Target:
    """An address of the web in plain ASCII, as it will be asked for."""

    url: str
    host: str


def target(href: str) -> Target | None:
    """The address behind a link, or None where it is not one of the web.

    Names in other scripts are shown in Punycode, so that look-alikes can be told apart.
    """
    if len(href) > _LONGEST:
        return None
    try:
        parts = urlsplit(href.strip())
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = f":{parts.port}" if parts.port else ""
    except (UnicodeError, ValueError):
        return None
    if parts.scheme.lower() not in ("http", "https") or not host:
        return None
    if ":" in host:
        host = f"[{host}]"
    # A name and password before the host only make an address look like another one.
    url = urlunsplit(
        (
            parts.scheme.lower(),
            host + port,
            quote(parts.path, safe=_HARMLESS),
            quote(parts.query, safe=_HARMLESS),
            quote(parts.fragment, safe=_HARMLESS),
        )
    )
    return Target(url, host)
