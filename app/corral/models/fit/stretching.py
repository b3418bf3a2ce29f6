"""Windows larger than a model was trained on: RoPE scaling, where a person asks for it.

Linear scaling squeezes the positions, YaRN only those that turn slowly; both let the model read
further than it ever did, and both make it worse the further it goes.
"""

from __future__ import annotations

from corral.engine.params import LoadSpec
from corral.errors import UsageError
from corral.models.fit import memory
from corral.models.gguf.header import Header
from corral.text import shorten
from corral.units import room, thousands

TITLES = {"linear": "linear RoPE scaling", "yarn": "YaRN"}


def settle(header: Header, spec: LoadSpec) -> LoadSpec:
    """The load parameters with their window: a multiple of 256, and stretched where it has to be.

    A window that the model was trained on is never stretched.

    Raises:
        UsageError: it was not trained on so many tokens, and nobody asked for RoPE scaling, or not
            even that reaches so far.
    """
    trained = min(header.context_length, memory.LONGEST_CONTEXT)
    if spec.rope_scaling == "off" or spec.n_ctx <= trained:
        n_ctx = memory.context_for(header, spec.n_ctx)
        return spec.model_copy(update={"n_ctx": n_ctx, "rope_scaling": "off"})
    name = shorten(header.path.stem, 60)
    if header.rope_scale != 1.0:
        raise UsageError(
            f"“{name}” comes with a RoPE scaling of its own and cannot be stretched further",
            title="Context too large",
            hint=f"Ask for at most {thousands(trained)} tokens",
        )
    if spec.n_ctx > memory.STRETCH * trained:
        raise UsageError(
            f"A context of {thousands(spec.n_ctx)} tokens is more than {memory.STRETCH} times the "
            f"{thousands(trained)} that “{name}” was trained on",
            title="Context too large",
            hint=f"RoPE scaling reaches at most {thousands(memory.STRETCH * trained)} tokens",
        )
    n_ctx = spec.n_ctx + -spec.n_ctx % memory.CONTEXT_STEP
    return spec.model_copy(update={"n_ctx": n_ctx, "rope_freq_scale": trained / n_ctx})


def cost(header: Header, spec: LoadSpec) -> str:
    """What a stretched window costs, in one sentence; "" where it is not stretched."""
    if spec.rope_scaling == "off":
        return ""
    usual = memory.context_for(header, 0)
    a_token = memory.kv_bytes_per_token(header, spec.type_k, spec.type_v)
    return (
        f"{thousands(spec.n_ctx)} tokens by {TITLES[spec.rope_scaling]}, trained with "
        f"{thousands(header.context_length)}: the KV cache takes {room(a_token * spec.n_ctx)} "
        f"where {thousands(usual)} tokens take {room(a_token * usual)}, "
        "and answers get worse the further the model reads"
    )
