"""Names that are devices on Windows, whatever their ending: no file may be called so anywhere.

What is made on one system is carried to another: by a backup, a pack, a shared folder.
"""

from __future__ import annotations

import re

_DEVICE = re.compile(
    r"(?:CON|PRN|AUX|NUL|CLOCK\$|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³]) *(?:\.|$)", re.IGNORECASE
)


def is_reserved(name: str) -> bool:
    """Whether a file's name, without folders, is one of them."""
    return _DEVICE.match(name) is not None
