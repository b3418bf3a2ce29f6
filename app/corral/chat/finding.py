"""Which conversations are wanted, as a person writes it: ``model:7b after:2026-11-01 words``."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

_TOKEN = re.compile(r'(?P<key>[a-z]+):(?P<value>"[^"]*"?|\S*)|\S+', re.IGNORECASE)
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?")

KEYS = {
    "model": "words of a model's name",
    "preset": "how its preset begins",
    "folder": "in it, or below it",
    "after": "used since: 2026-11, today",
    "before": "begun before: 2026-11-01",
    "is": "is:pinned, is:archived",
}
"""What can be asked for, and what its value means."""

STATES = ("pinned", "archived")
DAYS = ("today", "yesterday")


@dataclass(frozen=True, slots=True)
class Filters:
    """What a wanted conversation has; what is not given does not matter."""

    model: str = ""
    """Words that stand in the name of a model that is chosen in it, or gave an answer of it."""
    preset: str = ""
    """How the name of its preset begins."""
    folder: str = ""
    """Its folder, or one above that."""
    after: float | None = None
    """Used then or later; seconds since the epoch."""
    before: float | None = None
    """Begun before then."""
    pinned: bool | None = None
    archived: bool | None = None

    def __bool__(self) -> bool:
        return self != Filters()

    def admits(
        self,
        *,
        folder: str,
        preset: str,
        created: float,
        updated: float,
        pinned: bool,
        archived: bool,
    ) -> bool:
        """Whether a conversation is wanted, as far as its own row tells: all but the model."""
        return (
            (not self.folder or is_below(folder, self.folder))
            and preset.casefold().startswith(self.preset.casefold())
            and (self.after is None or updated >= self.after)
            and (self.before is None or created < self.before)
            and (self.pinned is None or pinned == self.pinned)
            and (self.archived is None or archived == self.archived)
        )

    def admits_models(self, names: Collection[str]) -> bool:
        """Whether one of the models of a conversation is wanted."""
        words = self.model.casefold().split()
        return any(all(word in name.casefold() for word in words) for name in names)


@dataclass(frozen=True, slots=True)
class Query:
    """What was written into the box for searching."""

    words: str
    filters: Filters
    problem: str = ""
    """What is wrong with one of the filters, which does not count then; "" is nothing."""


def parse(text: str, now: float) -> Query:
    """The words and the filters of a text; what is no known filter is a word.

    Args:
        now: seconds since the epoch, for ``today`` and ``yesterday``.
    """
    words: list[str] = []
    filters, problem = Filters(), ""
    for token in _TOKEN.finditer(text):
        key, value = (token["key"] or "").casefold(), (token["value"] or "").strip('"').strip()
        if key not in KEYS:
            words.append(token[0])
        elif value:
            try:
                filters = with_filter(filters, key, value, now)
            except ValueError as error:
                # Nobody is told off for what is not yet written to its end.
                if token.end() < len(text) or not _may_grow(key, value.casefold()):
                    problem = problem or str(error)
    return Query(" ".join(words), filters, problem)


def with_filter(filters: Filters, key: str, value: str, now: float) -> Filters:
    """The filters and one more; a later one of the same kind takes the place of the one before.

    Raises:
        ValueError: it means nothing; one plain sentence says what would.
    """
    match key:
        case "model":
            return replace(filters, model=value)
        case "preset":
            return replace(filters, preset=value)
        case "folder":
            return replace(filters, folder=tidy_folder(value))
        case "after":
            return replace(filters, after=moment(value, now))
        case "before":
            return replace(filters, before=moment(value, now))
        case "is" if value.casefold() == "pinned":
            return replace(filters, pinned=True)
        case "is" if value.casefold() == "archived":
            return replace(filters, archived=True)
    raise ValueError(f"is:{value} means nothing; is:pinned and is:archived do")


def _may_grow(key: str, value: str) -> bool:
    """Whether more letters could make the value of a filter one that means something."""
    if key == "is":
        return any(state.startswith(value) for state in STATES)
    growing = re.fullmatch(r"\d{1,3}|\d{4}-?|\d{4}-\d{1,2}-?", value)
    return growing is not None or any(day.startswith(value) for day in DAYS)


def unfinished(text: str) -> tuple[str, str, str] | None:
    """The filter at the end of a text, while it is written: what is before it, its key and value.

    None where the text does not end in one.
    """
    last = [None, *_TOKEN.finditer(text)][-1]
    if last is None or last.end() != len(text):
        return None
    key, value = (last["key"] or "").casefold(), last["value"] or ""
    if key not in KEYS or (len(value) > 1 and value[0] == value[-1] == '"'):
        return None
    return text[: last.start()], key, value.lstrip('"')


def written(key: str, value: str) -> str:
    """A filter as :func:`parse` reads it: a value of several words stands in quotation marks."""
    value = value.replace('"', "")
    return f'{key}:"{value}"' if any(map(str.isspace, value)) else f"{key}:{value}"


def moment(text: str, now: float) -> float:
    """When a day, a month or a year begins here: ``2026-11-01``, ``2026-11``, ``today``.

    Raises:
        ValueError: it is none of these.
    """
    day = datetime.fromtimestamp(now)
    day = datetime(day.year, day.month, day.day)
    match text.casefold():
        case "today":
            return day.timestamp()
        case "yesterday":
            return (day - timedelta(days=1)).timestamp()
    found = _DATE.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        year, month, date = (int(part or 1) for part in found.groups())
        return datetime(year, month, date).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text} is no day; write 2026-11-01, 2026-11 or today") from None


def tidy_folder(name: str) -> str:
    """The name of a folder as it is kept: levels without spaces around them, none of them empty."""
    return "/".join(filter(None, (" ".join(level.split()) for level in name.split("/"))))


def is_below(folder: str, other: str) -> bool:
    """Whether a folder is another one, or lies in it; small and large letters are the same."""
    folder, other = folder.casefold(), other.casefold()
    return folder == other or folder.startswith(f"{other}/")
