"""JSON schema to grammar: the common subset, with everything bounded so that an answer ends.

What a grammar made here allows is never more than the schema allows, and often less: no white
space but one space after a comma and a colon, properties in the order of the schema, and no
property that the schema does not name where it names any. What a schema leaves without a limit
gets one: see :class:`Bounds`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from corral.chat.grammar import gbnf, places
from corral.chat.grammar.errors import GrammarError
from corral.chat.grammar.kinds import Kinds
from corral.chat.grammar.places import Step
from corral.chat.grammar.symbols import Grammar, Ref, Repeat, Symbol

LARGEST_TEXT = 64 * 1024
"""Characters of a schema."""
DEEPEST_TEXT = 150
"""Lists and objects inside of each other."""
DEEPEST = 80
"""Values inside of each other, references followed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits where a schema has none."""

    characters: int = 400
    """Of a text."""
    items: int = 16
    """Of a list, and of an object whose properties have no names in the schema."""


LADDER = (Bounds(), Bounds(200, 12), Bounds(100, 8), Bounds(50, 6), Bounds(24, 4), Bounds(12, 2))
"""From the widest to the tightest: the first that fits an answer's tokens is taken."""
CHARACTERS_PER_TOKEN = 3
"""What an answer's tokens hold; careful, as English has more."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a schema became."""

    grammar: str
    notes: tuple[str, ...] = ()
    """What is not as the schema has it, in plain sentences: limits, formats that are ignored."""


def compile_schema(text: str, *, max_tokens: int = 0) -> Compiled:
    """The grammar of a schema's text.

    Args:
        max_tokens: what the answer may have; texts and lists without a limit of their own become
            shorter, so that it can be whole. 0 is no limit.

    Raises:
        GrammarError: the text is no JSON, or the schema says more than can be enforced, recurses,
            or allows nothing. ``where`` is the path.
    """
    schema = _loaded(text)
    found: list[tuple[int, _Compiler]] = []
    for bounds in LADDER:
        compiler = _Compiler(text, schema, bounds)
        length = longest(compiler.grammar())
        if not max_tokens or length <= max_tokens * CHARACTERS_PER_TOKEN:
            return compiler.compiled()
        found.append((length, compiler))
        if not compiler.bounded:
            break  # Nothing here follows the limits.
    _, tightest = min(found, key=lambda one: one[0])
    tightest.notes["length"] = (
        f"An answer can have more characters than {max_tokens} tokens may hold; "
        "one that is too long is closed early"
    )
    return tightest.compiled()


def longest(grammar: Grammar) -> int:
    """Characters of the longest text of a grammar without recursion and endless repetition."""
    known: dict[str, int] = {}

    def of(symbol: Symbol) -> int:
        if isinstance(symbol, Repeat):
            return of(symbol.symbol) * symbol.most
        return known[symbol.rule] if isinstance(symbol, Ref) else 1

    open_ = [grammar.root]
    while open_:
        alternates = grammar.rules[open_[-1]]
        missing = [
            symbol.rule
            for sequence in alternates
            for one in sequence
            if isinstance(symbol := one.symbol if isinstance(one, Repeat) else one, Ref)
            and symbol.rule not in known
        ]
        if not missing:
            known[open_.pop()] = max(sum(map(of, sequence)) for sequence in alternates)
        open_ += missing
    return known[grammar.root]


def _loaded(text: str) -> Any:
    if len(text) > LARGEST_TEXT:
        raise GrammarError(f"It has {len(text)} characters, more than {LARGEST_TEXT}")
    deep = "It is nested too deeply, or has a number that is too long"

    def refuse(constant: str) -> Any:
        raise GrammarError(f"{constant} is no JSON value")

    try:
        schema = json.loads(text, parse_constant=refuse, parse_float=Decimal)
    except json.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:]
        raise GrammarError(f"It is not JSON: {reason}", line=error.lineno,
                           where=f"column {error.colno}") from None  # fmt: skip
    except GrammarError:
        raise
    except (RecursionError, ValueError):
        raise GrammarError(deep) from None
    level = [schema]
    for _ in range(DEEPEST_TEXT):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    if level:
        raise GrammarError(deep)
    return schema


class _Compiler(Kinds):
    """Rules under way. Every value is a rule of its own: llama.cpp counts what a group repeats."""

    def __init__(self, text: str, schema: Any, bounds: Bounds) -> None:
        super().__init__(bounds.characters, bounds.items)
        self._text = text
        self._schema = schema
        self._bounds = bounds
        self._deep = 0
        self._open: list[str] = []
        """References on the way to here."""
        self._known: dict[str, str] = {}

    def grammar(self) -> Grammar:
        """Make all rules.

        Raises:
            GrammarError: the schema cannot be used.
        """
        self.rules["root"] = self.value(self._schema, ())
        try:
            return gbnf.read(self._lines())
        except GrammarError as error:
            raise GrammarError(f"It is too large: {error.reason}") from None

    def compiled(self) -> Compiled:
        """What the rules are, and what of them is not as the schema has it."""
        notes = [*self.notes.values()]
        if self.bounded:
            notes.insert(0,
                f"What the schema leaves open is limited: texts to {self._bounds.characters} "
                f"characters, lists to {self._bounds.items} items"
            )  # fmt: skip
        return Compiled(self._lines(), tuple(notes))

    def _lines(self) -> str:
        return "\n".join(f"{name} ::= {body}" for name, body in self.rules.items())

    def fail(self, reason: str, path: Sequence[Step]) -> GrammarError:
        where = "the schema"
        if path:
            where = ".".join(map(str, path))
        return GrammarError(reason, line=places.line_of(self._text, path), where=where)

    def value(self, schema: Any, path: tuple[Step, ...]) -> str:
        """The name of the rule of one value."""
        self._deep += 1
        if self._deep > DEEPEST:
            raise self.fail("It is nested too deeply", path[:8])
        name = self._value(schema, path)
        self._deep -= 1
        return name

    def _value(self, schema: Any, path: tuple[Step, ...]) -> str:
        if schema is True or schema == {}:
            return self.anything()
        if schema is False:
            raise self.fail("It allows nothing", path)
        if not isinstance(schema, dict):
            raise self.fail("A schema is an object, true or false", path)
        if "$ref" in schema:
            return self._reference(schema, path)
        for word in ("anyOf", "oneOf", "allOf"):
            if word in schema:
                return self._choice(word, schema, path)
        return self.plain(schema, path)

    def _reference(self, schema: dict[str, Any], path: tuple[Step, ...]) -> str:
        self.refuse_others(schema, {"$ref"}, path, "beside $ref")
        target, here = schema["$ref"], (*path, "$ref")
        if not isinstance(target, str):
            raise self.fail("$ref is a text such as #/$defs/name", here)
        if target in self._open:
            way = " → ".join([*self._open[self._open.index(target) :], target])
            raise self.fail(f"It refers to itself: {way}; recursion has no end", here)
        if target not in self._known:
            found, steps = self.resolve(target, here)
            self._open.append(target)
            self._known[target] = self.value(found, steps)
            self._open.pop()
        return self._known[target]

    def resolve(self, target: Any, path: tuple[Step, ...]) -> tuple[Any, tuple[Step, ...]]:
        """What a reference points to, and where that is."""
        if not isinstance(target, str) or not target.startswith("#"):
            raise self.fail("Only references inside of the schema, such as #/$defs/name", path)
        steps: list[Step] = []
        found = self._schema
        for part in target[1:].split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            try:
                step: Step = int(part) if isinstance(found, list) and part.isdecimal() else part
                found = found[step]
            except (KeyError, IndexError, TypeError, ValueError):
                raise self.fail(f"{target} is not in the schema", path) from None
            steps.append(step)
        if target != "#" and not target.startswith("#/"):
            raise self.fail(f"{target} is not in the schema", path)
        if not target[1:] and not self._open:
            raise self.fail("It refers to itself: # is the whole schema", path)
        return found, tuple(steps)

    def _choice(self, word: str, schema: dict[str, Any], path: tuple[Step, ...]) -> str:
        choices = schema[word]
        rest = {key: value for key, value in schema.items() if key != word}
        if not isinstance(choices, list) or not choices:
            raise self.fail(f"{word} is a list of schemas", (*path, word))
        if word == "allOf" and len(choices) > 1:
            raise self.fail("allOf with more than one schema is not supported", (*path, word))
        names, merged = [], []
        for number, choice in enumerate(choices):
            here = (*path, word, number)
            # What stands beside holds for each of them.
            if self.says_something(rest):
                if not isinstance(choice, dict) or "$ref" in choice or choice.keys() & rest.keys():
                    raise self.fail(f"{word} beside other keywords is not supported", here)
                choice = rest | choice
            merged.append(choice)
            names.append(self.value(choice, here))
        if word == "oneOf":
            for number, one in enumerate(merged):
                for other in merged[:number]:
                    if not self.disjoint(one, other):
                        raise self.fail(
                            "A value could match two of them, and oneOf forbids that; say anyOf",
                            (*path, word, number),
                        )
        return self.rule("choice", " | ".join(dict.fromkeys(names)))
