"""Rows read straight from the pages of a database file that SQLite refuses.

Every leaf page of a table is a small, complete thing: its cells can be decoded without the pages
above it. So each sound page gives its rows, whatever happened to the header, the schema or the
other pages. The format is described at https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

Value = None | int | float | str | bytes
Record = tuple[int, tuple[Value, ...]]
"""A row id and the columns; text is decoded, invalid bytes in it became U+FFFD."""

_MAGIC = b"SQLite format 3\x00"
_USUAL_PAGE_SIZE = 4096
_BLOCK = 65536
_TABLE_LEAF = 0x0D
_FIRST_PAGE_HEADER = 100
_WAL_HEADER = 32
_FRAME_HEADER = 24
_INTEGER_SIZES = (0, 1, 2, 3, 4, 6, 8)


class _NotSoundError(Exception):
    """What should be a cell is none."""


def records(file: Path, wal: Path) -> Iterator[Record]:
    """All rows of all tables, in no order; pages in the -wal file stand for those in the file."""
    pages = _Pages(file, wal)
    for number in range(1, pages.count + 1):
        yield from _leaf(pages, number)


class _Pages:
    """The pages of a file with what its -wal file says about them."""

    def __init__(self, file: Path, wal: Path) -> None:
        self._content = _read(file)
        log = _read(wal)
        self.size = _page_size(self._content, log)
        self._newer = _committed(log, self.size)
        in_file = -(-len(self._content) // self.size)
        self.count = max(in_file, max(self._newer, default=0))

    def __getitem__(self, number: int) -> bytes:
        if number in self._newer:
            return self._newer[number]
        start = (number - 1) * self.size
        page = self._content[start : start + self.size]
        if number < 1 or len(page) < self.size:
            raise _NotSoundError
        return page


def _read(path: Path) -> bytes:
    """The whole file, with zeros for what the disk cannot give; nothing where there is no file."""
    parts = []
    try:
        with path.open("rb", buffering=0) as file:
            for start in range(0, path.stat().st_size, _BLOCK):
                try:
                    file.seek(start)
                    parts.append(file.read(_BLOCK))
                except OSError:
                    parts.append(bytes(_BLOCK))
    except FileNotFoundError:
        return b""
    return b"".join(parts)


def _page_size(content: bytes, log: bytes) -> int:
    candidates = []
    if content.startswith(_MAGIC):
        candidates.append(int.from_bytes(content[16:18], "big"))
    candidates.append(int.from_bytes(log[8:12], "big"))
    for size in candidates:
        if 512 <= size <= 32768 and size & (size - 1) == 0:
            return size
    return _USUAL_PAGE_SIZE


def _committed(log: bytes, size: int) -> dict[int, bytes]:
    """The pages of all transactions in a -wal file that were committed and are whole."""
    pages: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    if len(log) < _WAL_HEADER or log[:4] not in (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"):
        return pages
    order = ">" if log[3] & 1 else "<"
    sums = _checksum(log[:24], order, (0, 0))
    if sums != struct.unpack(">II", log[24:32]):
        return pages
    for start in range(_WAL_HEADER, len(log) - _FRAME_HEADER - size + 1, _FRAME_HEADER + size):
        frame = log[start : start + _FRAME_HEADER + size]
        number, pages_after_commit = struct.unpack(">II", frame[:8])
        sums = _checksum(frame[:8] + frame[_FRAME_HEADER:], order, sums)
        if frame[8:16] != log[16:24] or sums != struct.unpack(">II", frame[16:24]):
            break
        pending[number] = frame[_FRAME_HEADER:]
        if pages_after_commit:
            pages |= pending
            pending.clear()
    return pages


def _checksum(content: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def _leaf(pages: _Pages, number: int) -> Iterator[Record]:
    try:
        page = pages[number]
    except _NotSoundError:
        return
    header = _FIRST_PAGE_HEADER if number == 1 else 0
    if page[header] != _TABLE_LEAF:
        return
    cells = int.from_bytes(page[header + 3 : header + 5], "big")
    for index in range(min(cells, pages.size // 4)):
        at = header + 8 + 2 * index
        try:
            yield _cell(pages, page, int.from_bytes(page[at : at + 2], "big"))
        except (_NotSoundError, IndexError, struct.error):
            continue


def _cell(pages: _Pages, page: bytes, at: int) -> Record:
    length, at = _varint(page, at)
    row_id, at = _varint(page, at)
    usable = pages.size
    if length > pages.count * usable:
        raise _NotSoundError
    local = length
    if length > usable - 35:
        least = (usable - 12) * 32 // 255 - 23
        local = least + (length - least) % (usable - 4)
        if local > usable - 35:
            local = least
    payload = page[at : at + local]
    if local < length:
        first = int.from_bytes(page[at + local : at + local + 4], "big")
        payload += _overflow(pages, first, length - local)
    if len(payload) < length:
        raise _NotSoundError
    return _signed(row_id), _record(payload[:length])


def _overflow(pages: _Pages, number: int, missing: int) -> bytes:
    parts = []
    while missing > 0:
        page = pages[number]
        parts.append(page[4:])
        missing -= len(page) - 4
        number = int.from_bytes(page[:4], "big")
    return b"".join(parts)


def _record(payload: bytes) -> tuple[Value, ...]:
    body, at = _varint(payload, 0)
    end = body
    values: list[Value] = []
    while at < end:
        kind, at = _varint(payload, at)
        value, body = _value(payload, kind, body)
        values.append(value)
    if at != end or body != len(payload):
        raise _NotSoundError
    return tuple(values)


def _value(payload: bytes, kind: int, at: int) -> tuple[Value, int]:
    """One column and where the next one starts."""
    if kind == 0:
        return None, at
    if kind <= 6:
        size = _INTEGER_SIZES[kind]
        return int.from_bytes(payload[at : at + size], "big", signed=True), at + size
    if kind == 7:
        return struct.unpack(">d", payload[at : at + 8])[0], at + 8
    if kind in (8, 9):
        return kind - 8, at
    if kind < 12:
        raise _NotSoundError
    size = (kind - 12) // 2
    content = payload[at : at + size]
    return (content.decode("utf-8", "replace") if kind % 2 else content), at + size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = content[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | content[at + 8], at + 9


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
