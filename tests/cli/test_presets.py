"""``corral presets``, and ``corral ask`` with presets, schemas and grammars; the real starter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Corral
from tests.support.json_schema import satisfies

SHORT = ("--no-save", "--seed", "1", "--ctx", "1024")


def test_presets_are_listed_and_shown(corral: Corral, private_home: Path) -> None:
    folder = private_home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "llama.toml").write_text('system = "You are a llama."\ntext = "Hums \\u001b[31m"')
    (folder / "wrong.toml").write_text("\nlabels = 3\n")
    run = corral("presets", "list")
    assert run.code == 0 and "sentiment" in run.out and "llama" in run.out
    assert "wrong.toml line 2, key labels: This is a list; this preset is left out" in run.err
    listed = {one["name"]: one for one in corral("presets", "list", "--json").json}
    assert listed["llama"]["own"] and listed["sentiment"]["labels"][0] == "positive"
    assert listed["classify"]["grammar"] == ""
    shown = corral("presets", "show", "entities")
    assert "[schema.properties.people]" in shown.out
    assert corral("presets", "show", "brief", "--json").json["kind"] == "persona"
    assert corral("presets", "show", "nothing").code == 3
    wrong = corral("presets", "show", "wrong")
    assert wrong.code == 3 and "line 2, key labels" in wrong.err


def test_a_task_answers_in_its_form_and_the_conversation_goes_on_with_it(corral: Corral) -> None:
    asked = ("ask", "I love this llama!", "--preset", "sentiment", "--ctx", "1024", "--json")
    done = corral(*asked).lines[-1]
    assert done["text"] in ("positive", "negative", "neutral")
    assert done["model"]["preset"] == "sentiment"
    again = corral("ask", "It broke at once.", "--continue", "--ctx", "1024", "--json").lines[-1]
    assert again["text"] in ("positive", "negative", "neutral")
    shown = corral("history", "show", str(done["conversation"]), "--json").json
    assert shown["messages"][0]["text"] == "I love this llama!"
    free = corral("ask", "Hi", "--continue", "--preset", "off", "--max-tokens", "4", "--json")
    assert "preset" not in free.lines[-1]["model"]


def test_labels_are_those_that_were_given(corral: Corral) -> None:
    run = corral(
        "ask", "Win a prize now!!!", "--preset", "classify", "--label", "spam",
        "--label", "not spam", "--json", "--ctx", "1024",
    )  # fmt: skip
    assert run.lines[-1]["text"] in ("spam", "not spam")
    again = corral("ask", "See you at ten.", "--continue", "--json", "--ctx", "1024")
    assert again.lines[-1]["text"] in ("spam", "not spam")


def test_a_schema_is_satisfied_also_where_the_tokens_run_out(
    corral: Corral, tmp_path: Path
) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
        "required": ["name", "age"],
    }
    file = tmp_path / "person.json"
    file.write_text(json.dumps(schema))
    for most in ("3", "60"):
        run = corral("ask", "Ada is 36.", *SHORT, "--schema", str(file), "--max-tokens", most)
        assert run.code == 0, run.err
        assert satisfies(json.loads(run.out), schema)
        assert "is limited: texts to" in run.err
    grammar = tmp_path / "date.gbnf"
    grammar.write_text('root ::= [12] [0-9]{3} "-" [01] [0-9]\n')
    run = corral("ask", "When did it begin?", *SHORT, "--grammar", str(grammar), "--json")
    assert len(run.lines[-1]["text"]) == 7 and run.lines[-1]["stop_reason"] == "end"


@pytest.mark.parametrize(
    ("arguments", "files", "code", "said"),
    [
        (["--schema", "a"], {"a": '{\n"type": "strin"}'}, 2, "line 2, type: There is no type"),
        (["--schema", "a"], {"a": '{"$ref": "#"}'}, 2, "refers to itself"),
        (["--schema", "a"], {"a": ""}, 2, "is empty"),
        (["--schema", "a"], {}, 3, "cannot be read"),
        (["--grammar", "a"], {"a": 'root ::= "x"\nb ::= c'}, 2, "line 2: The rule c is used"),
        (["--grammar", "a", "--schema", "a"], {"a": "{}"}, 2, "one form"),
        (["--preset", "poet"], {}, 3, "no preset called poet"),
        (["--preset", "classify"], {}, 2, "needs to know the labels"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_used_is_refused_before_anything_is_asked(
    corral: Corral,
    tmp_path: Path,
    arguments: list[str],
    files: dict[str, str],
    code: int,
    said: str,
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / one) if one == "a" else one for one in arguments]
    run = corral("ask", "hi", *paths, timeout=20)
    assert run.code == code, run.err
    assert said in run.err
    if "classify" in arguments:
        assert corral("history", "list", "--json").json == []
