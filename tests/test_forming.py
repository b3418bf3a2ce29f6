"""Which preset and which form an answer gets, of all that may ask for one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.gguf_files import tiny_llama

from corral import forming
from corral.chat.conversation import Conversation
from corral.chat.formats import Turn
from corral.errors import CorralError, NotFound, Refused, UsageError
from corral.models.catalog import Catalog, find_catalogue
from corral.models.library.library import Library
from corral.planning import Options, Planner, build_prompt
from corral.presets import Presets
from corral.settings import Settings
from corral.store.store import Store

SCHEMA = json.dumps({"type": "integer", "minimum": 1, "maximum": 9})


@pytest.fixture
def planner(tmp_path: Path) -> Planner:
    tiny_llama(tmp_path / "tiny.gguf")
    library = Library(Store.open(None), Catalog.load(find_catalogue()), folder=tmp_path / "none")
    return Planner(library, Settings())


def options(tmp_path: Path, **values: object) -> Options:
    return Options(model=str(tmp_path / "tiny.gguf"), format="llama-2", **values)  # type: ignore[arg-type]


def conversation(**values: object) -> Conversation:
    return Conversation(1, "", 0.0, 0.0, **values)  # type: ignore[arg-type]


def test_a_preset_brings_its_system_prompt_parameters_and_form(
    planner: Planner, tmp_path: Path
) -> None:
    plan = planner.plan(None, options(tmp_path, preset="sentiment"))
    assert plan.preset is not None and plan.preset.name == "sentiment"
    assert plan.sampling.temperature == 0 and plan.max_tokens == 16
    assert '"positive"' in plan.sampling.grammar
    plan = planner.plan(None, options(tmp_path, preset="brief"))
    assert plan.system.startswith("Answer in one") and not plan.sampling.grammar
    plan = planner.plan(None, options(tmp_path))
    assert plan.preset is None and not plan.system and not plan.sampling.grammar


def test_what_a_person_says_counts_before_the_preset(planner: Planner, tmp_path: Path) -> None:
    talk = conversation(preset="brief", system="Own.", parameters={"temperature": 1.1})
    plan = planner.plan(talk, options(tmp_path))
    assert (plan.system, plan.sampling.temperature) == ("Own.", 1.1)
    plan = planner.plan(talk, options(tmp_path, preset="off", system=""))
    assert plan.preset is None and plan.system == ""
    plan = planner.plan(talk, options(tmp_path, preset="entities", schema=SCHEMA))
    assert "1-9" in plan.sampling.grammar and "people" not in plan.sampling.grammar


def test_the_form_of_one_answer_counts_before_the_conversation_s(
    planner: Planner, tmp_path: Path
) -> None:
    letter = 'root ::= "x"'
    with pytest.raises(UsageError) as caught:
        planner.plan(conversation(parameters={"schema": "{"}), options(tmp_path))
    assert "/form off" in caught.value.hint
    for kept in ({"schema": '{"type": "null"}'}, {"grammar": 'root ::= "kept"'}):
        talk = conversation(parameters=kept)
        assert planner.plan(talk, options(tmp_path)).sampling.grammar
        assert planner.plan(talk, options(tmp_path, grammar=letter)).sampling.grammar == letter
        assert "1-9" in planner.plan(talk, options(tmp_path, schema=SCHEMA)).sampling.grammar


def test_a_conversation_remembers_its_labels(planner: Planner, tmp_path: Path) -> None:
    talk = conversation(preset="classify", parameters={"labels": ["spam", "other"]})
    plan = planner.plan(talk, options(tmp_path))
    assert plan.preset is not None and plan.preset.labels == ("spam", "other")
    plan = planner.plan(talk, options(tmp_path, labels=("a", "b")))
    assert plan.preset is not None and plan.preset.labels == ("a", "b")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"preset": "classify"}, "needs to know the labels"),
        ({"preset": "brief", "labels": ("a",)}, "takes no labels"),
        ({"labels": ("a",)}, "together with a preset only"),
        ({"schema": "{"}, "line 1, column 2: It is not JSON"),
        ({"schema": '{"not": {}}'}, "line 1, not: not is not supported"),
        ({"parameters": {"grammar": 'root ::= "a'}}, "line 1: A text that is not closed"),
        ({"schema": SCHEMA, "grammar": 'root ::= "a"'}, "has one form"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said_before_anything_is_loaded(
    planner: Planner, tmp_path: Path, asked: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        planner.plan(None, options(tmp_path, **asked))
    assert said in caught.value.message


def test_a_preset_that_is_gone_says_how_to_go_on(planner: Planner, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        planner.plan(conversation(preset="gone"), options(tmp_path))
    assert "gone" in caught.value.message and "/preset off" in caught.value.hint


def test_the_limits_follow_the_tokens_of_the_answer(planner: Planner, tmp_path: Path) -> None:
    schema = json.dumps({"type": "array", "items": {"type": "string"}})
    tight = planner.plan(None, options(tmp_path, schema=schema, parameters={"max_tokens": 30}))
    wide = planner.plan(None, options(tmp_path, schema=schema, parameters={"max_tokens": 90_000}))
    assert "400 characters" in wide.form_notes[0]
    assert tight.form_notes != wide.form_notes


async def test_the_prompt_has_the_frame_and_the_examples(planner: Planner, tmp_path: Path) -> None:
    class Letters:
        async def tokenize(self, segments: object) -> list[int]:
            return [0]

        async def render(self, messages: object, **_: object) -> list[tuple[str, str]]:
            return []

    plan = planner.plan(None, options(tmp_path, preset="sentiment"))
    found = await build_prompt(Letters(), plan, 512, [Turn("I love it", None, 7)])  # type: ignore[arg-type]
    assert found.text.count("[INST]") == 4
    assert found.text.endswith("Text: I love it [/INST]")
    assert found.first_message == 7 and found.left_out == 0


def test_a_form_is_read_from_a_file_or_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(SCHEMA)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    assert forming.read_file(str(tmp_path / "a.json")) == SCHEMA
    (tmp_path / "bom.json").write_text("\ufeff" + SCHEMA, encoding="utf-8")
    assert forming.read_file(str(tmp_path / "bom.json")) == SCHEMA
    for path, error in ((tmp_path, Refused), (tmp_path / "b.json", Refused),
                        (tmp_path / "no", NotFound), ("\0", CorralError)):  # fmt: skip
        with pytest.raises(error):
            forming.read_file(str(path))
    assert forming.split_labels(" spam,, not spam ") == ["spam", "not spam"]
    assert Presets().get("brief").form() == ("", ())
