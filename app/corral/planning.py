"""What one answer is made with: model, load parameters, sampling, format, and the prompt itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from corral import adapting, forming
from corral.chat import formats, texts
from corral.chat.conversation import Conversation
from corral.chat.presets import Preset
from corral.chat.window import USUAL, Policy
from corral.engine import protocol
from corral.engine.protocol import Adapter, LoadSpec, Sampling
from corral.engine.threads import pace_for
from corral.errors import CorralError, UsageError
from corral.loading import drafts
from corral.loading.memo import LoadMemo
from corral.models.fit import stretching
from corral.models.fit.machine import on_battery
from corral.models.gguf.header import Header
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.presets import Presets
from corral.prompting import Prompt as Prompt
from corral.prompting import Tokenizer as Tokenizer
from corral.prompting import build_prompt as build_prompt
from corral.prompting import seen_from as seen_from
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
    adapters: tuple[adapting.Choice, ...] | None = None
    """LoRA adapters by name or path, and their scales; None takes those of the conversation."""
    preset: str | None = None
    """Name of a persona or task; None takes the conversation's, "" none."""
    labels: tuple[str, ...] | None = None
    """What that preset tells apart; None takes the conversation's."""
    schema: str | None = None
    """Text of a JSON schema that the answer satisfies, whatever form the conversation has."""
    grammar: str | None = None
    """Or of a GBNF grammar that it follows."""


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
    adapters: tuple[Adapter, ...] = ()
    adapters_left_out: str = ""
    """Which of the conversation's do not belong to this model, and why."""
    window: Policy = USUAL
    """What happens where the conversation outgrows the window."""
    preset: Preset | None = None
    form_notes: tuple[str, ...] = ()
    """What of the answer's form is not as it was asked for."""
    text: bool = False
    """It is a text that the model writes on in, and no dialogue."""


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
        self.presets = Presets()
        """Personas and tasks; those that come with corral, as long as nobody says otherwise."""

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
            NotFound, Refused: no such model or adapter, or not a usable file, or no longer the
                same; or an adapter that was named for this answer belongs to another model.
            UsageError: a parameter is out of range, no prompt format is known, or the answer's form
                cannot be used.
            Cancellation: ``cancelled`` said so.
        """
        model = self.model_for(conversation, options.model)
        assert model.path is not None  # resolve gives only what is on this machine
        if model.sha256 is None and model.source != "file":
            model = self._library.ensure_sha256(model, cancelled=cancelled)
        text, preset = self._framing(conversation, options)
        parameters = self._parameters(model, preset, conversation, options)
        header = self._library.header(model)
        spec, asked, draft = self._load(model, header, parameters)
        limits = _checked(_Limits, _known(_Limits, parameters))
        form = forming.form_of(
            preset,
            parameters,
            schema=options.schema,
            grammar=options.grammar,
            max_tokens=limits.max_tokens or spec.n_ctx // 2,
        )
        adapters = adapting.settle(
            self._library, conversation, options.adapters, model, cancelled=cancelled
        )
        return Plan(
            model=model,
            header=header,
            spec=spec,
            sampling=_checked(Sampling, _known(Sampling, parameters) | {"grammar": form.grammar}),
            max_tokens=limits.max_tokens,
            window=limits.window,
            format=formats.COMPLETION.name if text else _format(options.format, model),
            system=_system(conversation, options, "" if text else _usual(preset, model)),
            text=text,
            template_tags=_template_tags(header.chat_template or ""),
            asked=asked,
            draft=draft.header,
            draft_wanted=draft.wanted,
            draft_refused=draft.refused,
            adapters=adapters.active,
            adapters_left_out=adapters.left_out,
            preset=preset,
            form_notes=form.notes,
        )

    def _framing(
        self, conversation: Conversation | None, options: Options
    ) -> tuple[bool, Preset | None]:
        """Whether it is a text, and the preset of a dialogue: nothing frames a text."""
        if options.format == formats.COMPLETION.name or (
            options.format is None and texts.is_text(conversation)
        ):
            return True, None
        return False, forming.preset_of(self.presets, conversation, options.preset, options.labels)

    def _parameters(
        self,
        model: LocalModel,
        preset: Preset | None,
        conversation: Conversation | None,
        options: Options,
    ) -> dict[str, Any]:
        """What everybody says about the answer; those who come later count more."""
        return {
            **model.sampling,
            **self._settings.sampling,
            **(preset.parameters if preset else {}),
            **(conversation.parameters if conversation else {}),
            **options.parameters,
        }

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
        return stretching.settle(header, spec), asked, draft

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
    window: Policy = USUAL


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


def _system(conversation: Conversation | None, options: Options, usual: str) -> str:
    """What the person wrote, for this answer or for the conversation; else the usual one."""
    if options.system is not None:
        return options.system or usual
    return (conversation.system if conversation else "") or usual


def _usual(preset: Preset | None, model: LocalModel) -> str:
    return (preset.system if preset else "") or model.default_system


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


def provenance(plan: Plan, loaded: protocol.Loaded) -> dict[str, Any]:
    """The ``model`` object of an answer: which file made it, and how it was loaded."""
    adapted: dict[str, Any] = {}
    if plan.adapters:
        adapted["adapters"] = adapting.provenance(plan.adapters)
    if plan.preset:
        adapted["preset"] = plan.preset.name
    if plan.sampling.grammar:
        adapted["grammar_sha256"] = sha256(plan.sampling.grammar.encode()).hexdigest()
    return adapted | {
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
