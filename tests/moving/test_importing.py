"""ChatGPT's files, and files that are damaged, huge, hostile or something else."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.moving.trees import chatgpt, grown, node

from corral.errors import CorralError, NotFound, Refused
from corral.moving.exporting import export_file
from corral.moving.importing import Imported, import_file
from corral.store.store import Store

NOW = 1_800_000_000.0


@pytest.fixture
def take(store: Store, tmp_path: Path) -> Any:
    """``take(value)`` imports a value as JSON, or text or bytes as they are."""

    def run(content: Any, name: str = "conversations.json") -> Imported:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text, encoding="utf-8")
        return import_file(store, path, now=NOW)

    return run


def test_chatgpt_s_tree_stays_a_tree(store: Store, take: Any) -> None:
    done = take([chatgpt()])
    assert (len(done.added), done.kinds, done.failed) == (1, {"chatgpt"}, 0)
    conversation = store.conversation(done.added[0])
    assert conversation.title == "Trip to Cusco" and conversation.pinned
    assert conversation.created == 1_700_000_000.0 and conversation.origin == "chatgpt:c-1"
    messages = store.messages(conversation.id)
    first, may, longer, cold, end = messages
    assert [m.text for m in messages] == [
        "When is the best time?", "In May.", "From May to September.", "How cold is it?",
        "Cold at night.",
    ]  # fmt: skip
    assert (may.parent, longer.parent, cold.parent) == (first.id, first.id, longer.id)
    assert end.parent == cold.id, "the call of a tool and its result are left out"
    assert conversation.active == end.id
    assert end.model == {"name": "gpt-4o", "title": "gpt-4o", "source": "ChatGPT"}
    assert take([chatgpt()]).known == 1


def test_an_answer_around_a_tool_is_one_answer(store: Store, take: Any) -> None:
    nodes = [
        node("q", None, ["a"], "user", "How much?"),
        node("a", "q", ["t"], "assistant", "Let me count."),
        node("t", "a", ["b"], "tool", "42"),
        node("b", "t", [], "assistant", "It is 42."),
    ]
    done = take([chatgpt(mapping={n["id"]: n for n in nodes}, current_node="b")])
    question, answer = store.messages(done.added[0])
    assert answer.text == "Let me count.\n\nIt is 42." and answer.parent == question.id
    assert store.conversation(done.added[0]).active == answer.id


def test_pictures_code_and_instructions(store: Store, take: Any) -> None:
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file://x"}
    nodes = [
        node("s", None, ["q"], "system", "You are a poet."),
        node("q", "s", ["a"], "user", content={"content_type": "multimodal_text",
             "parts": [picture, "What is this?"]}),
        node("a", "q", ["h"], "assistant", content={"content_type": "code", "language": "python",
             "text": "print(1)"}),
        node("h", "a", [], "user", "hidden",
             metadata={"is_visually_hidden_from_conversation": True}),
    ]  # fmt: skip
    done = take([chatgpt(mapping={n["id"]: n for n in nodes}, current_node="h")])
    assert store.conversation(done.added[0]).system == "You are a poet."
    assert [m.text for m in store.messages(done.added[0])] == [
        "[image]\n\nWhat is this?", "```python\nprint(1)\n```",
    ]  # fmt: skip


def test_a_ring_a_missing_parent_and_a_child_of_two_are_survived(store: Store, take: Any) -> None:
    nodes = [
        node("a", "b", ["b"], "user", "ring one"),
        node("b", "a", ["a"], "assistant", "ring two"),
        node("c", "nowhere", ["d", "d", "c", "gone"], "user", "orphan"),
        node("d", "c", [], "assistant", "its answer"),
        node("e", None, ["d"], "user", "claims it, too"),
    ]
    done = take([chatgpt(mapping={n["id"]: n for n in nodes} | {"x": 7, "y": {}})])
    texts = sorted(m.text for m in store.messages(done.added[0]))
    assert texts == ["claims it, too", "its answer", "orphan", "ring one", "ring two"]


def test_ten_thousand_messages_in_a_row_are_no_recursion(store: Store, take: Any) -> None:
    nodes = {
        str(n): node(
            str(n), str(n - 1) if n else None, [str(n + 1)], ("user", "assistant")[n % 2], f"m{n}"
        )
        for n in range(10_000)
    }
    done = take([chatgpt(mapping=nodes, current_node="9999")])
    assert done.messages == 10_000


BROKEN: dict[str, Any] = {
    "no mapping": {"title": "Nothing in it"},
    "no number": chatgpt(conversation_id=None),
    "no message": chatgpt("c-9", mapping={}),
    "a word": "hello",
    "a number too long": chatgpt("x" * 500),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_bad_record_is_named_and_the_good_ones_are_imported(
    broken: Any, store: Store, take: Any
) -> None:
    done = take([chatgpt("one"), broken, chatgpt("two", title="Second")])
    assert len(done.added) == 2 and done.failed == 1
    assert done.problems[0].record == 2 and done.problems[0].reason
    assert len(store.conversations()) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"two"', '"two'),
        lambda text: text.replace('"title": "B"', '"title": "B", ]'),
        lambda text: text.replace('"is_archived": false', '"is_archived": fal', 2),
        lambda text: text.replace('"title": "B"', '"title": "B", "n": 1e999'),
        lambda text: text.replace('"title": "B"', '"title": "B", "n": ' + "[" * 100_000),
        lambda text: text.replace('"title": "B"', '"title": "B", "n": ' + "9" * 9_000),
    ],
    ids=["a quote lost", "a bracket", "a word cut", "infinite", "deep", "digits"],
)
def test_damage_in_one_record_costs_that_record(damage: Any, store: Store, take: Any) -> None:
    titles = {"one": "A", "two": "B", "three": "C", "four": "D"}
    text = json.dumps([chatgpt(id, title) for id, title in titles.items()])
    done = take(damage(text))
    found = {c.title for c in store.conversations()}
    assert {"C", "D"} <= found and len(found) >= 2 and done.failed >= 1
    assert "B" not in found


def test_a_truncated_file_gives_what_was_whole(store: Store, take: Any) -> None:
    text = json.dumps([chatgpt(str(n), f"Number {n}") for n in range(5)])
    done = take(text[: int(len(text) * 0.7)])
    assert len(done.added) == 3 and done.failed == 1
    assert "no end" in done.problems[0].reason
    done = take(text)
    assert len(done.added) == 2 and done.known == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"   \n ", "empty"),
        (b"hello", "not JSON"),
        (b"\x00\x01\x02" * 1000, "not JSON"),
        (b"<html><body>[]</body></html>", "not JSON"),
        (b"PK\x03\x04 cut off", "not JSON"),
        (b'{"conversations": 5}', "no conversation of corral"),
    ],
)
def test_what_is_no_export_is_refused_with_the_reason(content: bytes, said: str, take: Any) -> None:
    with pytest.raises(Refused, match=said) as caught:
        take(content)
    assert "conversations.json" in caught.value.hint


def test_what_is_no_file_is_refused_and_never_waited_for(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        import_file(store, tmp_path / "nothing.json", now=NOW)
    with pytest.raises(Refused):
        import_file(store, tmp_path, now=NOW)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refused):
        import_file(store, tmp_path / "pipe", now=NOW)
    with pytest.raises(Refused):
        import_file(store, Path("/dev/zero"), now=NOW)


def test_a_list_a_single_object_lines_and_other_encodings(store: Store, take: Any) -> None:
    assert len(take(chatgpt("single")).added) == 1
    lines = "\n".join(json.dumps(chatgpt(f"line-{n}")) for n in range(3))
    assert len(take(lines).added) == 3
    assert len(take("\ufeff" + json.dumps([chatgpt("marked")])).added) == 1
    assert len(take(json.dumps([chatgpt("wide", "Ñandú")]).encode("utf-16")).added) == 1
    assert take([]).conversations == 0
    # A byte that is no UTF-8 costs one letter.
    raw = json.dumps([chatgpt("bytes", "Cafe!")]).encode().replace(b"Cafe!", b"Caf\xe9!")
    assert store.conversation(take(raw).added[0]).title == "Caf\ufffd!"


def test_the_zip_file_that_chatgpt_sends(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("user.json", "{}")
        archive.writestr("chat.html", "<html>")
        archive.writestr("conversations-000.json", json.dumps([chatgpt("a"), chatgpt("b")]))
        archive.writestr("conversations-001.json", json.dumps([chatgpt("c")]))
    assert len(import_file(store, path, now=NOW).added) == 3
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.jpg", b"")
    with pytest.raises(Refused, match=r"no conversations\.json"):
        import_file(store, tmp_path / "photos.zip", now=NOW)
    # Damage in the packed bytes: what came before it stays.
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    (tmp_path / "bad.zip").write_bytes(raw)
    done = import_file(store, tmp_path / "bad.zip", now=NOW)
    assert done.failed >= 1 and len(store.conversations()) == 3


def hostile(**changes: Any) -> dict[str, Any]:
    message = {"id": 1, "parent": None, "role": "user", "text": "Hi", "created": 5.0}
    return {
        "format": "corral-conversation", "version": 1, "origin": "corral:x:1:5.000",
        "title": "[@click=app.quit]x[/]\x1b[2J", "created": 5.0, "updated": 6.0, "active": 1,
        "messages": [message],
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "newer corral"),
        ({"created": 1e300}, "created"),
        ({"updated": -5}, "updated"),
        ({"messages": [{"id": 1, "role": "system", "text": "", "created": 1}]}, "role"),
        ({"messages": [{"id": 1, "parent": 1, "role": "user", "text": "", "created": 1}]}, "below"),
        ({"messages": [{"id": 1, "parent": 9, "role": "user", "text": "", "created": 1}]}, "below"),
        (
            {"messages": [{"id": 1, "role": "user", "text": "", "created": 1}] * 2},
            "Two messages",
        ),
        ({"messages": {"id": 1}}, "messages"),
        ({"messages": None}, "messages"),
        ({"title": ["x"]}, "title"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused_with_its_place(
    changes: dict[str, Any], said: str, store: Store, take: Any
) -> None:
    done = take([hostile(**changes), hostile(origin="corral:x:2:5.000")])
    assert len(done.added) == 1 and said in done.problems[0].reason


def test_provenance_that_would_break_a_screen_is_left_out(store: Store, take: Any) -> None:
    message = {
        "id": 1, "parent": None, "role": "assistant", "text": "Hi", "created": 5.0,
        "model": {"name": ["x"], "quant": 4, "n_ctx": "many", "extra": [1], "title": "T"},
        "usage": {"prompt_tokens": "x", "completion_tokens": 10**30, "reused_tokens": 3},
        "timings": {"tokens_per_second": {"a": 1}, "load_ms": True, "prompt_ms": 1.5},
        "parameters": {
            "window_from": 77, "seed": 1, "ids": {"characters": 2, "tokens": [1, 2]},
            "pieces": ["x"], "edited_from": 3,
        },
    }  # fmt: skip
    parameters = {
        "temperature": "hot", "top_p": 0.5, "n_ctx": -4, "path": "/etc/passwd", "vocab_only": True,
        "max_tokens": "x", "threads": 3, "window": "drop",
    }  # fmt: skip
    done = take([hostile(messages=[message], parameters=parameters)])
    (kept,) = store.messages(done.added[0])
    assert kept.model == {"extra": [1], "title": "T"}
    assert kept.usage == {"reused_tokens": 3} and kept.timings == {"prompt_ms": 1.5}
    assert kept.parameters == {"seed": 1, "edited_from": None}
    assert store.conversation(done.added[0]).parameters == {
        "top_p": 0.5, "threads": 3, "window": "drop",
    }  # fmt: skip


def test_stopping_keeps_what_came_in(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    path.write_text(json.dumps([chatgpt(str(n)) for n in range(100)]))
    asked = iter(range(1000))
    done = import_file(store, path, now=NOW, cancelled=lambda: next(asked) >= 40)
    assert done.stopped and 40 <= len(done.added) < 100
    assert len(import_file(store, path, now=NOW).added) == 100 - len(done.added)


def test_a_full_disk_is_said_and_what_came_before_stays(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "many.json"
    path.write_text(json.dumps([chatgpt(str(n)) for n in range(100)]))
    with store._database.read() as connection:
        pages = connection.execute("PRAGMA page_count").get
        connection.execute(f"PRAGMA max_page_count = {pages + 12}")
    with pytest.raises(CorralError) as caught:
        import_file(store, path, now=NOW)
    assert caught.value.title == "The disk is full"
    assert caught.value.exit_code == 4
    with store._database.read() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    before = len(store.conversations())
    assert len(import_file(store, path, now=NOW).added) == 100 - before


_LIMITED = """
import resource, sys, pathlib
from corral.store.store import Store
from corral.moving.importing import import_file
store = Store.open(None)
import corral.engine.params, corral.moving.records
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
done = import_file(store, pathlib.Path(sys.argv[1]), now=1.0)
print(done.conversations, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)
"""


def test_a_huge_file_is_never_whole_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    big = json.dumps(chatgpt("same", filler="x" * 200_000))
    with path.open("w") as file:
        file.write("[" + big)
        for _ in range(299):
            file.write("," + big)
        file.write("]")
    size = path.stat().st_size
    assert size > 60_000_000
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    conversations, grown_by = map(int, done.stdout.split())
    assert conversations == 300 and grown_by * 1024 < 30_000_000
    assert resource.getpagesize()


def test_a_backup_is_named_as_such(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "{}")
    with pytest.raises(Refused, match="backup") as caught:
        import_file(store, path, now=NOW)
    assert "restore" in caught.value.hint


def test_what_a_person_edited_by_hand_in_our_export_still_comes_in(
    store: Store, other: Store, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    export_file(store, [grown(store)], "json", path, now=NOW)
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False))
    assert len(import_file(other, path, now=NOW).added) == 1


def test_a_later_export_of_chatgpt_brings_only_what_is_new(store: Store, take: Any) -> None:
    (id,) = take([chatgpt()]).added
    store.update_conversation(id, title="My trip", folder="Travel")
    longer = chatgpt(current_node="a4", update_time=1_700_009_000.0)
    longer["mapping"]["a3"]["children"] = ["q3"]
    longer["mapping"]["q3"] = node("q3", "a3", ["a4"], "user", "And in June?")
    longer["mapping"]["a4"] = node("a4", "q3", [], "assistant", "Dry.")
    longer["mapping"]["q1"]["children"].append("a5")
    longer["mapping"]["a5"] = node("a5", "q1", [], "assistant", "Any time.")
    done = take([longer])
    assert (done.extended, done.added, done.messages) == ([id], [], 3)
    conversation = store.conversation(id)
    assert (conversation.title, conversation.folder) == ("My trip", "Travel")
    assert conversation.updated == 1_700_009_000.0
    texts = {m.id: m.text for m in store.messages(id)}
    assert len(texts) == 8 and texts[conversation.active or 0] == "Dry."
    assert take([longer]).known == 1


def test_two_programs_import_the_same_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    path.write_text(json.dumps([chatgpt(str(n)) for n in range(80)]))
    stores = [Store.open(tmp_path / "one.db") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda one: import_file(one, path, now=NOW), stores))
    assert sum(len(one.added) for one in done) == 80
    assert all(one.conversations == 80 for one in done)
    assert len(stores[0].conversations()) == 80
    for store in stores:
        store.close()


def test_what_does_not_say_where_it_is_from_is_there_once_too(store: Store, take: Any) -> None:
    first, other = hostile(origin=""), hostile(origin="", title="Another")
    del first["origin"]
    assert (len(take([first, other]).added), len(take([other, first, first]).added)) == (2, 0)
    assert take([first]).known == 1
    store.delete(store.conversations()[0].id)
    assert len(take([first, other]).added) == 1
