"""Grammars are read as llama.cpp reads them, and refused with the line where they are wrong."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.grammars import draw

from corral.chat.grammar.errors import GrammarError
from corral.chat.grammar.gbnf import LARGEST_TEXT, MOST_REPEATS, read
from corral.chat.grammar.walk import MOST_NODES, begin, matches

ARITHMETIC = r"""
# Sums in brackets.
root ::= sum
sum  ::= term (" "? [-+*/] " "? term){0,3}
term ::= "(" sum ")" |
         [0-9]{1,3} | "\u03C0"
"""

DOUBLING = "".join(f"r{n} ::= r{n + 1} r{n + 1}\n" for n in range(4000))


@pytest.mark.parametrize(
    ("text", "whole"),
    [("1", True), ("(1+22) * 333", True), ("π/2", True), ("((((1))))", True), ("1+", False),
     ("1234", False), ("", False), ("(1", False), ("1+1+1+1+1", False)],
)  # fmt: skip
def test_a_text_is_followed_through_a_grammar(text: str, whole: bool) -> None:
    assert matches(read(ARITHMETIC), text) == whole


@pytest.mark.parametrize(
    ("grammar", "line", "said"),
    [
        ("", 0, "no rule called root"),
        ('answer ::= "yes"', 0, "no rule called root"),
        ('root ::= "yes', 1, "not closed"),
        ('root ::= "yes"\nroot ::= "no"', 2, "defined twice"),
        ('root ::=\n  "a" | b', 2, "The rule b is used but not defined"),
        ("root ::= [a-z", 1, "not closed"),
        ("root ::= [z-a]", 1, "backwards"),
        ("root ::= []", 1, "empty"),
        ('root ::= "\\q"', 1, "no escape \\q"),
        ('root ::= "\\x4"', 1, "2 hexadecimal digits"),
        ('root ::= "\\U00110000"', 1, "There is no character"),
        ('root ::= ("a"\n', 2, "not closed"),
        ('root ::= "a")', 1, "not go on with )"),
        ('root := "a"', 1, "::= was expected"),
        ("root ::= *", 1, "nothing before *"),
        ('root ::= "a"{3,1}', 1, "at least 3 and at most 1"),
        ('root ::= "a"{x}', 1, "A number was expected"),
        ('root ::= "a"{9999999999999}', 1, "more than 2000"),
        ('root ::= ("a"{1,50} "b"){0,50}', 1, "llama.cpp takes 2000"),
        ("root ::= <[5]>", 1, "only text"),
        ('root ::= "a" \x00', 1, "NUL"),
        ('root ::= root "a" | "b"', 1, "left recursion"),
        ('root ::= a\na ::= "x"? b\nb ::= a | "y"', 2, "left recursion"),
        ('root ::= ("a"?)*', 1, "may be empty"),
        ('root ::= "a" | b\nb ::= "c" b', 2, "never end"),
        ('root ::= "(" root ")"', 1, "never end"),
        ('root ::= ""', 1, "only the empty text"),
        ("root ::= " + "(" * 200 + '"a"' + ")" * 200, 1, "100 deep"),
        ('root ::= "' + "a" * LARGEST_TEXT + '"', 0, "characters"),
        ('root ::= "\\uD800"', 1, "There is no character"),
        ("root ::= [^\\x00-\\U0010FFFF]", 1, "empty"),
        ('root ::= a{2000}\na ::= b{2000}\nb ::= c{2000}\nc ::= "x"', 1, "more than 65536"),
        ("root ::= r0\n" + DOUBLING + 'r4000 ::= "x"', 1, "more than 65536"),
        ('root ::= "a" | b{99}\nb ::= "x"{2000}', 1, "more than 65536"),
        ('root ::= "a"' + "{1}" * 30_000, 1, "more than 20000 rules"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_wrong_grammar_is_refused_with_its_line(grammar: str, line: int, said: str) -> None:
    with pytest.raises(GrammarError) as caught:
        begin(grammar)
    assert said in str(caught.value)
    assert caught.value.line == line


def test_following_ends_where_a_text_can_be_read_in_too_many_ways() -> None:
    walk = begin('root ::= "a" root "b" | "a" root "c" | "a"')
    with pytest.raises(GrammarError, match="too many ways"):
        for _ in range(40):
            walk.take(b"a")
    assert walk.take(walk.closing().encode()) and walk.may_end


def test_bytes_are_followed_only_while_they_can_become_a_character_that_fits() -> None:
    walk = begin('root ::= [à-ö]{2} "日" [^a]*')
    assert walk.accepts("é".encode()[:1]) and not walk.accepts("日".encode()[:1])
    assert walk.take("éé".encode()) and walk.take("日".encode()[:2])
    assert not walk.may_end
    assert walk.closing() == "日"
    assert walk.take("日x".encode())
    for broken in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5", b"\xe0\x80", b"\x80", b"a"):
        assert not walk.accepts(broken)
    assert walk.may_end and not walk.must_end


def test_what_is_cut_is_closed_in_the_shortest_way() -> None:
    grammar = r"""
root ::= "{" pair ("," pair)* "}"
pair ::= "\"" [a-z]+ "\":" ("true" | [0-9]{2,4} | "[" pair "]")
"""
    for begun, closing in [
        ("", '{"a":00}'), ('{"a":1', "0}"), ('{"key', '":00}'), ('{"k":[', '"a":00]}'),
        ('{"k":t', "rue}"), ('{"k":12,', '"a":00}'), ('{"k":12}', ""),
    ]:  # fmt: skip
        walk = begin(grammar)
        assert walk.take(begun.encode())
        assert walk.closing() == closing
    assert walk.must_end


def test_a_text_may_nest_as_deeply_as_a_window_is_long() -> None:
    walk = begin('root ::= "(" root ")" | "x"')
    assert walk.take(b"(" * 20_000)
    assert walk.take(b"x") and len(walk.closing()) == 20_000


def test_many_repetitions_are_followed_as_fast_as_few() -> None:
    walk = begin(f'root ::= "\\"" [^"]{{0,{MOST_REPEATS}}} "\\""')
    assert walk.take(b'"' + b"a" * MOST_REPEATS)
    assert not walk.accepts(b"a")
    assert walk.take(b'"') and walk.must_end


@pytest.mark.parametrize(
    "rest", ['r{next} "b" | "c"', 'r{next}? "b"', '"a" r{next} | ""', "r{next}{{1}}"]
)
def test_rules_may_be_a_long_chain(rest: str) -> None:
    rules = [f"r{n} ::= " + rest.format(next=n + 1) for n in range(900)]
    walk = begin("\n".join(['root ::= "x" r0', *rules, 'r900 ::= "a" "x"{1,9}']))
    closing = walk.closing()
    assert closing.startswith("x") and walk.take(closing.encode()) and walk.may_end


def test_a_repeated_repetition_is_one_of_both() -> None:
    for grammar, good, bad in [
        ('root ::= "a"{2}{3}', "a" * 6, "a" * 5),
        ('root ::= "a"?{2,3}"b"', "aaab", "aaaab"),
        ('root ::= "ab"{1,2}?"c"', "ababc", "abababc"),
    ]:
        assert matches(read(grammar), good) and not matches(read(grammar), bad)


def test_a_long_answer_keeps_no_more_than_a_short_one() -> None:
    walk = begin('root ::= "[" text{0,2000} "]"\ntext ::= "\\"" [^"]{0,2000} "\\","')
    assert walk.take(b"[")
    for _ in range(40):
        assert walk.take(b'"' + b"a" * 1000 + b'",')
        assert not walk.accepts(b"b")
    assert len(walk._nodes) < 2 * MOST_NODES
    assert walk.closing() == "]"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(0, 60))
def test_whatever_is_drawn_from_a_grammar_is_of_it(seed: int, most: int) -> None:
    assert matches(read(ARITHMETIC), draw(ARITHMETIC, random.Random(seed), most))


@settings(max_examples=200, deadline=None)
@given(st.text('root:=ab"[]()|*?{}0,1\\#\n ^-.<', max_size=60))
def test_any_text_is_either_a_grammar_or_refused(text: str) -> None:
    try:
        walk = begin(f"root ::= {text}")
    except GrammarError:
        return
    assert walk.take(walk.closing().encode()) and walk.may_end
