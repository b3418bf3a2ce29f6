"""``corral ask --complete`` with the real starter model: texts, candidates, alternatives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.conftest import Corral, Run

from corral.cli import main
from corral.store.store import Store

BEGINNING = "The capital of France is"
GREEDY = ("--temperature", "0", "--max-tokens", "4", "--json")


@pytest.fixture
def run(private_home: Path) -> Iterator[Corral]:
    """The command line in this process, with a real engine in its own."""
    before = os.umask(0o077)

    def run(*arguments: str, stdin: str = "") -> Run:
        result = CliRunner().invoke(main, list(arguments), input=stdin)
        assert not isinstance(result.exception, Exception), result.exception
        assert "Traceback" not in result.output and "\x1b" not in result.output
        return Run(result.exit_code, result.stdout, result.stderr)

    yield run
    os.umask(before)


def test_a_text_goes_on_in_itself(
    run: Corral, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # CliRunner's stdin has no file descriptor; nothing is piped in here.
    monkeypatch.setattr("corral.cli.stdin._read", lambda command: "")
    *deltas, first = run("ask", "--complete", BEGINNING, *GREEDY).lines
    assert first["text"] == "".join(delta["text"] for delta in deltas)
    assert first["text"].startswith(" Paris"), "the space before the word is a part of it"
    id = str(first["conversation"])
    store = Store.open(private_home / "data" / "corral.db")
    assert store.conversation(int(id)).parameters == {"format": "completion"}
    store.close()

    # Without a prompt it goes on at its end; the end is the whole text so far.
    *_, second = run("ask", "-c", id, *GREEDY).lines
    shown = run("ask", "-c", id, "--dry-run", "--json").json
    whole = BEGINNING + first["text"] + second["text"]
    assert shown["text"] == "<s>" + whole
    assert shown["format"] == "completion" and shown["tokens"][0] == 1
    *_, third = run("ask", "--complete", "-c", id, " And Rome", *GREEDY).lines
    parents = {one["id"]: one for one in run("history", "show", id, "--json").json["messages"]}
    own = parents[parents[third["message"]]["parent"]]
    assert (own["role"], own["text"], own["parent"]) == ("user", " And Rome", second["message"])

    # Several candidates: one object each, beside one another, each with a seed of its own, also
    # where the settings have one for all.
    (private_home / "config").mkdir(exist_ok=True)
    (private_home / "config" / "config.toml").write_text("[sampling]\nseed = 7\n")
    made = run("ask", "-c", id, "--candidates", "2", "--max-tokens", "2", "--json")
    assert [line["type"] for line in made.lines] == ["done", "done"], made.err
    messages = run("history", "show", id, "--json").json["messages"]
    by_id = {one["id"]: one for one in messages}
    assert {by_id[line["message"]]["parent"] for line in made.lines} == {third["message"]}
    assert "1 of 2 · seed 7" in made.err and "2 of 2 · seed 8" in made.err

    # An export is the text, and says who wrote how much of it.
    told = run("history", "export", id, "--format", "text").out
    assert f"{whole} And Rome{third['text']}{made.lines[-1]['text']}" in told
    assert "% of the text" in told


def test_alternatives_are_told_and_nothing_is_kept(
    run: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corral.cli.stdin._read", lambda command: "")
    found = run("ask", "--complete", BEGINNING, "--alternatives", "4", "--json").json
    assert found["type"] == "alternatives" and len(found["tokens"]) == 4
    assert found["tokens"][0]["text"] == " Paris"
    assert 0 < sum(one["probability"] for one in found["tokens"]) <= 1
    assert found["model"]["format"] == "completion"
    table = run("ask", "--complete", BEGINNING, "--alternatives", "2")
    assert '" Paris"' in table.out and "%" in table.out and "temperature 1" in table.err
    assert run("history", "list", "--json").json == []


def test_what_does_not_go_together_is_said_before_anything_is_written(
    run: Corral, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corral.cli.stdin._read", lambda command: "")
    (private_home / "data").mkdir(parents=True)
    store = Store.open(private_home / "data" / "corral.db")
    chat = str(store.create_conversation().id)
    store.add_user(int(chat), "Hello", None)
    text = str(store.create_conversation(parameters={"format": "completion"}).id)
    store.add_user(int(text), "Once", None)
    empty = str(store.create_conversation(parameters={"format": "completion"}).id)
    store.close()
    for arguments, reason in (
        (("-c", chat, "--complete", "x"), "is a chat"),
        (("-c", text, "--format", "llama-2", "x"), "is a text"),
        (("-c", chat), "prompt is empty"),
        (("-c", empty), "prompt is empty"),
        (("-c", empty, "--alternatives", "3"), "no text yet"),
        (("--complete", "x", "--preset", "classify", "--label", "a", "--label", "b"), "preset"),
        (("x", "--alternatives", "3"), "is for texts"),
        (("--complete", "x", "--alternatives", "3", "--dry-run"), "no other wish"),
        (("-c", text, "--continue-answer", "--candidates", "2"), "--candidates"),
    ):
        refused = run("ask", *arguments)
        assert refused.code == 2 and reason in refused.err, refused.err
    store = Store.open(private_home / "data" / "corral.db")
    assert [len(store.messages(int(id))) for id in (chat, text, empty)] == [1, 1, 0]
    store.close()
