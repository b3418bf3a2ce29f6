"""Reads and validates the header of a GGUF file before any native code sees the file.

The header says everything that corral needs to know about a model; the weights are only counted.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from corral.errors import NotFound, Refused
from corral.models.gguf.checks import Inspection, head_sizes, number, token_count
from corral.models.gguf.reader import (
    Array,
    Contents,
    Reader,
    Scalar,
    Tensor,
    Unusable,
    read_contents,
)
from corral.models.gguf.types import FILE_TYPES, GUESSED_FILE_TYPE
from corral.text import shorten

SMALLEST = 24
"""Bytes of magic, version and the two counts."""

_TEMPLATE = "tokenizer.chat_template"
_PART = re.compile(r"(?P<stem>.+)-[0-9]{5}-of-(?P<count>[0-9]{5})(?P<end>\.gguf)", re.I | re.S)
"""Names that llama.cpp's ``llama-gguf-split`` gives."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a sound model file says about itself; sizes in elements unless said otherwise."""

    path: Path
    bytes: int
    """Size of the file, or of all files of a split model."""
    version: int
    architecture: str
    name: str
    """``general.name`` as the file has it; empty where it has none."""
    quant: str
    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    head_dim_k: int
    head_dim_v: int
    n_ff: int
    context_length: int
    """Tokens the model was trained on, as the file claims."""
    vocab_size: int
    rope_freq_base: float
    tokenizer_model: str
    add_bos: bool
    chat_template: str | None
    template_sha256: str | None
    license: str | None
    parameters: int
    tensor_bytes: int
    split_count: int
    rope_scale: float = 1.0
    """How many times its window was stretched already when the file was made."""
    types: dict[str, dict[str, int]] = field(default_factory=dict)
    """Bytes by tensor type, of ``input``, of each layer (``0``, ``1`` …) and of ``output``."""
    metadata: dict[str, Scalar] = field(default_factory=dict)
    """Every key with a single value, but for the chat templates."""


def read_header(path: Path, *, vocabulary_alone: bool = False) -> Header:
    """The validated header of a model file.

    Never blocks, whatever ``path`` names. Takes about a tenth of a second for a vocabulary of
    50,000 tokens, and bounded memory however large the numbers in the file are.

    Args:
        vocabulary_alone: accept a file without weights, too: enough to count and show a prompt.

    Raises:
        NotFound: there is no such file.
        Refused: it is not a model file that is safe to load and possible to chat with.
    """
    try:
        contents, inspection, size = _read_file(path)
        parts = _other_parts(path, contents)
        for part in parts:
            size += _add_part(part, contents)
        if not (contents.tensors or vocabulary_alone):
            raise Unusable("it holds no weights", hint="A file with a vocabulary alone cannot chat")
        inspection.finish(contents)
    except Unusable as error:
        message = f"“{shorten(path.name, 80)}” cannot be used: {error.message}"
        raise Refused(message, hint=error.hint, title=error.title) from None
    return _header(path, size, contents, 1 + len(parts))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Names, shapes and types of a model's tensors, of all its files.

    Raises:
        NotFound, Refused: as :func:`read_header`.
    """
    try:
        contents, _, _ = _read_file(path)
        for part in _other_parts(path, contents):
            _add_part(part, contents)
    except Unusable as error:
        message = f"“{shorten(path.name, 80)}” cannot be used: {error.message}"
        raise Refused(message, hint=error.hint, title=error.title) from None
    return contents.tensors


def _read_file(path: Path) -> tuple[Contents, Inspection, int]:
    with open_model(path) as (file, status):
        if status.st_size < SMALLEST:
            raise Unusable(f"it is only {status.st_size} bytes long")
        inspection = Inspection()
        try:
            contents = read_contents(Reader(file, status.st_size), inspection)
        except OSError as error:
            raise unreadable(path, error) from None
        return contents, inspection, status.st_size


def _other_parts(path: Path, contents: Contents) -> list[Path]:
    """The files beside the first one that hold the rest of a split model."""
    count = number(contents, "split.count", 1)
    if count <= 1:
        return []
    match = _PART.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        raise Unusable(
            f"it is one of {count} parts and its name does not say which",
            hint=f"The first part has a name like model-00001-of-{count:05d}.gguf",
        )
    names = [
        f"{match['stem']}-{part:05d}-of-{count:05d}{match['end']}" for part in range(1, count + 1)
    ]
    if path.name != names[0] or number(contents, "split.no") != 0:
        raise Unusable(
            f"it is not the first of the model's {count} parts",
            hint=f"Choose “{shorten(names[0], 80)}”, which has to lie beside it",
        )
    missing = [name for name in names if not path.with_name(name).exists()]
    if missing:
        listed = ", ".join(shorten(name, 60) for name in missing[:2])
        raise Unusable(
            f"{len(missing)} of the model's {count} parts are missing: {listed}"
            + (" …" if len(missing) > 2 else ""),
            hint="Get the missing parts and put them beside this file",
        )
    return [path.with_name(name) for name in names[1:]]


def _add_part(path: Path, contents: Contents) -> int:
    """Adds the tensors of one more file and returns its size in bytes."""
    try:
        more, _, size = _read_file(path)
        if number(more, "split.count") != number(contents, "split.count"):
            raise Unusable("it belongs to another model")
        if not contents.tensors.keys().isdisjoint(more.tensors):
            raise Unusable("it holds tensors that another part holds too")
    except Unusable as error:
        error.message = f"in the part “{shorten(path.name, 60)}”, {error.message}"
        raise
    contents.tensors.update(more.tensors)
    return size


@contextmanager
def open_model(path: Path) -> Iterator[tuple[io.FileIO, os.stat_result]]:
    """A regular file opened for reading, unbuffered, and its status through the same descriptor.

    A link that a person chose is resolved first; what it leads to may not be a link any more.

    Raises:
        NotFound: there is no such file.
        Refused: it is a folder, pipe or device, or may not be read; or llama.cpp, which takes names
            as UTF-8, would not find it.
    """
    name = shorten(path.name or str(path), 80)
    try:
        target = path.resolve(strict=True)
        # Asked before opening: to open a device can do something, to open a pipe can wait forever.
        if not stat.S_ISREG(target.lstat().st_mode):
            raise _not_a_file(name)
        if os.fsencode(path) != str(path).encode("utf-8", "replace"):
            raise Refused(
                f"“{name}” cannot be used: its path is not valid Unicode",
                hint="Give the file and its folders other names, then try again",
            )
        flags = os.O_RDONLY
        for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, flag, 0)
        file = io.FileIO(os.open(target, flags))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise NotFound(f"There is no file “{shorten(str(path), 200)}”") from None
    except (OSError, RuntimeError) as error:
        raise unreadable(path, error) from None
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _not_a_file(name)
        yield file, status


def _not_a_file(name: str) -> Refused:
    return Refused(
        f"“{name}” is not a file but a folder, pipe or device", title="Not a usable model file"
    )


def unreadable(path: Path, error: OSError | RuntimeError) -> Refused:
    """What to say when the system refuses to open or read a file."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else "it leads to itself"
    return Refused(
        f"“{shorten(path.name, 80)}” cannot be read: {why}",
        hint="Look at the permissions of the file and its folder",
    )


def _header(path: Path, size: int, contents: Contents, files: int) -> Header:
    head_dim_k, head_dim_v = head_sizes(contents)
    n_head = number(contents, "llama.attention.head_count")
    tokenizer = _text(contents, "tokenizer.ggml.model") or ""
    template = _text(contents, _TEMPLATE)
    rope = contents.values.get("llama.rope.freq_base")
    scales = ("llama.rope.scaling.factor", "llama.rope.scale_linear")
    scale = next((found for key in scales if (found := contents.values.get(key))), None)
    add_bos = contents.values.get("tokenizer.ggml.add_bos_token")
    return Header(
        path=path,
        bytes=size,
        version=contents.version,
        architecture=_text(contents, "general.architecture") or "",
        name=_text(contents, "general.name") or "",
        quant=_quant(contents),
        n_layer=number(contents, "llama.block_count"),
        n_embd=number(contents, "llama.embedding_length"),
        n_head=n_head,
        n_head_kv=number(contents, "llama.attention.head_count_kv", n_head),
        head_dim_k=head_dim_k,
        head_dim_v=head_dim_v,
        n_ff=number(contents, "llama.feed_forward_length"),
        context_length=number(contents, "llama.context_length"),
        vocab_size=token_count(contents),
        # llama.cpp's defaults for files that leave these out, as all files of 2023 do.
        rope_freq_base=rope.value if rope and isinstance(rope.value, float) else 10_000.0,
        rope_scale=(scale.value or 1.0) if scale and isinstance(scale.value, float) else 1.0,
        tokenizer_model=tokenizer,
        add_bos=bool(add_bos.value) if add_bos else tokenizer == "llama",
        chat_template=template,
        template_sha256=hashlib.sha256(template.encode()).hexdigest() if template else None,
        license=_text(contents, "general.license"),
        parameters=sum(tensor.elements for tensor in contents.tensors.values()),
        tensor_bytes=sum(tensor.bytes for tensor in contents.tensors.values()),
        split_count=files,
        types=_types(contents),
        metadata={
            key: entry.value
            for key, entry in contents.values.items()
            if not isinstance(entry.value, Array) and not key.startswith(_TEMPLATE)
        },
    )


def _text(contents: Contents, key: str) -> str | None:
    entry = contents.values.get(key)
    return entry.value if entry is not None and isinstance(entry.value, str) else None


def _types(contents: Contents) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for tensor in contents.tensors.values():
        first, _, rest = tensor.name.partition(".")
        place = rest.partition(".")[0] if first == "blk" else "output"
        types = found.setdefault("input" if first == "token_embd" else place, {})
        types[tensor.type.name] = types.get(tensor.type.name, 0) + tensor.bytes
    return found


def _quant(contents: Contents) -> str:
    """The mix that the file names, else the type that most of its bytes are in."""
    named = FILE_TYPES.get(number(contents, "general.file_type", -1) & ~GUESSED_FILE_TYPE)
    if named:
        return named
    sizes: dict[str, int] = {}
    for tensor in contents.tensors.values():
        sizes[tensor.type.name] = sizes.get(tensor.type.name, 0) + tensor.bytes
    return max(sizes, key=lambda name: sizes[name], default="")
