"""What a request is made with: a prompt's pieces, the samplers, and how a model is loaded."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, FiniteFloat

from corral.engine.figures import Model

KvType = Literal["f16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "bf16", "f32"]
StopReason = Literal["end", "length", "stopped", "error"]
SegmentKind = Literal["text", "special", "control"]
Segment = tuple[SegmentKind, str]
"""A piece of a prompt, the same shape as :class:`corral.chat.formats.Piece`.

``text`` is tokenized without parsing special tokens. ``special`` is the text of one control token
(``<|im_start|>``); a vocabulary that lacks it gets ordinary text. ``control`` names a token by its
role: ``bos``, ``eos``, or ``add_bos`` for a BOS only where the vocabulary asks for one.
"""

SamplerName = Literal[
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typical_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
]


class Sampling(Model):
    """llama.cpp's samplers. Every default means "off", but for Meta's temperature and top-p.

    ``samplers`` is the order they are applied in. Meta's reference divides by the temperature
    before it cuts with top-p (generation.py), llama.cpp cuts first; Meta's order is the default.
    """

    samplers: tuple[SamplerName, ...] = (
        "penalties",
        "dry",
        "top_n_sigma",
        "top_k",
        "typical_p",
        "temperature",
        "top_p",
        "min_p",
        "xtc",
    )
    temperature: float = Field(0.6, ge=0, le=10, description="0 always takes the likeliest token")
    dynatemp_range: float = Field(0.0, ge=0, le=10)
    dynatemp_exponent: float = Field(1.0, gt=0, le=10)
    top_k: int = Field(0, ge=0, description="0 is off")
    top_p: float = Field(0.9, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    typical_p: float = Field(1.0, gt=0, le=1)
    top_n_sigma: float = Field(-1.0, ge=-1, le=100, description="below 0 is off")
    xtc_probability: float = Field(0.0, ge=0, le=1)
    xtc_threshold: float = Field(0.1, ge=0, le=1)
    dry_multiplier: float = Field(0.0, ge=0, le=100)
    dry_base: float = Field(1.75, ge=1, le=100)
    dry_allowed_length: int = Field(2, ge=0, le=1000)
    dry_penalty_last_n: int = Field(-1, ge=-1, description="tokens looked back, -1 is all")
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: Literal[0, 1, 2] = 0
    mirostat_tau: float = Field(5.0, gt=0, le=100)
    mirostat_eta: float = Field(0.1, gt=0, le=1)
    repeat_penalty: float = Field(1.0, gt=0, le=10)
    frequency_penalty: float = Field(0.0, ge=-10, le=10)
    presence_penalty: float = Field(0.0, ge=-10, le=10)
    penalty_last_n: int = Field(64, ge=-1, description="tokens looked back, -1 is all")
    logit_bias: dict[int, FiniteFloat] = Field(default_factory=dict, description="token id to bias")
    seed: int | None = Field(None, ge=0, le=0xFFFF_FFFE, description="none draws a new one")
    grammar: str = Field("", max_length=256 * 1024, description="GBNF that the answer follows")

    def chosen(self) -> dict[str, Any]:
        """What is kept with an answer: all that is not the default, but the long grammar."""
        return self.model_dump(exclude_defaults=True, exclude={"grammar"})


class Adapter(Model):
    """A LoRA adapter that an answer is given with."""

    path: str
    """Absolute path of its GGUF file, which was read and found sound."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    mtime_ns: int
    """With ``size``: it is loaded only if it is still the file whose hash that is."""
    scale: float = Field(1.0, ge=-100, le=100, description="0 is as if it were not there")
    name: str = ""
    """What a person calls it."""


class LoadSpec(Model):
    """How to load a model; the defaults let the worker and llama.cpp choose."""

    path: str
    """Absolute path of the GGUF file."""
    n_ctx: int = Field(0, ge=0, description="context window in tokens; 0 is the model's own")
    n_batch: int = Field(512, ge=32)
    n_ubatch: int = Field(512, ge=32)
    n_gpu_layers: int = Field(-1, ge=-1, description="-1 is all of them")
    main_gpu: int = Field(0, ge=0)
    split_mode: Literal["none", "layer", "row"] = "layer"
    tensor_split: tuple[float, ...] = ()
    load_mode: Literal["auto", "read", "mmap", "mlock", "mmap+mlock", "direct_io"] = "auto"
    repack: bool = True
    """Copy weights into the order that the processor multiplies them in."""
    flash_attn: Literal["auto", "on", "off"] = "auto"
    type_k: KvType = "f16"
    type_v: KvType = "f16"
    offload_kqv: bool = True
    threads: int = Field(0, ge=0, le=512, description="0 follows the machine's load")
    threads_batch: int = Field(0, ge=0, le=512)
    rope_freq_base: float = Field(0.0, ge=0, description="0 is the model's own")
    rope_freq_scale: float = Field(0.0, ge=0)
    rope_scaling: Literal["off", "linear", "yarn"] = "off"
    """How positions beyond the trained window are squeezed into it, by ``rope_freq_scale``."""
    check_tensors: bool = False
    n_seq_max: int = Field(8, ge=1, le=64, description="conversations and branches kept warm")
    pace: Literal["full", "quiet"] = "full"
    """``quiet`` leaves the machine to others: fewer threads, a lower priority."""
    draft: str = ""
    """Absolute path of a small model with the same vocabulary, that guesses ahead; "" is none."""
    exact: bool = True
    """Guess only as many tokens at once as leave the text what plain decoding gives, to the letter;
    see :mod:`corral.engine.llama.alike`."""
    vocab_only: bool = False
    """Only the tokenizer: enough to count and show a prompt, and instant."""


class States(Model):
    """Where evaluated prompts are kept on disk; see :mod:`corral.engine.states`."""

    folder: str
    limit: int = Field(ge=0, description="bytes all of them may take")
    idle_seconds: float = Field(4.0, gt=0, description="after an answer, before it is written")
