"""Files that were made to keep an import busy for ever, or to break what comes after it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.moving.trees import chatgpt, node

from corral.errors import Refused
from corral.moving.archive import Manifest
from corral.moving.chatgpt import from_chatgpt
from corral.moving.elements import MOST_BROKEN
from corral.moving.importing import import_file
from corral.moving.records import LATEST, from_record, own_parameters
from corral.store.store import Store

NOW = 1_790_000_000.0


@pytest.mark.parametrize("around", [(b"", b"[]"), (b"[", b"]"), (b'[{"id": x', b"]")])
def test_what_holds_nothing_for_megabytes_can_be_stopped(
    around: tuple[bytes, bytes], store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "void.json"
    path.write_bytes(around[0] + b" " * (6 << 20) + around[1])
    told: list[int] = []
    asked = iter(range(100))
    done = import_file(
        store,
        path,
        now=NOW,
        progress=lambda at, total: told.append(at),
        cancelled=lambda: next(asked) > 3,
    )
    assert done.stopped and not done.conversations
    assert told == sorted(told) and 0 < told[-1] < path.stat().st_size


@pytest.mark.parametrize("text", ['[{"id":', '[{"id":x'], ids=["deeper and deeper", "broken"])
def test_behind_thousands_of_broken_records_nothing_is_looked_for(
    text: str, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text * (MOST_BROKEN + 5_000))
    began = time.process_time()
    done = import_file(store, path, now=NOW)
    assert time.process_time() - began < 15
    assert done.failed == MOST_BROKEN + 1 and not done.conversations


def test_an_answer_of_any_number_of_pieces_is_joined_in_one_go() -> None:
    count, piece = 6_000, "a long piece " * 150
    nodes = {
        str(n): node(str(n), str(n - 1) if n else None, [str(n + 1)], "assistant", piece)
        for n in range(count)
    }
    record = chatgpt(mapping=nodes, current_node=str(count - 1))
    began = time.process_time()
    whole = from_chatgpt(record, NOW)
    assert time.process_time() - began < 2
    (message,) = whole.messages
    assert message.text == "\n\n".join([piece.strip()] * count)
    assert whole.conversation.active == message.id


@pytest.mark.parametrize("value", [None, True, 7, 1.5, [], ["x"], {"a": 1}])
def test_parameters_of_a_wrong_kind_are_left_out(value: Any) -> None:
    names = ("draft", "window", "rope_scaling", "type_k", "load_mode")
    assert own_parameters(dict.fromkeys(names, value)) == {}
    good = {"draft": "off", "window": "ends", "max_tokens": 1 << 20, "seed": 3}
    assert own_parameters(good | {"path": "/etc/passwd"}) == good
    assert own_parameters({"max_tokens": (1 << 20) + 1}) == {}


@pytest.mark.parametrize(
    ("folder", "kept"),
    [
        ("/", ""),
        (" Work //Trips/ ", "Work/Trips"),
        ("a\x1b[2J\n", "a␛[2J"),
        ("x" * 5_000, "x" * 200),
        ("y" * 199 + "/z", "y" * 199),
    ],
)
def test_a_folder_from_a_file_is_a_name_that_can_be_shown(folder: str, kept: str) -> None:
    record = {"version": 1, "created": 1.0, "updated": 2.0, "messages": [], "folder": folder}
    assert from_record(record).conversation.folder == kept
    with pytest.raises(Refused, match="folder"):
        from_record(record | {"folder": ["x"]})


def test_a_backup_of_a_year_that_no_calendar_knows_is_none() -> None:
    values: dict[str, Any] = {
        "format": "corral-backup", "version": 1, "corral": "1", "tables": 1,
        "conversations": 0, "messages": 0, "files": [],
    }  # fmt: skip
    assert Manifest(created=LATEST, **values)
    with pytest.raises(ValidationError):
        Manifest(created=1e300, **values)
