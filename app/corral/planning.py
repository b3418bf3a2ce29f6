"""What one answer is made with: model, load parameters, sampling, format, and the prompt itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, Field, ValidationError

from corral.chat import formats
from corral.chat.conversation import Conversation, Message
from corral.chat.formats import Piece
from corral.chat.window import answer_reserve, first_that_fits
from corral.engine import protocol
from corral.engine.protocol import LoadSpec, Sampling, Segment
from corral.engine.threads import pace_for
from corral.errors import CorralError, DoesNotFit, UsageError
from corral.loading import drafts
from corral.loading.memo import LoadMemo
from corral.models.fit import memory
from corral.models.fit.machine import on_battery
from corral.models.gguf.header import Header
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.settings import Settings

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Options:
    """What one turn changes over its conversation, the settings and the model's own values."""

    model: str | None = None
    system: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Fields of :class:`Sampling` and :class:`LoadSpec`, and ``max_tokens``."""
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one answer is made with."""

    model: LocalModel
    header: Header
    spec: LoadSpec
    sampling: Sampling
    max_tokens: int
    format: str
    system: str
    template_tags: tuple[str, ...] = ()
    """Ordinary text that structures the file's own template: neutralised in every message."""
    asked: frozenset[str] = frozenset()
    """Fields of the load parameters that the person set: changed only where loading failed."""
    draft: Header | None = None
    """Of the draft model that ``spec`` names."""
    draft_wanted: bool = False
    """Nobody named a draft model or turned it off: one that pays is taken when this is loaded."""
    draft_refused: str = ""
    """Why the draft model of the settings does not guess for this model; one sentence."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered and tokenized prompt."""

    format: str
    text: str
    tokens: tuple[int, ...]
    left_out: int = 0
    first_message: int | None = None
    tags: tuple[str, ...] = ()


class Planner:
    """Settles everything an answer is made with.

    Args:
        memo: load parameters that are remembered for each model.
        on_battery: whether the machine runs from its battery now.
        compatible: why the second model cannot guess ahead for the first; empty where it can.
    """

    def __init__(
        self,
        library: Library,
        settings: Settings,
        memo: LoadMemo | None = None,
        *,
        on_battery: Callable[[], bool] = on_battery,
        compatible: drafts.Compatible = drafts.compatible,
    ) -> None:
        self._library = library
        self._settings = settings
        self._memo = memo
        self._on_battery = on_battery
        self._compatible = drafts.once(compatible)

    def model_for(self, conversation: Conversation | None, wanted: str | None = None) -> LocalModel:
        """The model that answers: the wanted one, the conversation's, else what answered last.

        A model that came later changes no conversation by itself. Where nobody chose one, and the
        one that answered last is gone, the default answers.

        Raises:
            NotFound, Refused, UsageError: as :meth:`corral.models.library.library.Library.resolve`.
        """
        wanted = wanted or (conversation.model if conversation else None)
        if not wanted and conversation and conversation.answered_by:
            with contextlib.suppress(CorralError):
                return self._library.resolve(conversation.answered_by)
        return self._library.resolve(wanted or self._settings.model)

    def plan(
        self,
        conversation: Conversation | None,
        options: Options,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Plan:
        """The plan for one answer, without regard to memory.

        Reads the file's header; where the file was touched since its hash was taken, all of it.

        Args:
            cancelled: asked while a file is read.

        Raises:
            NotFound, Refused: no such model, or not a usable file, or no longer the same.
            UsageError: a parameter is out of range, or no prompt format is known.
            Cancellation: ``cancelled`` said so.
        """
        model = self.model_for(conversation, options.model)
        assert model.path is not None  # resolve gives only what is on this machine
        if model.sha256 is None and model.source != "file":
            model = self._library.ensure_sha256(model, cancelled=cancelled)
        parameters = {
            **model.sampling,
            **self._settings.sampling,
            **(conversation.parameters if conversation else {}),
            **options.parameters,
        }
        header = self._library.header(model)
        spec, asked, draft = self._load(model, header, parameters)
        conversation_system = conversation.system if conversation else ""
        system = conversation_system if options.system is None else options.system
        return Plan(
            model=model,
            header=header,
            spec=spec,
            sampling=_checked(Sampling, _known(Sampling, parameters)),
            max_tokens=_checked(_Limits, _known(_Limits, parameters)).max_tokens,
            format=_format(options.format, model),
            system=system or model.default_system,
            template_tags=_template_tags(header.chat_template or ""),
            asked=asked,
            draft=draft.header,
            draft_wanted=draft.wanted,
            draft_refused=draft.refused,
        )

    def _load(
        self, model: LocalModel, header: Header, parameters: Mapping[str, Any]
    ) -> tuple[LoadSpec, frozenset[str], _Draft]:
        """The load parameters, which of them a person set, and what became of the draft model.

        The settings count least, then what is remembered for the model, then ``parameters``.
        """
        own = {
            **(_known(LoadSpec, self._memo.parameters(model)) if self._memo else {}),
            **_known(LoadSpec, parameters),
        }
        load = {
            **_known(LoadSpec, self._settings.engine.model_dump(exclude_defaults=True)),
            **own,
            "path": model.path,
        }
        # A person sets a draft model's name, or auto or off; the load parameters have its path.
        draft = self._draft(load.pop("draft", drafts.AUTO), model, header, own="draft" in own)
        asked = frozenset({"pace"} if "pace" in load else ())
        load.setdefault("pace", pace_for("auto", self._on_battery()))
        spec = _checked(LoadSpec, load | {"draft": draft.path})
        unasked = {"path", "pace", "draft"}
        asked |= frozenset(spec.model_dump(exclude_defaults=True)) - unasked
        spec = spec.model_copy(update={"n_ctx": memory.context_for(header, spec.n_ctx)})
        return spec, asked, draft

    def _draft(self, name: str, model: LocalModel, header: Header, *, own: bool) -> _Draft:
        """The draft model by the name a person gave.

        Args:
            own: given for this model or this conversation: what cannot be used is an error then.
                In the settings it is meant for those models that it suits.
        """
        if name in ("", drafts.OFF, drafts.AUTO):
            return _Draft(wanted=name == drafts.AUTO)
        try:
            found, its = drafts.by_name(self._library, name, model, header, self._compatible)
        except CorralError as error:
            if own:
                raise
            return _Draft(refused=error.message)
        if found.path == model.path:
            return _Draft()
        return _Draft(path=str(found.path), header=its)


@dataclass(frozen=True, slots=True)
class _Draft:
    """What became of the wish for a draft model; the fields are those of :class:`Plan`."""

    path: str = ""
    header: Header | None = None
    wanted: bool = False
    refused: str = ""


class _Limits(BaseModel):
    max_tokens: int = Field(0, ge=0, le=1 << 20)


def _known(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that belong to ``model``. What an older version stored and nobody knows is left
    out: it must not make a conversation unusable."""
    return {key: value for key, value in values.items() if key in model.model_fields}


def _checked(model: type[T], values: Mapping[str, Any]) -> T:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        detail = error.errors()[0]
        name = ".".join(str(part) for part in detail["loc"])
        raise UsageError(f"{name}: {detail['msg']}", title="Parameter out of range") from None


def _format(wanted: str | None, model: LocalModel) -> str:
    format = wanted or model.format
    choices = ", ".join((*formats.FORMATS, formats.TEMPLATE))
    if format is None:
        raise UsageError(
            f"No prompt format is known for {model.name}",
            title="Which prompt format?",
            hint=f"Choose one for it: {choices}.",
        )
    if format not in formats.FORMATS and format != formats.TEMPLATE:
        raise UsageError(f"There is no prompt format {format}", hint=f"Choose one: {choices}.")
    return format


def _template_tags(template: str) -> tuple[str, ...]:
    tags = [tag for format in formats.FORMATS.values() for tag in format.tags]
    return tuple(tag for tag in dict.fromkeys(tags) if tag in template)


class Tokenizer(Protocol):
    """What building a prompt needs of the engine."""

    async def tokenize(self, segments: Sequence[Segment]) -> Sequence[int]: ...
    async def render(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True
    ) -> Sequence[Segment]: ...


LONGEST_TOKEN = 64
"""Characters that no token exceeds on average: runs of spaces come nearest."""

ROOM = 0.6
"""Share of the window a prompt takes after it had to be cut."""


async def build_prompt(
    engine: Tokenizer,
    plan: Plan,
    n_ctx: int,
    dialogue: Sequence[formats.Turn],
    *,
    seen_from: int | None = None,
) -> Prompt:
    """Render and tokenize what fits the window, leaving out the oldest exchanges where it must.

    What is left out stays out, and when more has to go, room is made for several turns: as long as
    a prompt begins as the last one did, only what is new is evaluated.

    Args:
        seen_from: id of the message the last prompt began with, where that was not the first one.

    Raises:
        DoesNotFit: not even the last message fits alone.
    """
    budget = n_ctx - answer_reserve(n_ctx, plan.max_tokens)
    rendered: dict[int, Prompt] = {}
    sizes = [len(turn.user) + len(turn.answer or "") for turn in reversed(dialogue)]
    sizes = [*accumulate(sizes)][::-1]

    async def cost(start: int) -> int:
        if sizes[start] > LONGEST_TOKEN * n_ctx:
            return sizes[start] // LONGEST_TOKEN  # At least so many: not worth rendering.
        segments, tags = await _segments(engine, plan, dialogue[start:])
        rendered[start] = Prompt(
            format=plan.format,
            text="".join(_shown(segment) for segment in segments),
            tokens=tuple(await engine.tokenize(segments)),
            left_out=start,
            first_message=dialogue[start].first_message,
            tags=tuple(tags),
        )
        return len(rendered[start].tokens)

    start, tokens = 0, await cost(0)
    before = next((i for i, turn in enumerate(dialogue) if turn.first_message == seen_from), 0)
    if tokens > budget and before:
        start, tokens = before, await cost(before)
    if tokens > budget and len(dialogue) > 1:
        start, tokens = await first_that_fits(len(dialogue), int(ROOM * budget), cost)
    if tokens > budget:
        raise DoesNotFit(
            f"The message makes a prompt of {'' if start in rendered else 'at least '}{tokens} "
            f"tokens, but only {budget} of the "
            f"{n_ctx} tokens of this window are free for it",
            title="Message too long",
            hint="Shorten it, or choose a larger context window.",
        )
    return rendered[start]


async def _segments(
    engine: Tokenizer, plan: Plan, dialogue: Sequence[formats.Turn]
) -> tuple[Sequence[Segment], list[str]]:
    if plan.format != formats.TEMPLATE:
        return formats.render(formats.FORMATS[plan.format], plan.system, dialogue)
    found: list[str] = []

    def message(role: str, content: str) -> dict[str, str]:
        content, tags = formats.neutralise(content, plan.template_tags)
        found.extend(tags)
        return {"role": role, "content": content}

    messages = [message("system", plan.system)] if plan.system else []
    for turn in dialogue:
        messages.append(message("user", turn.user))
        if turn.answer is not None:
            messages.append(message("assistant", turn.answer))
    return await engine.render(messages), list(dict.fromkeys(found))


def seen_from(path: Sequence[Message]) -> int | None:
    """The first message the model saw for the latest answer of the path, where it was cut."""
    for message in reversed(path):
        if message.role == "assistant" and message.parameters:
            first = message.parameters.get("window_from")
            return first if isinstance(first, int) else None
    return None


def provenance(plan: Plan, loaded: protocol.Loaded) -> dict[str, Any]:
    """The ``model`` object of an answer: which file made it, and how it was loaded."""
    return {
        "name": plan.model.name,
        "title": plan.model.title,
        "file": plan.model.path,
        "sha256": plan.model.sha256,
        "quant": plan.model.quant,
        "format": plan.format,
        "n_ctx": loaded.n_ctx,
        "gpu_layers": loaded.gpu_layers,
        "threads": loaded.threads,
    }


def _shown(segment: Segment | Piece) -> str:
    """A segment as a person reads it; BOS and EOS by SentencePiece's names."""
    kind, value = segment
    return {"bos": "<s>", "eos": "</s>", "add_bos": ""}[value] if kind == "control" else value
