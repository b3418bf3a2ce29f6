"""A word of a lost branch is found again: the real program in a terminal, from first to last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.faults.test_terminal import Terminal
from tests.moving.trees import shape

from corral.chat.conversation import Message, active_path, siblings
from corral.cli import main
from corral.models.catalog import Catalog, find_catalogue
from corral.models.library.library import Library
from corral.store.store import Store

LOST = "Please say in a few short words what people call a guanaco"
KEPT = "What is the capital of Peru?"
PATIENCE = 60.0


class Watched:
    """The program in a terminal, and its history as another program sees it."""

    def __init__(self, store: Store) -> None:
        self.terminal = Terminal()
        self.store = store

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, (what, self.terminal.output[-3000:])
            self.terminal.read(0.05)

    def press(self, keys: str, shows: str = "") -> None:
        """Type, and wait until something new is painted that has these words."""
        before = len(self.terminal.output)
        self.terminal.type(keys.encode())
        if shows:
            self.until(lambda: shows.encode() in self.terminal.output[before:], shows)

    def empty_box(self) -> None:
        """Take out the line in the box, once it has the focus."""
        before = len(self.terminal.output)

        def emptied() -> bool:
            self.terminal.type(b"\x01\x0b")
            self.pause(0.3)
            return b"sk anything" in self.terminal.output[before:]

        self.until(emptied, "an empty box")

    def pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.terminal.read(0.05)

    def shown(self, id: int) -> list[str]:
        """The texts of the active path."""
        conversation = self.store.conversation(id)
        path = active_path(self.store.messages(id), conversation.active)
        return [message.text for message in path]

    def answers(self, id: int, count: int) -> list[Message]:
        """All answers of a conversation, once there are so many and all are complete."""

        def there() -> list[Message]:
            found = [one for one in self.store.messages(id) if one.role == "assistant"]
            done = all(one.status == "complete" for one in found)
            return found if done and len(found) == count else []

        self.until(there, f"{count} answers")
        return there()


def tree_and_provenance(store: Store, id: int) -> dict[str, Any]:
    """Everything but the tokens of the answers: in a file they could be forged, so no file brings
    them in."""
    found = shape(store, id)
    for message in found["messages"]:
        for values in message:
            if isinstance(values, dict):
                values.pop("ids", None)
    return found


@pytest.fixture
def program(private_home: Path, q8: Path) -> Iterator[Watched]:
    for folder in ("config", "data"):
        (private_home / folder).mkdir(parents=True)
    (private_home / "config" / "config.toml").write_text(
        'model = "smollm2-135m-instruct"\n[sampling]\nmax_tokens = 6\n[engine]\nn_ctx = 512\n'
    )
    store = Store.open(private_home / "data" / "corral.db")
    library = Library(store, Catalog.load(find_catalogue()))
    library.import_file(q8, name="smollm2:Q8_0", format="chatml")
    watched = Watched(store)
    watched.until(lambda: b"Keep your llamas" in watched.terminal.output, "the first screen")
    yield watched
    watched.terminal.free()
    store.close()


def test_a_word_of_a_lost_branch_is_found_and_the_tree_comes_through_whole(
    program: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = program.store
    program.press(f"{LOST}\r")
    program.until(lambda: store.conversations(), "a conversation")
    id = store.conversations()[0].id
    (first,) = program.answers(id, 1)
    assert first.model and first.model["quant"] == "Q4_1"

    program.press("\x14", "1 branch")  # Ctrl+T: the tree
    program.press("\x1b[A")
    program.press("e", "writing a message anew")
    program.empty_box()
    program.press(f"{KEPT}\r")
    program.answers(id, 2)
    for count in (3, 4):
        program.press("/again smollm2:Q8_0\r")
        answers = program.answers(id, count)
    assert [(one.model or {}).get("quant") for one in answers] == ["Q4_1", "Q4_1", "Q8_0", "Q8_0"]
    assert len({(one.model or {}).get("sha256") for one in answers}) == 2
    assert [one.id for one in siblings(store.messages(id), answers[-1])] == [
        one.id for one in answers[1:]
    ]

    program.press("\x14", "4 branches")
    program.press("[")
    program.press("\r")
    program.until(lambda: store.conversation(id).active == answers[2].id, "the sibling before")
    program.press("\x14", "4 branches")
    program.press("f")
    program.until(lambda: len(store.conversations()) == 2, "the fork")
    (fork,) = (one for one in store.conversations() if one.id != id)
    assert [one.text for one in store.messages(fork.id)] == [KEPT, answers[2].text]

    program.press("\x06", "before: is:")  # Ctrl+F
    program.press("guana", "guanaco")  # The whole word stands only in what was found.
    program.press("\r", "newline")  # The keys of the box stand below again.
    program.until(lambda: program.shown(id)[0] == LOST, "the lost branch")
    assert program.shown(id) == [LOST, first.text]

    target = tmp_path / "talks.json"
    program.press(f"/export json {target}\r")
    program.until(target.exists, "the export")
    program.press("\x11")
    assert program.terminal.wait_for_end() == 0
    before = tree_and_provenance(store, id)

    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "empty"))
    done = CliRunner().invoke(main, ["history", "import", str(target)])
    assert (done.exit_code, "1 conversation added" in done.output) == (0, True)
    again = Store.open(tmp_path / "empty" / "data" / "corral.db")
    (came,) = again.conversations()
    assert tree_and_provenance(again, came.id) == before
    (hit,) = again.search("guanaco")
    assert hit.message is not None
    assert again.message(hit.message).text in (LOST, first.text)
    again.close()
