"""Conversations from files into the history: record by record, and never the same one twice."""

from __future__ import annotations

import contextlib
import io
import re
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Literal

from corral.chat.conversation import title_from
from corral.errors import CorralError, NotFound, Refused
from corral.moving import chatgpt, records
from corral.moving.archive import BROKEN
from corral.moving.elements import Element, NoListError, elements
from corral.store.moving import Whole
from corral.store.store import Store
from corral.text import shorten

Progress = Callable[[int, int], None]
"""Called with bytes read and bytes in all."""

PROBLEMS_KEPT = 200
"""Of a file with more broken records only their number is told."""

_BATCH = 32
_BATCH_CHARACTERS = 4_000_000
_IN_ZIP = re.compile(r"(?:.*/)?conversations(?:-\d+)?\.json", re.IGNORECASE)
_MANIFEST = "manifest.json"
_MOST_UNPACKED = 16 << 30
"""Bytes; a larger one only wants to fill the disk."""
_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_JSON_HINT = (
    "Import conversations.json from ChatGPT's export, or what `corral history export` wrote"
)

Kind = Literal["corral", "chatgpt"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that was not imported."""

    record: int
    """Counted from 1; 0 is the file as a whole."""
    title: str
    reason: str


@dataclass(slots=True)
class Imported:
    """What became of one file."""

    path: Path
    kinds: set[Kind] = field(default_factory=set)
    """Whose records were found in it."""
    added: list[int] = field(default_factory=list)
    """Conversations that are new."""
    extended: list[int] = field(default_factory=list)
    """Conversations that were here already and got new messages."""
    known: int = 0
    """How many were here already, with nothing to add."""
    in_trash: int = 0
    """How many are in the trash here, and stay there."""
    messages: int = 0
    """How many messages are new."""
    failed: int = 0
    problems: list[Problem] = field(default_factory=list)
    stopped: bool = False
    """Whether the person stopped it; what was imported before stays."""

    @property
    def conversations(self) -> int:
        """How many of the file are in the history now."""
        return len(self.added) + len(self.extended) + self.known + self.in_trash

    def fail(self, record: int, title: str, reason: str) -> None:
        self.failed += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(Problem(record, title, reason))


def import_file(
    store: Store,
    path: Path,
    *,
    now: float,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Imported:
    """Take in all conversations of a file: corral's export or ChatGPT's, also in its zip file.

    Raises:
        NotFound: there is no such file.
        Refused: it is no such file at all.
        StoreError: they cannot be stored; what was before stays stored.
    """
    return _Import(store, path, now, progress, cancelled).run()


def summary(done: Imported) -> str:
    """``12 conversations added, 3 got new messages, 4 were here already``."""
    parts = [_counted(len(done.added), "conversation") + " added"]
    if done.extended:
        parts.append(f"{len(done.extended)} got new messages")
    if done.known:
        parts.append(f"{done.known} {'was' if done.known == 1 else 'were'} here already")
    if done.in_trash:
        parts.append(f"{done.in_trash} {'is' if done.in_trash == 1 else 'are'} in the trash")
    if done.failed:
        parts.append(f"{_counted(done.failed, 'record')} could not be read")
    if done.stopped:
        parts.append("stopped before the end")
    return ", ".join(parts)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class _StoppedError(Exception):
    """The person stopped it."""


@dataclass(frozen=True, slots=True)
class _Watched:
    """Text; somebody is told before every piece of it is read."""

    text: io.TextIOWrapper
    told: Callable[[], None]

    def read(self, size: int, /) -> str:
        self.told()
        return self.text.read(size)


class _Import:
    def __init__(
        self,
        store: Store,
        path: Path,
        now: float,
        progress: Progress | None,
        cancelled: Callable[[], bool],
    ) -> None:
        self._store = store
        self._path = path
        self._now = now
        self._progress = progress
        self._cancelled = cancelled
        self._batch: list[Whole] = []
        self._characters = 0
        self._outcome = Imported(path)

    def run(self) -> Imported:
        name = shorten(self._path.name, 100)
        try:
            self._read(name)
        except _StoppedError:
            self._outcome.stopped = True
        except BROKEN:
            # What was read before the damage is good.
            self._outcome.fail(0, "", "The archive is damaged, encrypted or of an unknown kind")
        except OSError as error:
            self._outcome.fail(0, "", f"It cannot be read: {error.strerror or error}")
        self._store_batch()
        outcome = self._outcome
        if not outcome.conversations and not outcome.stopped and (problems := outcome.problems):
            first = problems[0]
            if outcome.failed == 1:
                raise Refused(f"{name} was not imported: {first.reason}", hint=_JSON_HINT)
        return outcome

    def _read(self, name: str) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            raise NotFound(f"There is no file {name}") from None
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{name} is no ordinary file", hint=_JSON_HINT)
        with self._path.open("rb") as file:
            if zipfile.is_zipfile(file):
                self._read_zip(file, name)
            else:
                file.seek(0)
                self._read_json(file, name, lambda: (file.tell(), status.st_size))

    def _read_zip(self, file: io.BufferedReader, name: str) -> None:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            members = sorted(
                (info for info in infos if _IN_ZIP.fullmatch(info.filename)),
                key=lambda info: info.filename,
            )
            if not members:
                if any(info.filename == _MANIFEST for info in infos):
                    raise Refused(
                        f"{name} is a backup, which holds everything",
                        hint=f"`corral history restore {name}` puts it back",
                    )
                raise Refused(f"There is no conversations.json in {name}", hint=_JSON_HINT)
            total = sum(info.file_size for info in members)
            if total > _MOST_UNPACKED:
                raise Refused(f"{name} would unpack to {total >> 30} GB")
            done = 0
            for info in members:
                with archive.open(info) as member:
                    before = done
                    self._read_json(member, name, lambda: (before + member.tell(), total))  # noqa: B023 - called in here
                done += info.file_size

    def _read_json(
        self,
        file: IO[bytes],
        name: str,
        place: Callable[[], tuple[int, int]],
    ) -> None:
        start = file.read(2)
        file.seek(0)
        encoding = next((name for mark, name in _MARKS if start == mark), "utf-8")
        text = io.TextIOWrapper(file, encoding, errors="replace", newline="")

        def watch() -> None:
            if self._cancelled():
                raise _StoppedError
            if self._progress is not None:
                self._progress(*place())

        try:
            # Also while it reads on and on without finding anything.
            for element in elements(_Watched(text, watch)):
                self._take(element)
                watch()
        except NoListError as error:
            raise Refused(f"{name} holds no conversations: {error}", hint=_JSON_HINT) from None
        finally:
            with contextlib.suppress(ValueError, OSError):
                text.detach()

    def _take(self, element: Element) -> None:
        title = ""
        if element.problem:
            self._outcome.fail(element.number, "", element.problem)
            return
        value = element.value
        try:
            if isinstance(value, dict):
                title = shorten(value["title"], 80) if isinstance(value.get("title"), str) else ""
            if isinstance(value, dict) and records.is_record(value):
                whole, kind = records.from_record(value), "corral"
            elif isinstance(value, dict) and chatgpt.is_conversation(value):
                whole, kind = chatgpt.from_chatgpt(value, self._now), "chatgpt"
            elif element.doubtful:
                return  # A piece of a broken record that was told already.
            else:
                raise Refused("It is no conversation of corral's or ChatGPT's")
        except CorralError as error:
            self._outcome.fail(element.number, title, error.message)
            return
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            self._outcome.fail(element.number, title, f"It makes no sense: {error}")
            return
        self._outcome.kinds.add(kind)  # type: ignore[arg-type]
        self._batch.append(_titled(whole))
        self._characters += sum(len(message.text) for message in whole.messages)
        if len(self._batch) >= _BATCH or self._characters >= _BATCH_CHARACTERS:
            self._store_batch()

    def _store_batch(self) -> None:
        batch, self._batch, self._characters = self._batch, [], 0
        if not batch:
            return
        for taken in self._store.take_in(batch):
            outcome = self._outcome
            outcome.messages += taken.messages
            match taken.outcome:
                case "added":
                    outcome.added.append(taken.id)
                case "extended":
                    outcome.extended.append(taken.id)
                case "known":
                    outcome.known += 1
                case "in the trash":
                    outcome.in_trash += 1


def _titled(whole: Whole) -> Whole:
    """With a title from the first message where it has none."""
    first = next((m.text for m in whole.messages if m.role == "user"), "")
    if whole.conversation.title or not first:
        return whole
    return replace(whole, conversation=replace(whole.conversation, title=title_from(first)))
