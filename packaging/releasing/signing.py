"""Signs SHA256SUMS with an SSH key and checks the signature, by OpenSSH's own ssh-keygen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import product  # noqa: E402
import sums  # noqa: E402

NAMESPACE = product.NAME
"""What the signature is for: one that was made for something else does not hold here."""


class SigningError(Exception):
    """What ssh-keygen said."""


def sign(folder: Path, key: Path) -> str:
    """Write SHA256SUMS.sig; gives the line of an allowed_signers file that vouches for the key.

    Raises:
        SigningError: the key cannot be used.
        OSError: there is no SHA256SUMS, or no ssh-keygen.
    """
    content = (folder / sums.NAME).read_bytes()
    signature = _keygen("-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE, given=content)
    public = _keygen("-y", "-f", str(key)).decode().split()
    (folder / sums.SIGNATURE).write_bytes(signature)
    return f'{NAMESPACE} namespaces="{NAMESPACE}" {public[0]} {public[1]}'


def check(folder: Path, signers: Path | None) -> str:
    """Check the signature; gives what it is worth in words.

    Args:
        signers: an allowed_signers file; without it anybody's key will do.

    Raises:
        SigningError: it is not of this SHA256SUMS, or of no key in the file.
        OSError: there is no SHA256SUMS, or no ssh-keygen.
    """
    content = (folder / sums.NAME).read_bytes()
    place = ["-n", NAMESPACE, "-s", str(folder / sums.SIGNATURE)]
    if signers is None:
        _keygen("-Y", "check-novalidate", *place, given=content)
        return "signed by a key that nobody vouches for here: say --signers FILE"
    _keygen("-Y", "verify", "-f", str(signers), "-I", NAMESPACE, *place, given=content)
    return f"signed by a key of {signers}"


def _keygen(*arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["ssh-keygen", *arguments], input=given, capture_output=True)
    if done.returncode:
        said = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
        raise SigningError(said[-1] if said else f"code {done.returncode}")
    return done.stdout
