"""Branches from the command line, with the real starter model."""

from __future__ import annotations

from tests.cli.conftest import Corral

QUESTION = "Count from one to twenty in words."
GREEDY = ("--temperature", "0", "--json")


def test_an_answer_goes_on_is_made_again_and_the_tree_is_kept(corral: Corral) -> None:
    first = corral("ask", QUESTION, *GREEDY, "--max-tokens", "6").lines[-1]
    assert first["stop_reason"] == "length"
    more = corral("ask", "--continue-answer", *GREEDY, "--max-tokens", "6")
    assert more.code == 0
    *deltas, done = more.lines
    assert (done["conversation"], done["message"]) == (first["conversation"], first["message"])
    assert done["text"] == first["text"] + "".join(delta["text"] for delta in deltas)
    assert len(done["text"]) > len(first["text"])
    again = corral("ask", "--again", "--seed", "3", "--json", "--max-tokens", "3").lines[-1]
    assert again["message"] != done["message"]

    tree = corral("history", "tree", "1", "--json").json
    assert [(row["id"], row["parent"], row["active"]) for row in tree] == [
        (1, None, True),
        (2, 1, False),
        (3, 1, True),
    ]
    assert "* " in corral("history", "tree", "1").out
    fork = corral("history", "fork", "1", "--at", "2", "--json").json
    assert (fork["messages"], fork["forked_from"]) == (2, 1)
    copied = corral("history", "show", str(fork["id"]), "--json").json["messages"]
    assert copied[1]["text"] == done["text"] and copied[1]["model"] == done["model"]


def test_messages_are_deleted_and_brought_back(corral: Corral) -> None:
    corral("ask", "Hello", *GREEDY, "--max-tokens", "2")
    gone = corral("history", "prune", "1", "--json").json
    assert (gone["messages"], gone["active"]) == (2, None)
    assert corral("history", "show", "1", "--json").json["messages"] == []
    refused = corral("history", "prune", "1")
    assert refused.code == 3 and "was deleted" in refused.err
    assert "Brought back 2 messages" in corral("history", "undo", "1").out
    assert corral("history", "undo", "1").code == 3


def test_what_does_not_go_together_is_said(corral: Corral) -> None:
    both = corral("ask", "Hello", "--again")
    assert both.code == 2 and "neither a PROMPT" in both.err
    nothing = corral("ask", "--continue-answer")
    assert nothing.code == 3 and "no conversation" in nothing.err
    assert corral("history", "list", "--json").json == []
    assert corral("history", "fork", "7").code == 3
