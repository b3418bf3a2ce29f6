"""What is written into the box for searching: words and filters."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.chat.finding import (
    KEYS,
    Filters,
    is_below,
    moment,
    parse,
    tidy_folder,
    unfinished,
    written,
)

NOW = 1_790_000_000.0


def day(year: int, month: int, day: int) -> float:
    return time.mktime((year, month, day, 0, 0, 0, 0, 0, -1))


def test_words_and_filters_may_stand_in_any_order() -> None:
    query = parse('needle model:7b in after:2026-02-03 folder:"Work / My trips" hay', NOW)
    assert query.words == "needle in hay"
    assert query.filters == Filters(model="7b", after=day(2026, 2, 3), folder="Work/My trips")
    assert query.problem == ""
    assert parse("IS:Pinned is:archived", NOW).filters == Filters(pinned=True, archived=True)


@pytest.mark.parametrize("text", ["http://host:80/x", "note:this", '"model:7b"', ":", "a:b:c", ""])
def test_what_is_no_known_filter_is_words(text: str) -> None:
    query = parse(text, NOW)
    assert (query.words, query.filters, query.problem) == (text, Filters(), "")


@pytest.mark.parametrize(
    ("text", "start"),
    [("2026", (2026, 1, 1)), ("2026-11", (2026, 11, 1)), ("2024-02-29", (2024, 2, 29))],
)
def test_a_day_a_month_or_a_year_begins_at_its_midnight(text: str, start: tuple[int, ...]) -> None:
    assert moment(text, NOW) == day(*start)
    assert parse(f"before:{text}", NOW).filters == Filters(before=day(*start))


def test_today_and_yesterday_are_days_of_the_calendar() -> None:
    today = time.localtime(moment("today", NOW))
    assert today[:3] == time.localtime(NOW)[:3] and today[3:6] == (0, 0, 0)
    assert moment("YESTERDAY", NOW) == day(*time.localtime(moment("today", NOW) - 43_200)[:3])


@pytest.mark.parametrize(
    "value", ["soon", "2026-02-30", "2025-02-29", "2026-13", "26-1-1", "99999"]
)
def test_a_wrong_filter_is_told_and_does_not_count(value: str) -> None:
    query = parse(f"after:{value} llama model:7b", NOW)
    assert query.problem == f"{value} is no day; write 2026-11-01, 2026-11 or today"
    assert (query.words, query.filters) == ("llama", Filters(model="7b"))
    assert parse("is:lost x", NOW).problem == "is:lost means nothing; is:pinned and is:archived do"


@pytest.mark.parametrize(
    "text",
    ["after:", "after:2", "after:2026", "after:2026-1", "after:2026-11-", "before:tod", "is:p"],
)
def test_nobody_is_told_off_while_a_filter_is_written(text: str) -> None:
    assert parse(text, NOW).problem == ""
    assert text.endswith(":") or text == "is:p" or parse(text + "x", NOW).problem


def test_a_folder_holds_those_inside_it() -> None:
    assert is_below("Work/Trips", "work") and is_below("WORK", "work")
    assert not is_below("Workshop", "Work") and not is_below("Work", "Work/Trips")
    assert tidy_folder(" / Work //  My   trips/ ") == "Work/My trips"


def test_the_filter_at_the_end_is_the_one_that_is_written() -> None:
    assert unfinished("needle model:7") == ("needle ", "model", "7")
    assert unfinished('folder:"My tr') == ("", "folder", "My tr")
    for done in ("model:7b ", "model:7b llama", 'folder:"a b"', "x:y", ""):
        assert unfinished(done) is None


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text(st.sampled_from('model:folderisafter "2026-/'), max_size=60))
def test_no_text_breaks_it(text: str) -> None:
    parse(text, NOW)
    unfinished(text)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["model", "preset"]), st.text(min_size=1, max_size=30))
def test_what_a_completion_writes_is_read_as_that(key: str, value: str) -> None:
    value = " ".join(value.replace('"', "").split())
    if value:
        filters = parse(f"word {written(key, value)} word", NOW).filters
        assert getattr(filters, key) == value
        assert key in KEYS
