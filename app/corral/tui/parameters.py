"""The table of all parameters a conversation can set, and what counts where it sets none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from corral.settings import EngineSettings, Settings
from corral.tui.parameter import Parameter

if TYPE_CHECKING:
    from corral.models.library.local import LocalModel

_OFF_AT_0 = {"off": 0}
_OFF_AT_1 = {"off": 1}
_ALL = {"all": -1}
_AUTO = {"auto": 0}

GROUPS: dict[str, tuple[Parameter, ...]] = {
    "Answers": (
        Parameter(
            "temperature",
            "Temperature",
            "Low is predictable, high is inventive. At 0 the likeliest token is always taken.",
        ),
        Parameter(
            "top_p",
            "Top-p",
            "Keeps the likeliest tokens that reach this probability together. 1 is off.",
            _OFF_AT_1,
        ),
        Parameter(
            "top_k",
            "Top-k",
            "Keeps only so many of the likeliest tokens. 0 is off.",
            _OFF_AT_0,
        ),
        Parameter(
            "min_p",
            "Min-p",
            "Drops tokens that are less likely than this share of the likeliest one. 0 is off.",
            _OFF_AT_0,
        ),
        Parameter(
            "repeat_penalty",
            "Repeat penalty",
            "Above 1, tokens that were used a moment ago become less likely. 1 is off.",
            _OFF_AT_1,
        ),
        Parameter(
            "max_tokens",
            "Max tokens",
            "The answer ends after so many tokens, finished or not. 0 lets it fill the window.",
            {"no limit": 0},
        ),
        Parameter(
            "seed",
            "Seed",
            "With the same seed, the same prompt gives the same answer on this machine.",
            {"random": None},
        ),
    ),
    "Context": (
        Parameter(
            "n_ctx",
            "Context window",
            "Tokens the model sees at once, prompt and answer together; more needs more memory. "
            "Llama 2 was trained with 4096. A change loads the model again.",
            {"auto": 0},
        ),
        Parameter(
            "rope_scaling",
            "RoPE scaling",
            "Lets the window be larger than the model was trained with; answers get worse the "
            "further it reads. A change loads the model again.",
        ),
        Parameter(
            "window",
            "Full window",
            "What goes when it is full: the oldest turns, nothing, the middle (ends), or the "
            "oldest into a summary. /window says more.",
        ),
    ),
    "More about answers": (
        Parameter(
            "dynatemp_range",
            "Dynamic temperature",
            "Lets the temperature move by so much with how sure the model is. 0 is off.",
            _OFF_AT_0,
        ),
        Parameter(
            "dynatemp_exponent",
            "Dynamic exponent",
            "How strongly being unsure raises the temperature; needs a dynamic temperature.",
        ),
        Parameter(
            "typical_p",
            "Typical-p",
            "Keeps tokens that are about as surprising as the model expects. 1 is off.",
            _OFF_AT_1,
        ),
        Parameter(
            "top_n_sigma",
            "Top-n-sigma",
            "Keeps tokens whose score is within so many standard deviations of the best one. "
            "0 and below is off.",
            {"off": -1},
        ),
        Parameter(
            "xtc_probability",
            "XTC probability",
            "How often the likeliest tokens are left out in favour of a rarer one. 0 is off.",
            _OFF_AT_0,
        ),
        Parameter(
            "xtc_threshold",
            "XTC threshold",
            "Only tokens at least this likely can be left out by XTC. Above 0.5 it does nothing.",
        ),
        Parameter(
            "dry_multiplier",
            "DRY multiplier",
            "How hard DRY works against phrases that repeat themselves. 0 is off.",
            _OFF_AT_0,
        ),
        Parameter(
            "dry_base",
            "DRY base",
            "How fast DRY gets stricter with the length of the repeated phrase.",
        ),
        Parameter(
            "dry_allowed_length",
            "DRY allowed length",
            "Repeated phrases up to so many tokens cost nothing.",
        ),
        Parameter(
            "dry_penalty_last_n",
            "DRY look back",
            "Tokens that DRY looks back. -1 is all of them, 0 turns it off.",
            {"all": -1, "off": 0},
        ),
        Parameter(
            "mirostat",
            "Mirostat",
            "Keeps the text evenly surprising; then top-k, top-p and the other cuts do not count. "
            "0 is off, 2 is the newer version.",
            _OFF_AT_0,
        ),
        Parameter(
            "mirostat_tau",
            "Mirostat tau",
            "The surprise Mirostat aims at: lower keeps to the point.",
        ),
        Parameter(
            "mirostat_eta",
            "Mirostat eta",
            "How fast Mirostat corrects itself.",
        ),
        Parameter(
            "frequency_penalty",
            "Frequency penalty",
            "Lowers a token's score for every time it was used. 0 is off.",
            _OFF_AT_0,
        ),
        Parameter(
            "presence_penalty",
            "Presence penalty",
            "Lowers a token's score once it was used at all. 0 is off.",
            _OFF_AT_0,
        ),
        Parameter(
            "penalty_last_n",
            "Penalties look back",
            "Tokens that the three penalties look back. -1 is all of them, 0 turns them off.",
            {"all": -1, "off": 0},
        ),
    ),
    "Memory and speed": (
        Parameter(
            "type_k",
            "K cache",
            "How the keys of the context are kept; q8_0 needs about half the memory of f16. "
            "A change loads the model again.",
        ),
        Parameter(
            "type_v",
            "V cache",
            "How the values of the context are kept; a quantized one needs flash attention. "
            "A change loads the model again.",
        ),
        Parameter(
            "flash_attn",
            "Flash attention",
            "Attention in less memory; auto uses it where the device can. "
            "A change loads the model again.",
        ),
        Parameter(
            "n_gpu_layers",
            "GPU layers",
            "Layers of the model on the GPU; 0 keeps all on the CPU. "
            "A change loads the model again.",
            _ALL,
        ),
        Parameter(
            "threads",
            "Threads",
            "Processor threads for writing; auto follows what else the machine does. "
            "A change loads the model again.",
            _AUTO,
        ),
        Parameter(
            "threads_batch",
            "Threads for reading",
            "Processor threads for reading the prompt. A change loads the model again.",
            _AUTO,
        ),
    ),
}
"""All of them, in the order they are shown."""

PARAMETERS: dict[str, Parameter] = {p.name: p for group in GROUPS.values() for p in group}

LOADED_WITH = tuple(name for name, one in PARAMETERS.items() if one.checked_by is EngineSettings)
"""Those that say how a model is loaded."""


def defaults(model: LocalModel | None, settings: Settings | None) -> dict[str, Any]:
    """What counts where the conversation says nothing: the settings, over the model's own."""
    values = {name: parameter.field.default for name, parameter in PARAMETERS.items()}
    settings = settings or Settings()
    for own in (model.sampling if model else {}, settings.sampling, settings.engine.model_dump()):
        values |= {name: value for name, value in own.items() if name in values}
    return values


def conflict(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """The parameter that cannot be together with another one, and why, in one sentence."""
    if values["flash_attn"] == "off" and values["type_v"] not in ("f16", "bf16", "f32"):
        return "type_v", "A quantized V cache needs flash attention, which is off"
    return None
