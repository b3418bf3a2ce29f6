"""Every message between the two processes: one JSON object a line, checked by pydantic both ways.

Commands go to the worker's stdin, events come back on a private copy of its stdout. A command that
starts work carries an ``id``; every event about it carries the same one, and exactly one of them
ends it: ``loaded``, ``tokens``, ``segments``, ``finished``, ``likely``, ``devices``, ``probed`` or
``error``.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic_core import PydanticSerializationError

from corral.engine.figures import Device as Device
from corral.engine.figures import MemoryUse as MemoryUse
from corral.engine.figures import Model as Model
from corral.engine.figures import Rates as Rates
from corral.engine.params import Adapter as Adapter
from corral.engine.params import KvType as KvType
from corral.engine.params import LoadSpec as LoadSpec
from corral.engine.params import SamplerName as SamplerName
from corral.engine.params import Sampling as Sampling
from corral.engine.params import Segment as Segment
from corral.engine.params import SegmentKind as SegmentKind
from corral.engine.params import States as States
from corral.engine.params import StopReason as StopReason

FRAME_LIMIT = 8 * 1024 * 1024
"""Longest line, in bytes, that is read from the other side."""
MOST_ADAPTERS = 32
"""At once; each makes every step longer."""


class Usage(Model):
    """Tokens of one answer; ``prompt_tokens = reused_tokens + evaluated_tokens``."""

    prompt_tokens: int = 0
    reused_tokens: int = 0
    evaluated_tokens: int = 0
    completion_tokens: int = 0


class Timings(Model):
    """Milliseconds, measured in the worker around the calls."""

    load_ms: float = 0.0
    restore_ms: float = 0.0
    """Reading what was kept on disk; part of ``first_token_ms``, not of ``prompt_ms``."""
    prompt_ms: float = 0.0
    first_token_ms: float = 0.0
    generation_ms: float = 0.0
    tokens_per_second: float = 0.0


# --- commands -----------------------------------------------------------------------------------


class Load(Model):
    type: Literal["load"] = "load"
    id: int
    spec: LoadSpec
    states: States | None = None


class Tokenize(Model):
    """Segments to ids; answered by ``tokens``."""

    type: Literal["tokenize"] = "tokenize"
    id: int
    segments: tuple[Segment, ...]
    sizes: bool = False
    """Say also how many bytes of text each token stands for."""


class Render(Model):
    """The file's own chat template over the messages; answered by ``segments``."""

    type: Literal["render"] = "render"
    id: int
    messages: tuple[dict[str, str], ...]
    add_generation_prompt: bool = True


class Generate(Model):
    """Evaluate a prompt and stream an answer; ``delta`` events, then ``finished``."""

    type: Literal["generate"] = "generate"
    id: int
    tokens: tuple[int, ...]
    sampling: Sampling = Sampling()
    max_tokens: int = Field(0, ge=0, description="0 goes on to the end of the window")
    stop: tuple[str, ...] = ()
    """Texts that end the answer and are not part of it."""
    strip_leading_space: bool = True
    """SentencePiece vocabularies put a space before the first word of an answer."""
    conversation: str = Field("", pattern=r"^[A-Za-z0-9_-]{0,64}$")
    """Names what was evaluated where it is kept on disk; "" keeps nothing there."""
    lookup: bool = True
    """Guess ahead from what was said before; the text stays the same."""
    adapters: tuple[Adapter, ...] = Field((), max_length=MOST_ADAPTERS)
    """All that are active; loaded where they are not, and those not named are switched off."""


class Likeliest(Model):
    """The likeliest next tokens behind a prompt; ``progress`` events, then ``likely``."""

    type: Literal["likeliest"] = "likeliest"
    id: int
    tokens: tuple[int, ...]
    count: int = Field(10, ge=1, le=1000)
    also: tuple[int, ...] = Field((), max_length=1000)
    """Tokens to tell of, however unlikely they are."""
    conversation: str = Field("", pattern=r"^[A-Za-z0-9_-]{0,64}$")
    adapters: tuple[Adapter, ...] = Field((), max_length=MOST_ADAPTERS)


class Describe(Model):
    """Devices and build of the engine; answered by ``devices``."""

    type: Literal["describe"] = "describe"
    id: int
    attempt: bool = False
    """Have each of them compute something first; fails where one cannot."""


class Probe(Model):
    """Measure how fast each device computes, in one to three seconds; answered by ``probed``."""

    type: Literal["probe"] = "probe"
    id: int


class Cancel(Model):
    """Stop request ``id`` at once; it still ends with its own last event."""

    type: Literal["cancel"] = "cancel"
    id: int


class Shutdown(Model):
    type: Literal["shutdown"] = "shutdown"


Command = Annotated[
    Load | Tokenize | Render | Generate | Likeliest | Describe | Probe | Cancel | Shutdown,
    Field(discriminator="type"),
]


# --- events -------------------------------------------------------------------------------------


class Ready(Model):
    """First event of a worker: the native library is loaded."""

    type: Literal["ready"] = "ready"
    pid: int
    binding: str
    """Version of llama-cpp-python."""
    system_info: str
    """``llama_print_system_info()``: the instruction sets the library was built for."""
    gpu_offload: bool
    commit: str = ""
    """Of llama.cpp, as the library says."""
    ggml: str = ""
    """Its version."""


class Heartbeat(Model):
    """Sent every second by the control thread, also in the middle of a long native call."""

    type: Literal["heartbeat"] = "heartbeat"
    busy: int | None = None
    """The request in work, if any."""
    idle_ms: float = 0.0
    """Since the inference thread last came back from native code."""


class Progress(Model):
    """``loading``: 0.0 to 1.0 of 1; ``prompt``: tokens evaluated of tokens to evaluate."""

    type: Literal["progress"] = "progress"
    id: int
    stage: Literal["loading", "prompt"]
    done: float
    total: float


class Loaded(Model):
    type: Literal["loaded"] = "loaded"
    id: int
    description: str
    """llama.cpp's own, as in ``llama 7B Q4_K - Medium``."""
    n_ctx: int
    n_ctx_train: int
    n_vocab: int
    n_layer: int
    gpu_layers: int
    """Layers on a GPU as llama.cpp reports them; the output layer counts."""
    layers: int
    """Layers that could be: ``n_layer + 1``."""
    threads: int
    size: int
    """Bytes of all tensors."""
    parameters: int
    add_bos: bool
    chat_template: str | None = None
    load_ms: float = 0.0
    memory: MemoryUse | None = None
    draft: str = ""
    """llama.cpp's description of the draft model; "" is none."""
    draft_refused: str = ""
    """Why the draft model that was asked for is not used, in plain words."""


class Tokens(Model):
    type: Literal["tokens"] = "tokens"
    id: int
    tokens: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    """Bytes of each, where that was asked for; a control token has none."""


class Segments(Model):
    type: Literal["segments"] = "segments"
    id: int
    segments: tuple[Segment, ...]


class Devices(Model):
    type: Literal["devices"] = "devices"
    id: int
    devices: tuple[Device, ...]


class Probed(Model):
    type: Literal["probed"] = "probed"
    id: int
    rates: tuple[Rates, ...]


class Delta(Model):
    """The next piece of the answer: whole characters only."""

    type: Literal["delta"] = "delta"
    id: int
    text: str
    tokens: int = 1
    """Answer tokens so far."""


class Finished(Model):
    type: Literal["finished"] = "finished"
    id: int
    stop_reason: StopReason
    usage: Usage
    timings: Timings
    threads: int
    drafted: int = 0
    """Tokens that were guessed ahead, and how many of them were right."""
    accepted: int = 0
    seed: int
    """The seed that was used, also where none was asked for."""
    answer: tuple[int, ...] = ()
    """The tokens of an answer that did not come to its own end, to go on with; whole characters."""


TokenKind = Literal["text", "part", "control"]
"""Text that can stand alone, bytes of a longer character, or a token with a meaning of its own."""


class LikelyToken(Model):
    token: int
    text: str
    """What it says; bytes as ``<0xE2>``, a control token by its name."""
    kind: TokenKind = "text"
    probability: float
    """Of the plain softmax: at temperature 1, before any sampler."""


class Likely(Model):
    """The likeliest tokens, the likeliest first; then those of ``also`` that are not among them."""

    type: Literal["likely"] = "likely"
    id: int
    tokens: tuple[LikelyToken, ...]
    reused_tokens: int = 0
    evaluated_tokens: int = 0


class Failed(Model):
    """A request that could not be carried out; the worker goes on."""

    type: Literal["error"] = "error"
    id: int | None
    code: Literal[
        "load",
        "context",
        "prompt_too_long",
        "template",
        "sampling",
        "adapter",
        "device",
        "decode",
        "stopped",
        "internal",
    ]
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


Event = Annotated[
    Ready
    | Heartbeat
    | Progress
    | Loaded
    | Tokens
    | Segments
    | Devices
    | Probed
    | Delta
    | Finished
    | Likely
    | Failed,
    Field(discriminator="type"),
]


@cache
def _commands() -> TypeAdapter[Command]:
    return TypeAdapter(Command)


@cache
def _events() -> TypeAdapter[Event]:
    return TypeAdapter(Event)


def parse_command(line: bytes) -> Command:
    """Raises ``pydantic.ValidationError`` for anything that is not exactly one command."""
    return _commands().validate_json(line)


def parse_event(line: bytes) -> Event:
    """Raises ``pydantic.ValidationError`` for anything that is not exactly one event."""
    return _events().validate_json(line)


def encode(message: Model) -> bytes:
    """One line, ready to be written. Lone surrogates cannot be sent and become “?”."""
    try:
        return message.model_dump_json().encode() + b"\n"
    except PydanticSerializationError:
        values = _without_surrogates(message.model_dump())
        return type(message).model_validate(values).model_dump_json().encode() + b"\n"


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_without_surrogates(item) for item in value)
    return value
