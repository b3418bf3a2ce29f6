"""JSON schemas as grammar: whatever it allows, the schema allows; and what cannot be is refused."""

from __future__ import annotations

import json
import random
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.grammars import draw
from tests.support.json_schema import satisfies

from corral.chat.grammar.errors import GrammarError
from corral.chat.grammar.gbnf import read
from corral.chat.grammar.schema import CHARACTERS_PER_TOKEN, compile_schema, longest
from corral.chat.grammar.walk import matches

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "email": {"type": ["string", "null"], "maxLength": 8},
        "tags": {"type": "array", "items": {"enum": ["a", 'b"c', "é\n", "\\"]}, "maxItems": 3},
    },
    "required": ["name", "tags"],
}
SCHEMAS: list[Any] = [
    PERSON,
    {"type": "integer"},
    {"type": "integer", "minimum": -7, "maximum": 1234},
    {"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 12},
    {"type": "integer", "minimum": 2.5, "maximum": 100.9},
    {"type": "integer", "maximum": -99},
    {"type": "integer", "minimum": 10**15},
    {"type": "number"},
    {"type": "number", "minimum": -0.5, "maximum": 2.75},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "minimum": 0.125, "maximum": 0.25},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
    {"type": "number", "minimum": -12.34, "maximum": -3},
    {"type": "number", "minimum": 99.5},
    {"type": "boolean"},
    {"type": "null"},
    {"type": "string"},
    {"type": "string", "minLength": 3, "maxLength": 5},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "time"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "format": "email", "maxLength": 9},
    {"type": "string", "pattern": "^[A-Z]{2}-\\d+$"},
    {"type": "string", "pattern": "^(?:a|b\\.c)*[^x\"\\\\]?\\s\\w{2,}$"},
    {"type": "string", "pattern": 'say "hi" \\\\ or\\/and .+'},
    {"type": "string", "pattern": "[\\d\\-_]{3}"},
    {"enum": ["yes", "no", 1, 2.5, None, True, {"a": [1, "x"]}, []]},
    {"enum": ["x", 1, None], "type": "string"},
    {"const": {"deep": ["ü", 1e3]}},
    {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 3}, "minItems": 2},
    {"type": "array", "prefixItems": [{"const": 1}, {"type": "boolean"}], "items": False},
    {"type": "array", "prefixItems": [{"const": "a"}], "items": {"const": "b"}, "minItems": 3},
    {"type": "array", "maxItems": 0},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
    {"type": "object"},
    {"type": "object", "additionalProperties": False},
    {"properties": {"a": {}, "b": True, "c": {"type": "null"}}, "required": ["b", "z"]},
    {"anyOf": [{"type": "integer", "minimum": 5}, {"type": "string", "maxLength": 2}]},
    {"oneOf": [{"type": "null"}, {"enum": ["a"]}, {"const": 4}]},
    {
        "oneOf": [
            {"properties": {"kind": {"const": kind}, kind: {"type": "null"}}, "required": ["kind"]}
            for kind in ("cat", "dog")
        ]
    },
    {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
     "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"allOf": [{"$ref": "#/$defs/point"}],
     "$defs": {"point": {"type": "array", "items": {"$ref": "#/$defs/x"}, "maxItems": 2},
               "x": {"type": "number", "minimum": 0, "maximum": 9}}},
    {},
    True,
]  # fmt: skip

TWINS = {
    f"{side}{n}": {
        "required": ["x", "y"],
        "properties": dict.fromkeys("xy", {"$ref": f"#/$defs/{side}{n + 1}"} if n < 25 else {}),
    }
    for side in "ab"
    for n in range(26)
}
"""What takes as many comparisons as there are leaves of a tree, 25 deep."""


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:60])
def test_whatever_the_grammar_allows_satisfies_the_schema(schema: Any) -> None:
    compiled = compile_schema(json.dumps(schema))
    chance = random.Random(1)
    for number in range(40):
        text = draw(compiled.grammar, chance, chance.choice((0, 5, 20, 2000)), cut=number % 2 == 0)
        value = json.loads(text)
        assert satisfies(value, schema), text


@settings(max_examples=150, deadline=None)
@given(st.integers(-2000, 2000), st.integers(0, 2000), st.integers(0, 1 << 30))
def test_whole_numbers_are_exactly_those_between(low: int, width: int, seed: int) -> None:
    high = low + width
    schema = {"type": "integer", "minimum": low, "maximum": high}
    grammar = read(compile_schema(json.dumps(schema)).grammar)
    for number in {low, high, random.Random(seed).randint(low, high)}:
        assert matches(grammar, str(number))
    for number in (low - 1, high + 1, low - 10, high * 10 + 1 if high > 0 else high - width - 1):
        assert matches(grammar, str(number)) == (low <= number <= high)


@settings(max_examples=100, deadline=None)
@given(st.decimals(-99, 99, places=3), st.decimals(0, 50, places=2), st.integers(0, 1 << 30))
def test_decimals_stay_between_their_limits(low: Any, width: Any, seed: int) -> None:
    schema = {"type": "number", "minimum": float(low), "maximum": float(low + width)}
    grammar = compile_schema(json.dumps(schema)).grammar
    chance = random.Random(seed)
    for _ in range(10):
        assert satisfies(json.loads(draw(grammar, chance)), schema)
    # At a limit with decimals all have as many, so that 28.5 may only be spelled 28.50.
    spelled = {f"{low + 0:.{places}f}" for places in range(4)}
    exact = [one for one in spelled if float(one) == float(low)]
    assert any(matches(read(grammar), one) for one in exact)


@pytest.mark.parametrize(
    ("schema", "line", "where", "said"),
    [
        ("{", 1, "column 2", "not JSON"),
        ('{"type": "object",\n "properties": }', 2, "column 16", "not JSON"),
        ('{"minimum": NaN}', 0, "", "NaN is no JSON"),
        ("[1]", 1, "the schema", "A schema is an object"),
        ("false", 1, "the schema", "allows nothing"),
        ('{\n "type": "objekt"}', 2, "type", 'no type "objekt"'),
        ('{\n "properties":\n {"a":\n {"not": {}}}}', 4, "properties.a.not", "not supported"),
        ('{"type": "string", "minimum": 3}', 1, "minimum", "says nothing about this type"),
        ('{"type":"integer","minimum":3,\n"maximum":2}', 1, "the schema", "allows nothing"),
        ('{"type": "integer", "minimum": "x"}', 1, "minimum", "is a number"),
        ('{"type": "number", "minimum": 1e300}', 1, "minimum", "too many digits"),
        ('{"type": "integer", "multipleOf": 3}', 1, "multipleOf", "not supported"),
        ('{"minLength": 5, "maxLength": 2}', 1, "maxLength", "below minLength"),
        ('{"minLength": 5000}', 1, "minLength", "more than 2000"),
        ('{"pattern": "(?=a)"}', 1, "pattern", "(?= is not supported"),
        ('{"pattern": "a^b"}', 1, "pattern", "at the ends only"),
        ('{"pattern": "[a"}', 1, "pattern", "not closed"),
        ('{"pattern": "a", "minLength": 2}', 1, "minLength", "beside pattern"),
        ('{"enum": []}', 1, "enum", "a list of values"),
        ('{"enum": ["a"], "type": "null"}', 1, "enum", "allows nothing"),
        ('{"type": "array", "uniqueItems": true}', 1, "uniqueItems", "not supported"),
        ('{"oneOf": [{"type": "integer"},\n{"type": "number"}]}', 2, "oneOf.1", "say anyOf"),
        ('{"oneOf": [{"const": [1]}, {"enum": [[1.0]]}]}', 1, "oneOf.1", "say anyOf"),
        ('{"enum": [1e999999999, 1.5], "type": "null"}', 1, "enum", "allows nothing"),
        ('{"allOf": [{}, {}]}', 1, "allOf", "more than one"),
        ('{"$ref": "#/nowhere"}', 1, "$ref", "not in the schema"),
        ('{"$ref": "https://example.org/a"}', 1, "$ref", "inside of the schema"),
        ('{"required": ["a"], "additionalProperties": false}', 1, "required", "allows nothing"),
        ('{"type":"array","items":\n{"type":"array","items":\n{"$ref":"#"}}}', 3,
         "items.items.$ref", "refers to itself"),
        ('{"$ref": "#/$defs/tree", "$defs": {"tree": {"properties": {"left":\n'
         '{"$ref": "#/$defs/tree"}}}}}', 2, "$defs.tree.properties.left.$ref",
         "#/$defs/tree → #/$defs/tree"),
        ('{"$ref": "#/$defs/a0", "$defs": {' + ", ".join(
            f'"a{n}": {{"items": {{"$ref": "#/$defs/a{n + 1}"}}}}' for n in range(400)) + "}}",
         1, "$defs.a39.items", "nested too deeply"),
        ('{"const": ' + "[" * 400 + "]" * 400 + "}", 0, "", "nested too deeply"),
        ('{"minimum": 1e999999999}', 1, "minimum", "too many digits"),
        ('{"$defs": [{}], "$ref": "#/$defs/' + "9" * 5000 + '"}', 1, "$ref", "not in the schema"),
        ('{"pattern": "a{' + "9" * 5000 + '}"}', 1, "pattern", "such as {2,5}"),
        ('{"pattern": "[\\\\d-x]"}', 1, "pattern", "from a character to a later one"),
        ('{"items":{"items":{"items":{"const":1},"minItems":99},"minItems":99},"minItems":99}', 0,
         "", "more than 65536 characters"),
        (json.dumps({"oneOf": [{"$ref": "#/$defs/a0"}, {"$ref": "#/$defs/b0"}], "$defs": TWINS}),
         1, "oneOf.1", "say anyOf"),
    ],
)  # fmt: skip
def test_what_cannot_be_enforced_is_refused_with_its_place(
    schema: str, line: int, where: str, said: str
) -> None:
    with pytest.raises(GrammarError) as caught:
        compile_schema(schema)
    assert said in caught.value.reason
    assert (caught.value.line, caught.value.where) == (line, where)


def test_a_schema_may_have_many_properties_values_and_choices() -> None:
    names = [f"p{n}" for n in range(400)]
    wide: dict[str, Any] = {"properties": {name: {"type": "null"} for name in names}}
    for required in ([], names, names[::3]):
        schema = wide | {"required": required}
        grammar = compile_schema(json.dumps(schema), max_tokens=99).grammar
        for most in (0, 400):
            value = json.loads(draw(grammar, random.Random(most), most))
            assert satisfies(value, schema) and [*value] == [n for n in names if n in value]
    many = {"oneOf": [{"const": f"{n} of 300"} for n in range(300)]}
    assert matches(read(compile_schema(json.dumps(many)).grammar), '"299 of 300"')


@pytest.mark.parametrize("required", ["", "a", "d", "ac", "bd", "abcd"])
def test_every_choice_of_properties_with_the_required_ones_is_allowed(required: str) -> None:
    schema = {"properties": {key: {"const": 1} for key in "abcd"}, "required": [*required]}
    grammar = read(compile_schema(json.dumps(schema)).grammar)
    for size in range(5):
        for names in combinations("abcd", size):
            text = json.dumps(dict.fromkeys(names, 1))
            assert matches(grammar, text) == ({*required} <= {*names}), text


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [("^\\S$", "é", "\u00a0"), ("^[^\\s]$", "a", "\u3000"), ("^[\\S]$", "a", "\u2003"),
     ("^[a\\-\\d]+$", "a-9", "b")],
)  # fmt: skip
def test_a_pattern_lets_no_more_through_than_it_says(pattern: str, good: str, bad: str) -> None:
    grammar = read(compile_schema(json.dumps({"type": "string", "pattern": pattern})).grammar)
    assert matches(grammar, f'"{good}"') and not matches(grammar, f'"{bad}"')


def test_an_answer_with_few_tokens_gets_tighter_limits_and_is_told() -> None:
    schema = json.dumps({"type": "object", "properties": {"a": {}, "b": {"type": "array"}}})
    wide, tight = compile_schema(schema), compile_schema(schema, max_tokens=200)
    assert "400 characters" in wide.notes[0]
    assert longest(read(tight.grammar)) < longest(read(wide.grammar))
    assert longest(read(tight.grammar)) <= 200 * CHARACTERS_PER_TOKEN
    hopeless = compile_schema(json.dumps({"minLength": 900}), max_tokens=10)
    assert "closed early" in hopeless.notes[-1]


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "enum", "$ref", "anyOf", "oneOf", "required",
                 "const", "minimum", "maxLength", "pattern", "format", "additionalProperties",
                 "prefixItems"]
            ),
            inner | st.sampled_from(["object", "array", "string", "#", "date", "^a+$"]),
            max_size=3,
        ),
        max_leaves=12,
    )
)  # fmt: skip
def test_any_json_is_either_a_schema_or_refused(schema: Any) -> None:
    try:
        compiled = compile_schema(json.dumps(schema))
    except GrammarError:
        return
    value = json.loads(draw(compiled.grammar, random.Random(0), 30))
    assert satisfies(value, schema)
