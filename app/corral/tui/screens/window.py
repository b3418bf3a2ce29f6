"""What happens when the context window is full, and how large it is, with what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from corral.chat.conversation import Conversation
from corral.chat.window import EXPLAINED, POLICIES, TITLES, Policy
from corral.engine.params import LoadSpec
from corral.errors import CorralError
from corral.models.fit import memory, stretching
from corral.text import clean
from corral.tui import wording
from corral.tui.screens.modal import (
    MUTED,
    Bottom,
    CleanTextArea,
    Frame,
    Heading,
    Hints,
    Modal,
    Top,
)
from corral.units import room, thousands

if TYPE_CHECKING:
    from corral.chatting import Chatting
    from corral.metering import Measure
    from corral.models.gguf.header import Header
    from corral.models.library.local import LocalModel

Size = tuple[str, str, str]
"""What ``/window`` takes, the tokens in words, and what it costs."""

LARGEST = 1 << 17
"""Tokens; a person may type more."""

SIZES = (2048, 4096, 8192, 16384)
STRETCHES = (2, 4)
"""How many times the trained window is offered; a person may type others."""


def choices_of(
    chatting: Chatting, conversation: Conversation, model: LocalModel | None
) -> tuple[Policy, list[Size]]:
    """The policy that holds, and the sizes to choose from, that which holds first; in a thread."""
    from corral.metering import policy_of

    sizes: list[Size] = []
    if model is not None:
        try:
            header = chatting.library.header(model)
            now = _now(chatting, conversation, model)
        except (CorralError, ValueError):
            return policy_of(conversation), []
        for spec in (now, *_others(header)):
            types = {"type_k": now.type_k, "type_v": now.type_v}
            settled = stretching.settle(header, spec.model_copy(update=types))
            size = _size(header, settled, is_now=spec is now)
            if size[1] not in {tokens for _, tokens, _ in sizes}:
                sizes.append(size)
    return policy_of(conversation), sizes


def _others(header: Header) -> Iterator[LoadSpec]:
    """Windows that a person may choose in place of the present one."""
    trained = min(header.context_length, LARGEST)
    for n_ctx in (*(size for size in SIZES if size < trained), trained):
        yield LoadSpec(path="/", n_ctx=n_ctx)
    for times in STRETCHES if header.rope_scale == 1.0 else ():
        if times * trained <= LARGEST:
            yield LoadSpec(path="/", n_ctx=times * trained, rope_scaling="yarn")
            yield LoadSpec(path="/", n_ctx=times * trained, rope_scaling="linear")


def _now(chatting: Chatting, conversation: Conversation, model: LocalModel) -> LoadSpec:
    own = {
        **chatting.settings.engine.model_dump(),
        **chatting.load_memo.parameters(model),
        **conversation.parameters,
    }
    known = ("n_ctx", "rope_scaling", "type_k", "type_v")
    return LoadSpec.model_validate({"path": "/", **{key: own[key] for key in known if key in own}})


def _size(header: Header, spec: LoadSpec, *, is_now: bool) -> Size:
    tokens, command = f"{thousands(spec.n_ctx)} tokens", str(spec.n_ctx)
    if spec.rope_scaling != "off":
        tokens += " · YaRN" if spec.rope_scaling == "yarn" else " · linear"
        command += f" {spec.rope_scaling}"
    elif spec.n_ctx == memory.context_for(header, 0):
        command = "auto"
    kv = spec.n_ctx * memory.kv_bytes_per_token(header, spec.type_k, spec.type_v)
    cost = f"KV cache {room(kv)}"
    if spec.rope_scaling != "off":
        cost += ", more than it was trained with"
    return "" if is_now else command, tokens, cost


def change_size(
    chatting: Chatting, conversation: Conversation, model: LocalModel, n_ctx: int, rope: str
) -> str:
    """Remember another window for a model; gives one sentence about what it costs. In a thread.

    Raises:
        UsageError: it cannot be had.
    """
    header = chatting.library.header(model)
    wanted = LoadSpec.model_validate({"path": "/", "n_ctx": n_ctx, "rope_scaling": rope})
    now = _now(chatting, conversation, model)
    wanted = wanted.model_copy(update={"type_k": now.type_k, "type_v": now.type_v})
    spec = stretching.settle(header, wanted)
    load = {"n_ctx": n_ctx or None, "rope_scaling": rope if spec.rope_scaling != "off" else None}
    chatting.load_memo.set_parameters(model, load)
    kv = room(spec.n_ctx * memory.kv_bytes_per_token(header, spec.type_k, spec.type_v))
    said = stretching.cost(header, spec) or f"{thousands(spec.n_ctx)} tokens: the KV cache is {kv}"
    return f"{said}. The next answer loads the model with it"


class WindowScreen(Modal[str | None]):
    """Gives what ``/window`` takes, or None where nothing was chosen.

    Args:
        policy: the one that holds.
        sizes: the windows to choose from; the first one is that which holds.
        measure: what the next message would cost.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "choose", show=False),
    ]

    def __init__(self, policy: Policy, sizes: Sequence[Size], measure: Measure | None) -> None:
        super().__init__()
        self._policy = policy
        self._sizes = sizes
        self._measure = measure
        self._commands: list[str] = []

    def compose(self) -> ComposeResult:
        with Frame(classes="-wide"):
            with Top():
                yield Heading("Context window", _used(self._measure))
                yield Static(clean(_said(self._measure)), markup=False, classes="hint")
            yield OptionList(*self._options(), markup=False, compact=True)
            with Bottom():
                yield Hints(
                    [("↑↓", "move", ""), ("Enter", "choose", "choose"), ("Esc", "close", "close")]
                )

    def _options(self) -> list[Option]:
        width = max(map(len, TITLES.values())) + 2
        options = [self._heading("When it is full")]
        for policy in POLICIES:
            name = f"{'●' if policy == self._policy else '○'} {TITLES[policy].ljust(width)}"
            options.append(self._option(policy, name, EXPLAINED[policy]))
        if self._sizes:
            options.append(self._heading("How large it is"))
            width = max(len(tokens) for _, tokens, _ in self._sizes) + 2
        for command, tokens, cost in self._sizes:
            name = f"{'○' if command else '●'} {tokens.ljust(width)}"
            options.append(self._option(command, name, cost))
        return options

    def _heading(self, text: str) -> Option:
        self._commands.append("")
        return Option(Content.styled(text, MUTED), disabled=True)

    def _option(self, command: str, name: str, remark: str) -> Option:
        self._commands.append(command)
        return Option(Content.assemble(name, (remark, MUTED)))

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = 1 + POLICIES.index(self._policy)
        options.focus()

    @on(OptionList.OptionSelected)
    def action_choose(self) -> None:
        at = self.query_one(OptionList).highlighted
        self.dismiss(self._commands[at] or None if at is not None else None)


def _used(measure: Measure | None) -> str:
    if measure is None:
        return ""
    about = "about " if measure.about else ""
    return f"{about}{wording.number(measure.tokens)} of {wording.tokens(measure.n_ctx)}"


def _said(measure: Measure | None) -> str:
    if measure is not None and measure.full:
        return "What stands in the box does not fit."
    if measure is not None and measure.left_out:
        turns = "turn" if measure.left_out == 1 else "turns"
        return f"The model does not see {wording.number(measure.left_out)} {turns} of this path."
    return "p on a message pins it: the model goes on seeing it."


class SummaryDialog(Modal[str | None]):
    """Edits a summary; gives the text, "" to take it away, or None where it was cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", show=False, priority=True),
    ]

    def __init__(self, summary: str) -> None:
        super().__init__()
        self._summary = summary

    def compose(self) -> ComposeResult:
        with Frame(classes="-wide"):
            with Top():
                yield Heading("Summary of what is above")
                text = "The model reads this in place of what it no longer sees. Empty, it is gone."
                yield Static(text, markup=False, classes="hint")
            yield CleanTextArea(clean(self._summary), compact=True, id="summary")
            with Bottom():
                yield Hints([("^S", "save", "save"), ("Esc", "leave it as it was", "close")])

    def on_mount(self) -> None:
        self.query_one(CleanTextArea).focus()

    def action_save(self) -> None:
        self.dismiss(self.query_one(CleanTextArea).text.strip())
