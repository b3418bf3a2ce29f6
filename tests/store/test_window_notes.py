"""What an answer notes about the window names messages: a copy names its own."""

from __future__ import annotations

from corral.chat.conversation import active_path
from corral.chat.window import Seen, recorded
from corral.store.store import Store


def test_a_fork_marks_its_own_messages(store: Store) -> None:
    made = store.create_conversation()
    parent: int | None = None
    questions = []
    for number in range(3):
        question = store.add_user(made.id, f"question {number}", parent)
        questions.append(question.id)
        begun = store.begin_answer(question.id, model=None, parameters=None)
        parent = store.finish_answer(
            begun.id,
            text="answer",
            status="complete",
            model={"name": "m"},
            parameters={
                "window_from": questions[-1],
                "window_gaps": [[questions[0], questions[-1]]],
                "window_summary": questions[-1],
            },
        ).id
    fork = store.fork(made.id)
    path = active_path(store.messages(fork.id), fork.active)
    assert {message.id for message in path}.isdisjoint(questions)
    assert recorded(path) == Seen(((path[0].id, path[4].id),), path[4].id)
