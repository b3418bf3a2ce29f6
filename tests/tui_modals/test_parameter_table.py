"""Every parameter of the table: known to the engine, explained, and checked."""

from __future__ import annotations

import dataclasses

import pytest
from tests.tui_modals.host import local

from corral.engine.protocol import LoadSpec, Sampling
from corral.planning import Options
from corral.settings import EngineSettings, Settings
from corral.tui.parameter import Parameter
from corral.tui.parameters import GROUPS, PARAMETERS, conflict, defaults

ALL = list(PARAMETERS.values())


@pytest.mark.parametrize("parameter", ALL, ids=lambda p: p.name)
class TestEvery:
    def test_is_one_that_a_conversation_may_hold(self, parameter: Parameter) -> None:
        known = {*Sampling.model_fields, *LoadSpec.model_fields, "max_tokens", "window"}
        assert parameter.name in known
        assert Options(parameters={parameter.name: None}).parameters

    def test_is_explained(self, parameter: Parameter) -> None:
        assert parameter.title and parameter.text.endswith(".")
        assert len(parameter.title) <= 20
        assert len(parameter.text) <= 160

    def test_reads_back_what_it_shows(self, parameter: Parameter) -> None:
        default = defaults(None, None)[parameter.name]
        assert parameter.read(parameter.shown(default)) == default
        for choice in parameter.choices:
            assert parameter.read(parameter.shown(choice)) == choice

    @pytest.mark.parametrize("typed", ["x", "nan", "inf", "-inf", "1e999", "9" * 40, "-9", "0,5"])
    def test_refuses_in_one_sentence(self, parameter: Parameter, typed: str) -> None:
        if typed == "-9" and parameter.name in ("frequency_penalty", "presence_penalty"):
            return
        with pytest.raises(ValueError, match=f"^{parameter.title} takes (a |one of)"):
            parameter.read(typed)


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("temperature", " 0.75 ", 0.75),
        ("top_k", "off", 0),
        ("top_k", "40", 40),
        ("mirostat", "2", 2),
        ("mirostat", "OFF", 0),
        ("type_k", "Q8_0", "q8_0"),
        ("seed", "random", None),
        ("seed", "4294967294", 4294967294),
        ("n_gpu_layers", "all", -1),
        ("max_tokens", "no limit", 0),
    ],
)
def test_reads(name: str, typed: str, value: object) -> None:
    assert PARAMETERS[name].read(typed) == value


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("seed", "4294967295"),
        ("n_ctx", "1048577"),
        ("top_p", "0"),
        ("top_k", "1.5"),
        ("top_k", str(2**31)),
        ("mirostat", "3"),
        ("type_v", "q3"),
        ("threads", "513"),
    ],
)
def test_refuses_what_is_just_outside(name: str, typed: str) -> None:
    with pytest.raises(ValueError, match="takes"):
        PARAMETERS[name].read(typed)


def test_limits_are_in_words() -> None:
    assert PARAMETERS["temperature"].limits == "a number from 0 to 10"
    assert PARAMETERS["top_p"].limits == "a number above 0, at most 1"
    assert PARAMETERS["top_k"].limits == "a whole number, 0 or more"
    assert PARAMETERS["flash_attn"].limits == "one of auto, on, off"


def test_what_everybody_uses_comes_first() -> None:
    first, second, *_ = GROUPS.values()
    assert [parameter.name for parameter in (*first, *second)] == [
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repeat_penalty",
        "max_tokens",
        "seed",
        "n_ctx",
        "rope_scaling",
        "window",
    ]


def test_defaults_are_the_settings_over_the_models_own() -> None:
    model = local(sampling={"temperature": 0.2, "top_k": 50})
    settings = Settings(sampling={"top_k": 7}, engine=EngineSettings(n_ctx=2048))
    assert defaults(model, settings)["temperature"] == 0.2
    assert defaults(model, settings)["top_k"] == 7
    assert defaults(model, settings)["n_ctx"] == 2048
    assert defaults(None, None)["temperature"] == Sampling().temperature
    assert "samplers" not in defaults(None, Settings(sampling={"samplers": []}))


def test_a_quantized_v_cache_needs_flash_attention() -> None:
    values = defaults(None, None)
    assert conflict(values) is None
    assert conflict(values | {"type_v": "q8_0"}) is None
    found = conflict(values | {"type_v": "q8_0", "flash_attn": "off"})
    assert found is not None and found[0] == "type_v"


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PARAMETERS["seed"].title = "x"  # type: ignore[misc]
