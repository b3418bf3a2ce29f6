"""The prompt under each policy of the window, with a tokenizer for which letters are tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from corral.chat.formats import Turn
from corral.chat.window import Policy, answer_reserve
from corral.engine.protocol import LoadSpec, Sampling, Segment
from corral.errors import DoesNotFit
from corral.planning import Plan
from corral.prompting import ROOM, build_prompt, summary_tokens

N_CTX = 1024
BUDGET = N_CTX - 256


class Letters:
    """A token is a letter, and its id is the letter."""

    def __init__(self) -> None:
        self.rendered = 0

    async def tokenize(self, segments: Sequence[Segment]) -> Sequence[int]:
        self.rendered += 1
        return [ord(letter) for _, text in segments for letter in text]

    async def render(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True
    ) -> Sequence[Segment]:
        return [("text", message["content"]) for message in messages]


def plan(window: Policy = "drop", **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "model": cast("Any", None),
        "header": cast("Any", None),
        "spec": LoadSpec(path="/"),
        "sampling": Sampling(),
        "max_tokens": 0,
        "format": "llama-2",
        "system": "",
    }
    return Plan(**(values | {"window": window} | changes))


def dialogue(count: int, size: int = 100, **of: dict[str, Any]) -> list[Turn]:
    """So many exchanges of about ``size`` tokens, the last one open; ``_3={...}`` changes one."""
    made = [Turn(f"q{n} " + "x" * (size - 20), f"a{n}", 2 * n + 1) for n in range(count)]
    made[-1] = made[-1]._replace(answer=None)
    for name, changes in of.items():
        made[int(name[1:])] = made[int(name[1:])]._replace(**changes)
    return made


async def test_what_fits_is_sent_whole_under_every_policy() -> None:
    for policy in ("drop", "stop", "ends", "summarise"):
        prompt = await build_prompt(Letters(), plan(policy), N_CTX, dialogue(5))
        assert (prompt.left_out, prompt.gaps, prompt.condense) == (0, (), ())
        assert "q0" in prompt.text and "q4" in prompt.text


async def test_drop_leaves_out_the_oldest_pairs() -> None:
    prompt = await build_prompt(Letters(), plan(), N_CTX, dialogue(12))
    assert len(prompt.tokens) <= ROOM * BUDGET
    assert prompt.gaps == ((1, prompt.first_message),)
    assert "q11" in prompt.text and "q0" not in prompt.text and "a0" not in prompt.text


async def test_a_pinned_exchange_and_the_system_prompt_stay() -> None:
    turns = dialogue(12, _2={"pinned": True})
    prompt = await build_prompt(Letters(), plan(system="Be kind."), N_CTX, turns)
    assert "q2" in prompt.text and "a2" in prompt.text and "Be kind." in prompt.text
    assert "q1 " not in prompt.text and "q3" not in prompt.text
    assert prompt.gaps == ((1, 5), (7, prompt.first_message))
    assert prompt.left_out == 12 - prompt.text.count("[INST]")


async def test_stop_sends_nothing_that_does_not_fit_whole() -> None:
    with pytest.raises(DoesNotFit, match="conversation and this message") as refused:
        await build_prompt(Letters(), plan("stop"), N_CTX, dialogue(12))
    assert refused.value.title == "The window is full" and "/window drop" in refused.value.hint


async def test_keep_the_ends_leaves_out_the_middle() -> None:
    prompt = await build_prompt(Letters(), plan("ends"), N_CTX, dialogue(12))
    assert "q0" in prompt.text and "q11" in prompt.text and "q1 " not in prompt.text
    assert prompt.gaps == ((3, prompt.first_message),)


async def test_pins_that_leave_no_room_are_named() -> None:
    turns = dialogue(8, 150, **{f"_{n}": {"pinned": True} for n in range(7)})
    with pytest.raises(DoesNotFit, match="7 pinned") as refused:
        await build_prompt(Letters(), plan(), N_CTX, turns)
    assert "Unpin" in refused.value.hint


async def test_a_first_exchange_that_leaves_no_room_is_named_under_ends() -> None:
    turns = dialogue(3, 100, _0={"user": "x" * 900})
    with pytest.raises(DoesNotFit) as refused:
        await build_prompt(Letters(), plan("ends"), N_CTX, turns)
    assert "/window drop" in refused.value.hint


async def test_what_was_left_out_stays_out_while_it_fits() -> None:
    turns = dialogue(9)
    prompt = await build_prompt(Letters(), plan(), N_CTX, turns, seen_from=turns[3].first_message)
    assert prompt.first_message == turns[3].first_message


async def test_summarise_says_what_is_to_be_condensed_and_keeps_room_for_it() -> None:
    turns = dialogue(12, _1={"pinned": True})
    prompt = await build_prompt(Letters(), plan("summarise"), N_CTX, turns)
    gone = [turn.first_message for turn in prompt.condense]
    hidden = [t.first_message for t in turns if t.first_message < (prompt.first_message or 0)]
    assert gone == [id for id in hidden if id != 3]
    assert len(prompt.tokens) + summary_tokens(N_CTX) <= ROOM * BUDGET
    assert "q1 " in prompt.text


async def test_a_message_that_leaves_no_room_for_a_summary_goes_without_one() -> None:
    budget = N_CTX - answer_reserve(N_CTX, 0)
    frame = len("<s>[INST]  [/INST]") - 2  # Both of <s> are one token of these.
    turns = dialogue(8, 100, _7={"user": "x" * (budget - frame - summary_tokens(N_CTX) // 2)})
    prompt = await build_prompt(Letters(), plan("summarise"), N_CTX, turns)
    assert prompt.left_out == 7 and not prompt.condense and prompt.summary_at is None
    assert budget - summary_tokens(N_CTX) < len(prompt.tokens) <= budget
    # A summary that is there, and too long for it, is what the hint is about.
    turns[7] = turns[7]._replace(summary="s" * summary_tokens(N_CTX))
    with pytest.raises(DoesNotFit) as refused:
        await build_prompt(Letters(), plan("summarise"), N_CTX, turns)
    assert "summary" in refused.value.hint


async def test_a_summary_stands_for_everything_above_it() -> None:
    turns = dialogue(6, _3={"summary": "They spoke of llamas."})
    prompt = await build_prompt(Letters(), plan("summarise"), N_CTX, turns)
    assert prompt.gaps == ((1, 7),) and prompt.summary_at == 7 and not prompt.condense
    before, _, after = prompt.text.partition("They spoke of llamas.")
    assert "q2" not in prompt.text and "Summary" in before and "q3" in after
    dropped = await build_prompt(Letters(), plan("drop"), N_CTX, turns)
    assert "llamas" not in dropped.text and "q0" in dropped.text


async def test_a_summary_goes_into_the_next_one() -> None:
    turns = dialogue(16, _3={"summary": "They spoke of llamas."})
    prompt = await build_prompt(Letters(), plan("summarise"), N_CTX, turns)
    assert prompt.earlier == "They spoke of llamas."
    assert prompt.condense[0].first_message == 7 and prompt.first_message is not None
    assert "llamas" not in prompt.text


async def test_a_very_long_conversation_is_not_rendered_whole() -> None:
    engine = Letters()
    for policy in ("drop", "ends", "summarise"):
        engine.rendered = 0
        prompt = await build_prompt(engine, plan(policy), N_CTX, dialogue(5_000))
        assert prompt.left_out > 4_900 and engine.rendered < 20


async def test_the_file_s_own_template_is_told_whether_an_answer_follows() -> None:
    asked: list[bool] = []

    class Template(Letters):
        async def render(
            self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True
        ) -> Sequence[Segment]:
            asked.append(add_generation_prompt)
            return await super().render(messages)

    turns = dialogue(2)
    await build_prompt(Template(), plan(format="template"), N_CTX, turns)
    await build_prompt(Template(), plan(format="template"), N_CTX, turns[:1])
    assert asked == [True, False]
