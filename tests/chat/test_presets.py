"""Presets as files: those that come with corral are good, and a wrong one is named exactly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.json_schema import satisfies

from corral.chat.formats import Turn
from corral.chat.grammar.gbnf import read
from corral.chat.grammar.walk import matches
from corral.chat.presets import PresetError, checked_labels, label_grammar, parse
from corral.errors import CorralError, NotFound, Refused
from corral.presets import Presets, wrong_parameter

NAMES = {
    "summarise", "translate", "sentiment", "classify", "entities", "answer", "rewrite", "explain",
    "extract", "safety", "teacher", "editor", "coder", "brief",
}  # fmt: skip


def test_those_that_come_with_corral_are_all_good() -> None:
    presets = Presets()
    assert presets.problems() == []
    assert {preset.name for preset in presets.all()} == NAMES
    for preset in presets.all():
        assert preset.title and preset.text and not preset.own
        if preset.schema:
            assert all(
                satisfies(json.loads(one.answer), json.loads(preset.schema))
                for one in preset.examples
            )
    assert presets.get("translate").experimental
    assert presets.get("safety").kind == "persona" and presets.get("sentiment").kind == "task"
    assert presets.get("safety").system.startswith("You are a helpful, respectful and honest")
    assert presets.get("SENT").name == "sentiment"


def test_a_message_is_framed_and_examples_come_first() -> None:
    preset = Presets().get("sentiment")
    dialogue = [Turn("Fine {labels} {text}", "positive", 4), Turn("Awful", None, 6)]
    framed = preset.framed(dialogue)
    assert len(framed) == len(preset.examples) + 2
    assert [turn.first_message for turn in framed[-2:]] == [4, 6]
    assert framed[0].answer == "negative" and framed[0].first_message == 0
    # What a person sends is not looked at for places to fill.
    assert framed[-2].user.endswith("Text: Fine {labels} {text}")
    assert "positive, negative, neutral" in framed[-1].user


def test_labels_become_a_grammar_of_nothing_else() -> None:
    grammar = read(label_grammar(["spam", 'a "b" \\ c', "日"]))
    for label in ("spam", 'a "b" \\ c', "日"):
        assert matches(grammar, label)
    assert not matches(grammar, "spa") and not matches(grammar, "spam ")
    assert checked_labels([" a ", "b", "a"]) == ("a", "b")
    for wrong in ([], [""], ["a\nb"], ["x" * 200], [str(n) for n in range(300)]):
        with pytest.raises(PresetError):
            checked_labels(wrong)


def test_other_labels_take_the_examples_away() -> None:
    preset = Presets().get("sentiment")
    assert preset.with_labels(["neutral", "positive", "negative"]).examples
    other = preset.with_labels(["happy", "sad"])
    assert other.labels == ("happy", "sad") and not other.examples
    with pytest.raises(PresetError, match="takes no labels"):
        Presets().get("summarise").with_labels(["a"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 1", "line 1, key colour: There is no such key"),
        ('title = "a"\ntext = 3', "line 2, key text: This is a text"),
        ('title = "a', "line 1: It is not valid TOML"),
        ('labels = ["a", ""]', "key labels: A label is empty"),
        ("labels = [1]", "key labels: Every label is a text"),
        ('labels = ["a"]\ngrammar = "x"', "line 2, key grammar: An answer has one form"),
        ('answer = "schema"', "line 1, key answer: There is no schema"),
        ('answer = "poem"', "line 1, key answer: This is text, label, schema or grammar"),
        ('grammar = """\nroot ::= "a"\nb ::= c"""', "line 3, key grammar: The rule c"),
        ('[schema]\ntype = "object"\n[schema.properties.a]\ntype = "strin"',
         "line 4, key schema.properties.a.type: There is no type"),
        ("[schema]\nconst = 2020-01-01", "key schema: Dates and times are no JSON"),
        ("[parameters]\n\ntemperature = 99", "line 3, key parameters.temperature"),
        ("[parameters]\nn_gpu_layers = 3", "line 2, key parameters.n_gpu_layers: There is no such"),
        ('[[examples]]\ntext = "a"\nanswer = "b"\n[[examples]]\ntext = "c"',
         "line 4, key examples.1: An example has a text and an answer"),
        ('labels = ["a"]\n[[examples]]\ntext = "x"\nanswer = "b"',
         "line 2, key examples.0: Its answer does not have the form"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ("x = " + "9" * 5000, "a number that is too long"),
        ('grammar = "root ::= b"', "line 1, key grammar: The rule b"),
        ('title = "a"\ngrammar = """root ::=\n b"""', "line 3, key grammar: The rule b"),
        ('template = """\n[INST]\ntitle = x"""\ntitle = 1', "line 4, key title"),
        ("schema = { minimum = nan }", "line 1, key schema: NaN is no JSON"),
    ],
    ids=lambda value: value[:30],
)  # fmt: skip
def test_a_wrong_file_is_named_with_line_and_key(text: str, said: str) -> None:
    with pytest.raises(PresetError) as caught:
        parse("mine", text, check=wrong_parameter)
    assert said in str(caught.value)


def test_a_wrong_file_leaves_the_others_alone(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('title = "x"\nnope = 1\n')
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "good.toml").write_text('system = "Be a llama."')
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "sentiment.toml").write_text('labels = ["good", "bad"]')
    presets = Presets(tmp_path)
    assert {preset.name for preset in presets.all()} == NAMES | {"good"}
    assert presets.get("sentiment").labels == ("good", "bad") and presets.get("sentiment").own
    assert presets.problems() == [
        "bad.toml line 2, key nope: There is no such key",
        "binary.toml It is not UTF-8 text",
        "folder.toml It is no file, or a very large one",
    ]
    with pytest.raises(NotFound, match=r"bad\.toml line 2, key nope"):
        presets.get("bad")
    (tmp_path / "brief.toml").write_text("system = 5")
    with pytest.raises(NotFound, match=r"brief\.toml line 1, key system"):
        presets.get("brief")  # The one that comes with corral is not what they mean.
    [brief] = [one for one in presets.all() if one.name == "brief"]
    assert presets.text_of(brief) == "system = 5" and presets.has_own("brief")
    (tmp_path / "brief.toml").write_text("\ufeffsystem = 'Be quick.'")
    assert presets.get("brief").system == "Be quick."
    assert presets.text_of(presets.get("brief")) == "system = 'Be quick.'"
    with pytest.raises(NotFound) as caught:
        presets.get("e")
    assert "entities" in caught.value.hint and "summarise" not in caught.value.hint


def test_what_was_changed_in_a_file_counts_at_once(tmp_path: Path) -> None:
    presets = Presets(tmp_path / "none yet")
    assert presets.all()
    saved = presets.save("mine", 'system = "One."')
    assert presets.get("mine").system == "One." and Path(saved.path).stat().st_mode & 0o77 == 0
    Path(saved.path).write_text('system = "Another one."')
    assert presets.get("mine").system == "Another one."
    assert presets.text_of(presets.get("mine")) == 'system = "Another one."'
    for name, text in (("mine", "x = 1"), ("../up", "title = 'a'"), ("", ""), ("A", "")):
        with pytest.raises(Refused):
            presets.save(name, text)
    assert presets.get("mine").system == "Another one."
    linked = Path(saved.path).rename(tmp_path / "elsewhere.toml")
    Path(saved.path).symlink_to(linked)
    presets.save("mine", 'system = "Kept elsewhere."')
    assert Path(saved.path).is_symlink() and "elsewhere" in linked.read_text()
    presets.remove(presets.get("mine"))
    assert "mine" not in {one.name for one in presets.all()}
    with pytest.raises(CorralError, match="comes with corral"):
        presets.remove(presets.get("brief"))
