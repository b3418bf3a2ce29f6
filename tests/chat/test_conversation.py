"""The tree: paths, siblings, and where walking to a sibling lands."""

from __future__ import annotations

from corral.chat.conversation import Message, active_path, latest_leaf, siblings, title_from


def tree() -> list[Message]:
    #  1 -> 2 -> 4
    #    -> 3 -> 5 -> 6
    shape = [(1, None, "user"), (2, 1, "assistant"), (3, 1, "assistant"), (4, 2, "user")]
    shape += [(5, 3, "user"), (6, 5, "assistant")]
    return [Message(i, 1, p, r, f"m{i}", "complete", 0.0) for i, p, r in shape]  # type: ignore[arg-type]


def test_the_active_path_runs_from_root_to_leaf() -> None:
    assert [m.id for m in active_path(tree(), 6)] == [1, 3, 5, 6]
    assert active_path(tree(), None) == []


def test_siblings_share_their_parent() -> None:
    messages = tree()
    assert [m.id for m in siblings(messages, messages[2])] == [2, 3]
    assert [m.id for m in siblings(messages, messages[5])] == [6]


def test_walking_to_a_branch_lands_on_its_newest_leaf() -> None:
    assert latest_leaf(tree(), 3) == 6
    assert latest_leaf(tree(), 2) == 4
    assert latest_leaf(tree(), 6) == 6


def test_a_title_is_cut_at_a_word() -> None:
    assert title_from("  What\nis   this? ") == "What is this?"
    long = "What is the difference between a llama and an alpaca in the mountains?"
    assert title_from(long) == "What is the difference between a llama and an…"
    assert len(title_from("x" * 200)) == 48
