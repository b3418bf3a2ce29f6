from __future__ import annotations

import pytest

from corral.units import age, duration, gigabytes, thousands, transfer_rate


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0.0 GB"), (98_362_432, "0.1 GB"), (4_081_004_224, "4.1 GB"), (73.3e9, "73.3 GB")],
)
def test_gigabytes_are_decimal(count: float, text: str) -> None:
    assert gigabytes(count) == text


def test_downloads_show_two_digits() -> None:
    assert gigabytes(4_081_004_224, 2) == "4.08 GB"
    assert (transfer_rate(12.44e6), transfer_rate(93_000)) == ("12.4 MB/s", "93 kB/s")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (4096, "4\u202f096"),
        (-1234567, "-1\u202f234\u202f567"),
        (1e3, "1\u202f000"),
    ],
)
def test_thousands_are_grouped(number: float, text: str) -> None:
    assert thousands(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"), (0.44, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"),
        (59.6, "1:00"), (320, "5:20"), (3599.4, "59:59"), (3599.6, "1:00:00"), (3753, "1:02:33"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "a moment"), (59, "a moment"), (60, "1 minute"), (3599, "59 minutes"),
        (7300, "2 hours"), (86_400, "1 day"), (8.9 * 86_400, "8 days"),
    ],
)  # fmt: skip
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text
