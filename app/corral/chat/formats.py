"""Prompt formats as data over one rendering function.

A prompt is a list of pieces. Only the engine turns pieces into token ids, and only ``special`` and
``control`` pieces can become control tokens: what people and models write travels as ``text``.

Sources: Llama 2 from Meta's ``generation.py`` (each finished pair is encoded on its own, BOS and
EOS are ids; CodeLlama's does the same), ChatML, Zephyr, Vicuna 1.5 and Alpaca from their model
cards, "Human and Response" from the code that trained llama2_7b_chat_uncensored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from corral.chat.conversation import Message


class Piece(NamedTuple):
    """``text`` to tokenize plainly, a ``special`` token by its text, a ``control`` one by role."""

    kind: Literal["text", "special", "control"]
    value: str


class Turn(NamedTuple):
    """One exchange as the model sees it; ``answer`` is None for the open one at the end."""

    user: str
    answer: str | None
    first_message: int
    """Id of the person's message that starts the exchange."""
    pinned: bool = False
    """One of its messages is: it is never left out."""
    summary: str = ""
    """What stands for everything above it, where that was condensed."""


def _text(value: str) -> Piece:
    return Piece("text", value)


def _special(value: str) -> Piece:
    return Piece("special", value)


_BOS = Piece("control", "bos")
_ADD_BOS = Piece("control", "add_bos")
_EOS = Piece("control", "eos")


@dataclass(frozen=True, slots=True)
class Format:
    """How a dialogue becomes a prompt. ``{}`` in a text stands for the content."""

    name: str
    title: str
    start: tuple[Piece, ...] = ()
    """Once, at the very beginning."""
    system: tuple[Piece, ...] = ()
    fold: str = ""
    """Instead of ``system``: the system text and the first message, folded into one message."""
    turn: tuple[Piece, ...] = ()
    """Before each exchange."""
    user: tuple[Piece, ...] = (_text("{}"),)
    answer: tuple[Piece, ...] = (_text("{}"),)
    open: tuple[Piece, ...] = ()
    """After the last user message, where the answer begins."""
    default_system: str = ""
    """What the reference implementation says where nobody gave a system prompt."""
    strip: bool = True
    tags: tuple[str, ...] = ()
    """Ordinary text that structures the prompt: neutralised in every message."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer, for models that do not always emit EOS."""


LLAMA_2 = Format(
    name="llama-2",
    title="Llama 2 Chat",
    turn=(_BOS,),
    fold="<<SYS>>\n{}\n<</SYS>>\n\n{}",
    user=(_text("[INST] {} [/INST]"),),
    answer=(_text(" {} "), _EOS),
    tags=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
)

_IM_END = (_special("<|im_end|>"), _text("\n"))
CHATML = Format(
    name="chatml",
    title="ChatML",
    start=(_ADD_BOS,),
    system=(_special("<|im_start|>"), _text("system\n{}"), *_IM_END),
    user=(_special("<|im_start|>"), _text("user\n{}"), *_IM_END),
    answer=(_special("<|im_start|>"), _text("assistant\n{}"), *_IM_END),
    open=(_special("<|im_start|>"), _text("assistant\n")),
    strip=False,
    # A vocabulary without these two tokens gets them as ordinary text, which could be forged.
    tags=("<|im_start|>", "<|im_end|>"),
)

_ZEPHYR_END = (_EOS, _text("\n"))
ZEPHYR = Format(
    name="zephyr",
    title="Zephyr and TinyLlama",
    start=(_ADD_BOS,),
    system=(_text("<|system|>\n{}"), *_ZEPHYR_END),
    user=(_text("<|user|>\n{}"), *_ZEPHYR_END),
    answer=(_text("<|assistant|>\n{}"), *_ZEPHYR_END),
    open=(_text("<|assistant|>\n"),),
    tags=("<|system|>", "<|user|>", "<|assistant|>"),
)

VICUNA = Format(
    name="vicuna",
    title="Vicuna 1.1 and 1.5",
    start=(_ADD_BOS,),
    system=(_text("{} "),),
    user=(_text("USER: {} "),),
    answer=(_text("ASSISTANT: {}"), _EOS),
    open=(_text("ASSISTANT:"),),
    default_system=(
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions."
    ),
    tags=("USER:", "ASSISTANT:"),
    stop=("USER:",),
)

ALPACA = Format(
    name="alpaca",
    title="Alpaca",
    start=(_ADD_BOS,),
    system=(_text("{}\n\n"),),
    user=(_text("### Instruction:\n{}\n\n"),),
    answer=(_text("### Response:\n{}"), _EOS, _text("\n\n")),
    open=(_text("### Response:\n"),),
    default_system=(
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request."
    ),
    tags=("### Instruction:", "### Response:"),
    stop=("### Instruction:",),
)

HUMAN_RESPONSE = Format(
    name="human-response",
    title="Human and Response",
    start=(_ADD_BOS,),
    system=(_text("{}\n\n"),),
    user=(_text("### HUMAN:\n{}\n\n"),),
    answer=(_text("### RESPONSE:\n{}"), _EOS, _text("\n\n")),
    open=(_text("### RESPONSE:\n"),),
    tags=("### HUMAN:", "### RESPONSE:"),
    stop=("### HUMAN:",),
)

COMPLETION = Format(
    name="completion",
    title="Plain completion",
    start=(_BOS,),
    system=(_text("{}\n\n"),),
    strip=False,
)

FORMATS: dict[str, Format] = {
    format.name: format
    for format in (LLAMA_2, CHATML, ZEPHYR, VICUNA, ALPACA, HUMAN_RESPONSE, COMPLETION)
}

TEMPLATE = "template"
"""Name of the one format that is not here: the file's own Jinja template, run in the worker."""


def turns(path: Iterable[Message]) -> list[Turn]:
    """The exchanges a model sees of a path, oldest first.

    Answers without text (failed, or stopped before the first word) are left out; the messages of a
    person that then stand side by side become one, because every format wants the roles to
    alternate.
    """
    result: list[Turn] = []
    for message in path:
        if message.role == "user":
            if result and result[-1].answer is None:
                last = result[-1]
                result[-1] = last._replace(
                    user=f"{last.user}\n\n{message.text}",
                    pinned=last.pinned or message.pinned,
                    summary=last.summary or message.summary,
                )
            else:
                turn = Turn(message.text, None, message.id, message.pinned, message.summary)
                result.append(turn)
        elif message.text.strip() and result:
            pinned = result[-1].pinned or message.pinned
            result[-1] = result[-1]._replace(answer=message.text, pinned=pinned)
    return result


def neutralise(text: str, tags: Sequence[str]) -> tuple[str, list[str]]:
    """``text`` with every tag broken up by spaces, and the tags that were found.

    ``[INST]`` becomes ``[ INST ]``: still readable for the person and the model, but the ids of the
    tag no longer appear. What the spaces leave behind cannot form a tag again.
    """
    found = []
    for tag in tags:
        if tag in text:
            found.append(tag)
            text = text.replace(tag, _broken(tag))
    return text, found


def _broken(tag: str) -> str:
    if tag.startswith("<<"):
        return f"< {tag[1:-1]} >"
    if tag.endswith(":"):
        return f"{tag[:-1]} :"
    return f"{tag[0]} {tag[1:-1]} {tag[-1]}"


def render(format: Format, system: str, dialogue: Sequence[Turn]) -> tuple[list[Piece], list[str]]:
    """The prompt of a dialogue, and the tags that had to be neutralised in it.

    Args:
        system: the system prompt; empty is absent, and then the format's own default counts.
        dialogue: what :func:`turns` gives; the last one is open unless a text is to be continued.
    """
    found: list[str] = []

    def content(text: str) -> str:
        text, tags = neutralise(text, format.tags)
        found.extend(tags)
        return text

    pieces = list(format.start)
    system = content(system or format.default_system)
    if system and not format.fold:
        pieces += _fill(format.system, system.strip() if format.strip else system)
    for number, turn in enumerate(dialogue):
        pieces += format.turn
        user = content(turn.user)
        if number == 0 and system and format.fold:
            before, between, after = format.fold.split("{}")
            user = before + system + between + user + after
        pieces += _fill(format.user, user.strip() if format.strip else user)
        if turn.answer is not None:
            answer = content(turn.answer)
            pieces += _fill(format.answer, answer.strip() if format.strip else answer)
    if dialogue and dialogue[-1].answer is None:
        pieces += format.open
    return _merged(pieces), list(dict.fromkeys(found))


def _fill(pattern: Iterable[Piece], content: str) -> list[Piece]:
    return [
        Piece(piece.kind, piece.value.replace("{}", content)) if piece.kind == "text" else piece
        for piece in pattern
    ]


def _merged(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbouring texts as one: token borders depend on what stands beside a text."""
    merged: list[Piece] = []
    for piece in pieces:
        if piece.kind == "text" and merged and merged[-1].kind == "text":
            merged[-1] = _text(merged[-1].value + piece.value)
        else:
            merged.append(piece)
    return [piece for piece in merged if piece.value]
