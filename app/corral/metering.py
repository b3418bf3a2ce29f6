"""What a message would cost if it were sent now: counted by the engine where the model is loaded,
else estimated. Nothing here ever loads a model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from corral.chat import formats, texts, window
from corral.chat.conversation import Conversation, Message
from corral.chat.presets import Preset
from corral.chat.window import USUAL, Seen
from corral.chatting import Chatting
from corral.engine.protocol import LoadSpec
from corral.errors import CorralError, DoesNotFit
from corral.models.fit import stretching
from corral.models.library.local import LocalModel
from corral.planning import Options, Plan
from corral.prompting import Prompt, build_prompt, seen_from, summary_tokens
from corral.writing import prompt_of

TYPED = -1
"""Stands for the message that is not stored yet."""

CHARACTERS_PER_TOKEN = 3.6
"""Of English, with the vocabulary of Llama 2; for what was never counted."""


@dataclass(frozen=True, slots=True)
class Measure:
    """The context window as it would be if the message were sent."""

    tokens: int
    n_ctx: int
    about: bool = False
    """Nobody counted: the model is not loaded, or something is still to be condensed."""
    full: bool = False
    """It would not be sent: it does not fit, or nothing may be left out."""
    seen: Seen | None = None
    """What the model would see; None where that is not known."""
    left_out: int = 0
    """Exchanges it would not see."""


class Meter:
    """Measures for one screen; the plan is made again only where something changed."""

    def __init__(self, chatting: Chatting) -> None:
        self._chatting = chatting
        self._key: tuple[object, ...] = ()
        self._plan: Plan | None = None
        self._windows: dict[tuple[object, ...], int] = {}

    async def measure(
        self,
        conversation: Conversation,
        path: Sequence[Message],
        typed: str,
        model: LocalModel | None,
    ) -> Measure | None:
        """What sending ``typed`` below ``path`` would cost; "" is what is there already.

        Args:
            path: from the first message to the one that is answered, or goes before it.
            model: the one that would answer.
        """
        path = list(path)
        if typed.strip():
            path.append(Message(TYPED, conversation.id, None, "user", typed, "complete", 0.0))
        dialogue = formats.turns(path)
        if not dialogue or model is None:
            return None
        with contextlib.suppress(CorralError):
            counted = await self._counted(conversation, path, model)
            if counted is not None:
                return counted
        return await asyncio.to_thread(self._estimated, conversation, path, model)

    async def measure_text(
        self, conversation: Conversation, text: str, unseen: int, model: LocalModel | None
    ) -> Measure | None:
        """What going on behind a text would cost.

        Args:
            unseen: so many characters at its beginning were out of sight the last time.
        """
        path = [Message(TYPED, conversation.id, None, "user", text, "complete", 0.0)]
        if unseen:
            seen = {texts.TEXT_FROM: unseen}
            last = Message(TYPED, conversation.id, TYPED, "assistant", "", "complete", 0.0)
            path.append(replace(last, model={"name": ""}, parameters=seen))
        return await self.measure(conversation, path, "", model)

    # --- counted ----------------------------------------------------------------------------------

    async def _counted(
        self, conversation: Conversation, path: Sequence[Message], model: LocalModel
    ) -> Measure | None:
        chatting = self._chatting
        spec = self._ready(model)
        if spec is None or chatting.loaded is None:
            return None
        plan = await self._planned(conversation, model, spec)
        if self._ready(model) != spec:
            return None
        # What is loaded may be less than what was planned, for want of memory; what a person asked
        # for since is loaded by the next turn.
        asked = "n_ctx" in plan.asked or plan.spec.n_ctx < spec.n_ctx
        same = plan.spec.n_ctx == spec.n_ctx
        n_ctx = plan.spec.n_ctx if asked and not same else chatting.loaded.n_ctx
        try:
            prompt = await prompt_of(chatting.engine, plan, n_ctx, path, seen_from=seen_from(path))
        except DoesNotFit:
            return await self._too_much(plan, n_ctx, path)
        if self._ready(model) != spec:
            return None  # Another model counted.
        return _measured(prompt, n_ctx)

    def _ready(self, model: LocalModel) -> LoadSpec | None:
        """How the model is loaded, if it is the current one and nobody uses it."""
        chatting = self._chatting
        spec = chatting.engine.loaded_spec
        busy = chatting.running or chatting.loaded is None or spec is None
        return None if busy or spec is None or spec.path != model.path else spec

    async def _planned(self, conversation: Conversation, model: LocalModel, spec: LoadSpec) -> Plan:
        own = (conversation.system, repr(conversation.parameters))
        memo, preset = await asyncio.to_thread(self._read, conversation, model)
        key = (model, spec, repr(memo), repr(self._chatting.settings), preset, *own)
        if self._plan is None or key != self._key:
            options = Options(model=model.path if model.source == "file" else model.name)
            planner = self._chatting.planner
            self._plan = await asyncio.to_thread(planner.plan, conversation, options)
            self._key = key
        return self._plan

    def _read(
        self, conversation: Conversation, model: LocalModel
    ) -> tuple[dict[str, Any], Preset | None]:
        """What is remembered of the model, and the preset as its file is now; in a thread."""
        presets = self._chatting.planner.presets
        preset = presets.get(conversation.preset) if conversation.preset else None
        return self._chatting.load_memo.parameters(model), preset

    async def _too_much(self, plan: Plan, n_ctx: int, path: Sequence[Message]) -> Measure:
        """What it would take, in a window without an end; nothing of it is sent."""
        size = sum(len(message.text) for message in path)
        about = size > 64 * n_ctx
        tokens = round(size / CHARACTERS_PER_TOKEN)
        if not about:
            dialogue = formats.turns(path)
            start = 0 if plan.window == "stop" else len(dialogue) - 1
            kept = window.always_kept(plan.window, dialogue)
            least = [dialogue[number] for number in window.seen(len(dialogue), start, kept)]
            prompt = await build_prompt(self._chatting.engine, plan, 1 << 30, least)
            tokens = len(prompt.tokens)
        return Measure(tokens, n_ctx, about=about, full=True)

    # --- estimated --------------------------------------------------------------------------------

    def _estimated(
        self, conversation: Conversation, path: Sequence[Message], model: LocalModel
    ) -> Measure | None:
        """By the last answer, which was counted, and by the letters since; runs in a thread."""
        counted, n_ctx, since = 0, 0, 0
        for message in reversed(path):
            usage, made_by = message.usage or {}, message.model or {}
            if message.role == "assistant" and usage.get("prompt_tokens") and made_by.get("n_ctx"):
                counted = usage["prompt_tokens"] + usage.get("completion_tokens", 0)
                n_ctx = made_by["n_ctx"]
                break
            since += len(message.text)
        if not n_ctx or "n_ctx" in conversation.parameters:
            n_ctx = self._window_of(conversation, model) or n_ctx
        if not n_ctx:
            return None
        tokens = counted + round(since / CHARACTERS_PER_TOKEN)
        stored = window.recorded(path)
        # What comes next may be cut; how far, only the engine can say.
        return Measure(
            min(tokens, n_ctx) if counted else tokens,
            n_ctx,
            about=bool(since),
            full=not counted and tokens > n_ctx,
            seen=stored,
        )

    def _window_of(self, conversation: Conversation, model: LocalModel) -> int:
        """The window the model would be loaded with, by its header; 0 where nobody knows."""
        try:
            memo = self._chatting.load_memo.parameters(model)
            own = {
                **self._chatting.settings.engine.model_dump(include={"n_ctx", "rope_scaling"}),
                **memo,
                **conversation.parameters,
            }
            known = {key: own[key] for key in ("n_ctx", "rope_scaling") if key in own}
            key = (model.path, *known.items())
            if key not in self._windows:
                header = self._chatting.library.header(model)
                spec = LoadSpec.model_validate({"path": "/", **known})
                self._windows[key] = stretching.settle(header, spec).n_ctx
            return self._windows[key]
        except (CorralError, ValueError):
            return 0


def policy_of(conversation: Conversation) -> window.Policy:
    """What a conversation does when its window is full."""
    wanted = conversation.parameters.get("window", USUAL)
    return next((policy for policy in window.POLICIES if policy == wanted), USUAL)


def _measured(prompt: Prompt, n_ctx: int) -> Measure:
    condensing = bool(prompt.condense or prompt.earlier)
    return Measure(
        len(prompt.tokens) + (summary_tokens(n_ctx) if condensing else 0),
        n_ctx,
        about=condensing,
        seen=Seen(prompt.gaps, prompt.summary_at),
        left_out=prompt.left_out,
    )
