"""Numbers as people read them: bytes, thousands and durations, the same everywhere."""

from __future__ import annotations

NARROW_SPACE = "\u202f"
"""Narrow and no-break: a number is never split over two lines."""


def gigabytes(count: float, digits: int = 1) -> str:
    """Bytes in decimal gigabytes, as disks and downloads are sold: ``4.1 GB``."""
    return f"{count / 1e9:.{digits}f} GB"


def room(count: float) -> str:
    """Bytes of what may be small: ``3.11 GB``, and ``1.9 MB`` below a hundredth of a gigabyte."""
    return gigabytes(count, 2) if count >= 1e7 or not count else f"{count / 1e6:.1f} MB"


def size(count: float) -> str:
    """Bytes of a file that may be tiny: ``3.11 GB``, ``1.9 MB``, ``4.2 kB``."""
    return room(count) if count >= 1e6 else f"{count / 1e3:.1f} kB"


def transfer_rate(bytes_per_second: float) -> str:
    """``12.4 MB/s``, and ``870 kB/s`` where it is slow."""
    if bytes_per_second < 1e6:
        return f"{bytes_per_second / 1e3:.0f} kB/s"
    return f"{bytes_per_second / 1e6:.1f} MB/s"


def thousands(number: float) -> str:
    """A whole number with a narrow space between groups of three digits: ``4 096``."""
    return f"{round(number):,}".replace(",", NARROW_SPACE)


def duration(seconds: float) -> str:
    """``0.4 s`` below ten seconds, ``43 s`` below a minute, then ``5:20`` and ``1:02:33``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def age(seconds: float) -> str:
    """How long ago something was: ``1 minute``, ``5 hours``, ``12 days``."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return "a moment"
