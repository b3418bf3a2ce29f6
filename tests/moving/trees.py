"""Conversations with all that can be in them, and what must be the same after a journey."""

from __future__ import annotations

from typing import Any

from corral.chat.conversation import Message
from corral.store.store import Store

SHA = "ab" * 32
MODEL = {
    "name": "llama-2-7b-chat:Q4_K_M",
    "title": "Llama 2 7B Chat",
    "file": "/models/llama-2-7b-chat.Q4_K_M.gguf",
    "sha256": SHA,
    "quant": "Q4_K_M",
    "n_ctx": 4096,
    "gpu_layers": 0,
    "threads": 4,
}
PARAMETERS = {"temperature": 0.6, "seed": 42}
USAGE = {"prompt_tokens": 20, "reused_tokens": 8, "evaluated_tokens": 12, "completion_tokens": 7}
TIMINGS = {"load_ms": 812.5, "prompt_ms": 40.25, "tokens_per_second": 41.2}


class Clock:
    """A clock that moves one second each time it is read."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def answer(store: Store, parent: int, text: str, **values: Any) -> Message:
    begun = store.begin_answer(parent, model=MODEL, parameters=PARAMETERS)
    defaults: dict[str, Any] = {
        "status": "complete", "stop_reason": "end", "usage": USAGE, "timings": TIMINGS
    }  # fmt: skip
    return store.finish_answer(begun.id, text=text, **(defaults | values))


def grown(store: Store) -> int:
    """A tree with branches, a pin, a summary, a failure and a stopped answer."""
    made = store.create_conversation(
        title="Llama vs alpaca", system="Be brief.", model="llama-2-7b-chat:Q4_K_M",
        parameters={"temperature": 0.2, "window": "summarise"},
    )  # fmt: skip
    first = store.add_user(made.id, "What is a llama? \U0001f999 \x00 \u202e", None)
    one = answer(store, first.id, "A camelid.")
    answer(store, first.id, "An animal", status="stopped", stop_reason="stopped")
    second = store.add_user(made.id, "And an alpaca?", one.id)
    last = answer(
        store,
        second.id,
        "Smaller.",
        parameters=PARAMETERS
        | {
            "window_from": second.id,
            "window_gaps": [[first.id, second.id]],
            "window_summary": second.id,
        },
    )
    again = store.add_user(made.id, "And a vicuña?\r\nReally?", one.id)
    answer(store, again.id, "", status="failed", stop_reason="error", error="The engine died")
    with store._database.write() as connection:
        connection.execute("UPDATE message SET pinned = 1 WHERE id = ?", (first.id,))
        connection.execute(
            "UPDATE message SET summary = 'Llamas were discussed' WHERE id = ?", (second.id,)
        )
    store.update_conversation(
        made.id, active=last.id, pinned=True, folder="Animals/Camelids", preset="summarise",
        draft="What abou",
    )  # fmt: skip
    return made.id


def shape(store: Store, id: int) -> dict[str, Any]:
    """Everything of a conversation but the numbers that its history gave it."""
    whole = store.whole(id)
    order = {message.id: number for number, message in enumerate(whole.messages)}
    one = whole.conversation

    def parameters(message: Message) -> dict[str, Any] | None:
        values = dict(message.parameters or {})
        if "window_from" in values:
            values["window_from"] = order[values["window_from"]]
            values["window_summary"] = order[values["window_summary"]]
            values["window_gaps"] = [[order[a], order[b]] for a, b in values["window_gaps"]]
        return values if message.parameters is not None else None

    return {
        "conversation": (
            one.title, one.titled, one.created, one.updated, one.pinned, one.archived, one.system,
            one.model, one.parameters, one.draft, one.folder, one.preset, one.origin,
        ),
        "active": order[one.active or 0],
        "messages": [
            (
                order.get(m.parent or 0), m.role, m.text, m.status, m.created, m.stop_reason,
                m.error, m.model, parameters(m), m.usage, m.timings, m.pinned, m.summary,
            )
            for m in whole.messages
        ],
    }  # fmt: skip


def node(
    id: str, parent: str | None, children: list[str], role: str = "", text: str = "", **more: Any
) -> dict[str, Any]:
    """A node of ChatGPT's tree; without a role one that holds no message."""
    message = None
    if role:
        message = {
            "id": id,
            "author": {"role": role, "name": None, "metadata": {}},
            "create_time": 1_700_000_000.5,
            "content": {"content_type": "text", "parts": [text]},
            "status": "finished_successfully",
            "recipient": "all",
            "metadata": {"model_slug": "gpt-4o"} if role == "assistant" else {},
        } | more
    return {"id": id, "message": message, "parent": parent, "children": children}


def chatgpt(id: str = "c-1", title: str = "Trip to Cusco", **changes: Any) -> dict[str, Any]:
    """A conversation as ChatGPT exports it: two answers to one question, then a tool."""
    nodes = [
        node("root", None, ["sys"]),
        node("sys", "root", ["q1"], "system", ""),
        node("q1", "sys", ["a1", "a2"], "user", "When is the best time?"),
        node("a1", "q1", [], "assistant", "In May."),
        node("a2", "q1", ["q2"], "assistant", "From May to September."),
        node("q2", "a2", ["call"], "user", "How cold is it?"),
        node("call", "q2", ["tool"], "assistant", 'search("cusco")', recipient="browser"),
        node("tool", "call", ["a3"], "tool", "0 degrees at night"),
        node("a3", "tool", [], "assistant", "Cold at night\ue200cite\ue202turn0\ue201."),
    ]
    return {
        "title": title,
        "create_time": 1_700_000_000.0,
        "update_time": 1_700_000_100.0,
        "mapping": {one["id"]: one for one in nodes},
        "current_node": "a3",
        "conversation_id": id,
        "is_archived": False,
        "is_starred": True,
    } | changes
