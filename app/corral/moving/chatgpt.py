"""ChatGPT's export: ``conversations.json``, where each conversation is a tree called ``mapping``.

A node is a message with its parent and its children. Between what the person said and the answers
stand nodes that nobody wrote for reading: an empty root, hidden system texts, calls of tools and
what these gave. They are left out, and what hangs below them hangs below the message above.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from corral.chat.conversation import Conversation, Message, Role, StopReason
from corral.errors import Refused
from corral.moving.records import LATEST
from corral.store.moving import Whole

ORIGIN = "chatgpt:"

_CITATION = re.compile("\ue200.*?\ue201|【[^】]{0,80}†[^】]{0,80}】", re.DOTALL)
_LONGEST_ORIGIN = 200
_LONGEST_TITLE = 1_000
_UNSEEN = ("thoughts", "reasoning_recap", "user_editable_context", "model_editable_context")
"""Content that its own screen does not show as words of either side either."""


def is_conversation(value: Mapping[str, Any]) -> bool:
    """Whether an object looks like one of ChatGPT's conversations."""
    return isinstance(value.get("mapping"), dict)


def from_chatgpt(value: Mapping[str, Any], now: float) -> Whole:
    """The conversation of an object.

    Args:
        now: seconds since the epoch, for what has no date.

    Raises:
        Refused: it has no number of its own, or no message that could be read.
    """
    id = value.get("conversation_id") or value.get("id")
    if not isinstance(id, str) or not 0 < len(id) <= _LONGEST_ORIGIN:
        raise Refused("It has no conversation_id")
    created = _moment(value.get("create_time"), now)
    tree = _Tree(value["mapping"], created)
    messages = tree.messages()
    if not messages:
        raise Refused("It has no message that can be read")
    latest = max(message.created for message in messages)
    title = value.get("title")
    return Whole(
        Conversation(
            id=0,
            title=title[:_LONGEST_TITLE] if isinstance(title, str) else "",
            created=created,
            updated=_moment(value.get("update_time"), max(created, latest)),
            messages=len(messages),
            titled=bool(isinstance(title, str) and title),
            pinned=value.get("is_starred") is True,
            archived=value.get("is_archived") is True,
            system=tree.system,
            active=tree.number_of(value.get("current_node")),
            origin=ORIGIN + id,
        ),
        tuple(messages),
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """What a node holds that a person would read."""

    role: Role
    text: str
    created: float
    stop_reason: StopReason | None
    model: dict[str, Any] | None


class _Tree:
    """The nodes of one ``mapping``; any of them may be anything."""

    def __init__(self, mapping: Mapping[str, Any], created: float) -> None:
        self._nodes = {key: node for key, node in mapping.items() if isinstance(node, dict)}
        self._created = created
        self._number: dict[str, int | None] = {}
        """What each node became, or the message above it."""
        self.system = ""

    def messages(self) -> list[Message]:
        """Every message, each behind what it answers, siblings in their order."""
        messages: list[Message] = []
        above: list[tuple[str, int | None]] = [(key, None) for key in reversed(self._roots())]
        while above:
            key, parent = above.pop()
            if key in self._number:
                continue  # A node cannot hang in two places, nor above itself.
            said = self._said(self._nodes[key])
            number = parent
            if said is not None:
                number = len(messages) + 1
                messages.append(_message(number, parent, said))
            self._number[key] = number
            above += [(child, number) for child in reversed(self._children(key))]
        joined, became = _joined(messages)
        self._number = {
            key: None if number is None else became[number] for key, number in self._number.items()
        }
        return joined

    def number_of(self, key: object) -> int | None:
        """The message a node became, else the one above it."""
        return self._number.get(key) if isinstance(key, str) else None

    def _roots(self) -> list[str]:
        """Nodes without a parent, and of a ring the first: nothing of it is lost."""
        roots = [
            key
            for key, node in self._nodes.items()
            if not isinstance(node.get("parent"), str) or node["parent"] not in self._nodes
        ]
        first, reached = frozenset(roots), set[str]()
        for key in [*roots, *self._nodes]:
            if key in reached:
                continue
            if key not in first:
                roots.append(key)
            todo = [key]
            while todo:
                at = todo.pop()
                if at not in reached:
                    reached.add(at)
                    todo += self._children(at)
        return roots

    def _children(self, key: str) -> list[str]:
        children = self._nodes[key].get("children")
        if not isinstance(children, list):
            return []
        return [child for child in children if isinstance(child, str) and child in self._nodes]

    def _said(self, node: Mapping[str, Any]) -> _Said | None:
        message = node.get("message")
        if not isinstance(message, dict):
            return None
        author, metadata = _object(message, "author"), _object(message, "metadata")
        hidden = metadata.get("is_visually_hidden_from_conversation") is True
        text = _CITATION.sub("", _text(_object(message, "content"))).strip()
        role = author.get("role")
        if hidden or not text:
            return None
        if role == "system" and not self.system:
            self.system = text
        if role not in ("user", "assistant") or message.get("recipient", "all") != "all":
            return None
        if role == "user":
            return _Said(
                "user", text, _moment(message.get("create_time"), self._created), None, None
            )
        slug = metadata.get("model_slug")
        model = (
            {"name": slug, "title": slug, "source": "ChatGPT"} if isinstance(slug, str) else None
        )
        return _Said(
            "assistant",
            text,
            _moment(message.get("create_time"), self._created),
            _stop_reason(message, metadata),
            model,
        )


def _message(number: int, parent: int | None, said: _Said) -> Message:
    return Message(
        id=number,
        conversation=0,
        parent=parent,
        role=said.role,
        text=said.text,
        status="stopped" if said.stop_reason == "stopped" else "complete",
        created=said.created,
        stop_reason=said.stop_reason,
        model=said.model,
    )


def _joined(messages: list[Message]) -> tuple[list[Message], dict[int, int]]:
    """Answers that go on after the call of a tool, each as one; and what each message became."""
    children = Counter(message.parent for message in messages)
    joined: dict[int, Message] = {}
    texts: dict[int, list[str]] = {}
    became: dict[int, int] = {}
    for message in messages:
        parent = None if message.parent is None else became[message.parent]
        above = None if parent is None else joined[parent]
        alone = children[message.parent] == 1
        if above is not None and alone and above.role == message.role == "assistant":
            texts[above.id].append(message.text)
            joined[above.id] = replace(
                above, status=message.status, stop_reason=message.stop_reason
            )
            became[message.id] = above.id
        else:
            texts[message.id] = [message.text]
            joined[message.id] = replace(message, parent=parent)
            became[message.id] = message.id
    whole = [replace(one, text="\n\n".join(texts[one.id])) for one in joined.values()]
    return whole, became


def _stop_reason(message: Mapping[str, Any], metadata: Mapping[str, Any]) -> StopReason:
    kind = _object(metadata, "finish_details").get("type")
    if kind == "interrupted" or message.get("status") == "in_progress":
        return "stopped"
    return "length" if kind == "max_tokens" else "end"


def _text(content: Mapping[str, Any]) -> str:
    """The words of a message; what is none of them is named in brackets."""
    kind = content.get("content_type")
    if kind in _UNSEEN:
        return ""
    parts = content.get("parts")
    if isinstance(parts, list):
        return "\n\n".join(piece for part in parts if (piece := _piece(part)))
    text = content.get("text")
    if not isinstance(text, str):
        return ""
    if kind == "code":
        language = content.get("language")
        known = isinstance(language, str) and language.isalnum()
        return f"```{language if known and language != 'unknown' else ''}\n{text}\n```"
    return text


def _piece(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    if isinstance(text := part.get("text"), str):
        return text
    kind = part.get("content_type")
    if not isinstance(kind, str):
        return ""
    for sign, word in (("image", "image"), ("audio", "recording"), ("video", "video")):
        if sign in kind:
            return f"[{word}]"
    return "[attachment]"


def _object(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _moment(value: object, otherwise: float) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LATEST:
        return float(value)
    return otherwise
