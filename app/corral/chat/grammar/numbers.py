"""Ranges of numbers as grammar: whole numbers from 3 to 217, or decimals from -0.5 to 2.75."""

from __future__ import annotations

from decimal import Decimal

DECIMALS = 6
"""Digits behind the point where nothing limits them."""
DIGITS = 15
"""Digits of a whole number without a limit of its own: as many as a double holds exactly."""


def whole(low: int | None, high: int | None) -> str:
    """GBNF of the whole numbers from ``low`` to ``high``, in their one usual spelling.

    Raises:
        ValueError: there is none.
    """
    least = low if low is not None else min(-(10**DIGITS) + 1, (high or 0) * 10)
    most = high if high is not None else max(10**DIGITS - 1, least * 10)
    if least > most:
        raise ValueError(f"no whole number is from {low} to {high}")
    parts = []
    if least < 0:
        parts.append('"-" ' + _group(_positive(max(1, -most), -least)))
    if most >= 0:
        parts.append(_group(_positive(max(0, least), most)))
    return " | ".join(parts)


def decimal(low: Decimal | None, high: Decimal | None) -> str:
    """GBNF of the numbers from ``low`` to ``high`` with at most :data:`DECIMALS` more digits.

    Raises:
        ValueError: there is none.
    """
    limit = Decimal(10**DIGITS - 1)
    least = low if low is not None else min(-limit, (high or Decimal()) * 10)
    most = high if high is not None else max(limit, least * 10)
    if least > most:
        raise ValueError(f"no number is from {low} to {high}")
    parts = []
    if least < 0:
        parts.append('"-" ' + _group(_magnitudes(max(Decimal(), -most), -least)))
    if most >= 0:
        parts.append(_group(_magnitudes(max(Decimal(), least), most)))
    return " | ".join(parts)


def _magnitudes(low: Decimal, high: Decimal) -> list[str]:
    """Numbers from ``low`` to ``high``, neither below zero."""
    first, last = int(low), int(high)
    places = max(_places(low), _places(high))
    below, above = _fraction(low, places), _fraction(high, places)
    if first == last:
        return [f'"{first}" ' + _edge(below, above, places)]
    found = []
    if below:
        found.append(f'"{first}" ' + _edge(below, 10**places - 1, places))
        first += 1
    if first <= last - 1:
        found.append(f'{_group(_positive(first, last - 1))} ("." [0-9]{{1,{DECIMALS}}})?')
    found.append(f'"{last}" ' + _edge(0, above, places))
    return found


def _edge(below: int, above: int, places: int) -> str:
    """What follows the point, of numbers with so many places; nothing where that is in it."""
    if not places:
        return f'("." "0"{{1,{DECIMALS}}})?'
    text = f'"." {_group(_padded(str(below).zfill(places), str(above).zfill(places)))}'
    return f"({text})?" if below == 0 else text


def _places(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _fraction(value: Decimal, places: int) -> int:
    return int((value - int(value)).scaleb(places))


def _positive(low: int, high: int) -> list[str]:
    """Whole numbers from ``low`` to ``high``, not below zero, without leading zeros."""
    found = []
    for size in range(len(str(low)), len(str(high)) + 1):
        least = max(low, 10 ** (size - 1) if size > 1 else 0)
        found += _padded(str(least), str(min(high, 10**size - 1)))
    return found


def _padded(low: str, high: str) -> list[str]:
    """Digits between two numbers of the same length, both included."""
    if not low:
        return ['""']
    size = len(low) - 1
    nothing, everything = "0" * size, "9" * size
    if low[1:] == nothing and high[1:] == everything:
        digits = f"[{low[0]}-{high[0]}]" if low[0] != high[0] else f'"{low[0]}"'
        return [digits + (f" [0-9]{{{size}}}" if size > 1 else " [0-9]" if size else "")]
    if low[0] == high[0]:
        return [f'"{low[0]}" {_group(_padded(low[1:], high[1:]))}']
    found = []
    first, last = int(low[0]), int(high[0])
    if low[1:] != nothing:
        found.append(f'"{first}" {_group(_padded(low[1:], everything))}')
        first += 1
    end = last if high[1:] == everything else last - 1
    if first <= end:
        found += _padded(f"{first}{nothing}", f"{end}{everything}")
    if end < last:
        found.append(f'"{last}" {_group(_padded(nothing, high[1:]))}')
    return found


def _group(parts: list[str]) -> str:
    return f"({' | '.join(parts)})"
