"""What each type of a JSON schema becomes as grammar."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from corral.chat.grammar import numbers, pattern, spelling
from corral.chat.grammar.apart import SILENT, WORDS, Apart, Path, is_a, spelled
from corral.chat.grammar.errors import GrammarError
from corral.chat.grammar.forms import CHAR, FORMATS
from corral.chat.grammar.places import Step

LONGEST = 2_000
"""Of a text or a list, which is what llama.cpp takes."""


class Kinds(Apart):
    """The types; :class:`corral.chat.grammar.schema._Compiler` adds what joins them.

    Args:
        characters, items: limits where the schema has none.
    """

    def __init__(self, characters: int, items: int) -> None:
        self._characters = characters
        self._items = items
        self.rules: dict[str, str] = {"root": ""}
        self.notes: dict[str, str] = {}
        self.bounded = False
        """Whether a limit of ours was needed."""
        self._shared: dict[str, str] = {}

    @abstractmethod
    def fail(self, reason: str, path: Sequence[Step]) -> GrammarError: ...

    @abstractmethod
    def value(self, schema: Any, path: Path) -> str: ...

    def rule(self, name: str, body: str) -> str:
        """The name of a rule with this body; the same body is the same rule."""
        if body not in self._shared:
            self._shared[body] = own = f"{name}-{len(self.rules)}"
            self.rules[own] = body
        return self._shared[body]

    # --- which type it is -------------------------------------------------------------------------

    def plain(self, schema: dict[str, Any], path: Path) -> str:
        """A schema without references and choices."""
        if "enum" in schema or "const" in schema:
            return self._values(schema, path)
        names = [self._typed(one, schema, path) for one in self.types(schema, path)]
        if len(names) == 1:
            return names[0]
        # A whole number is a number, too.
        return self.rule("choice", " | ".join(dict.fromkeys(names)))

    def types(self, schema: dict[str, Any], path: Path) -> list[str]:
        """The types a schema allows; by its keywords where it names none."""
        named = schema.get("type")
        if named is None:
            named = next((one for one, words in WORDS.items() if words & schema.keys()), None)
            if named is None:
                self.refuse_others(schema, set(), path)
                return ["string", "number", "boolean", "null"]
        found = named if isinstance(named, list) else [named]
        for one in found:
            if not isinstance(one, str) or one not in WORDS:
                raise self.fail(f"There is no type {json.dumps(one, default=str)}", (*path, "type"))
        if not found:
            raise self.fail("It allows nothing", (*path, "type"))
        words = frozenset().union(*(WORDS[one] for one in found))
        self.refuse_others(schema, words | {"type"}, path)
        return found

    def _typed(self, kind: str, schema: dict[str, Any], path: Path) -> str:
        try:
            match kind:
                case "object":
                    return self._object(schema, path)
                case "array":
                    return self._array(schema, path)
                case "string":
                    return self._string(schema, path)
                case "number" | "integer":
                    return self._number(kind, schema, path)
                case "boolean":
                    return self.rule("boolean", '"true" | "false"')
            return self.rule("null", '"null"')
        except GrammarError:
            raise
        except ValueError as error:
            raise self.fail(f"It allows nothing: {error}", path) from None

    def anything(self) -> str:
        """Any value that holds no other one."""
        names = [self._typed(kind, {}, ()) for kind in ("string", "number", "boolean", "null")]
        return self.rule("any", " | ".join(names))

    def says_something(self, schema: dict[str, Any]) -> bool:
        return bool(schema.keys() - SILENT)

    def refuse_others(
        self, schema: dict[str, Any], known: set[str] | frozenset[str], path: Path, where: str = ""
    ) -> None:
        """A keyword that cannot be enforced must not be ignored."""
        for word in schema:
            if word not in SILENT and word not in known:
                reason = f"{word} is not supported {where}".strip()
                if any(word in words for words in WORDS.values()) and not where:
                    reason = f"{word} says nothing about this type"
                raise self.fail(reason, (*path, word))

    # --- values that are written out --------------------------------------------------------------

    def _values(self, schema: dict[str, Any], path: Path) -> str:
        word = "enum" if "enum" in schema else "const"
        self.refuse_others(schema, {word, "type"}, path, f"beside {word}")
        values = schema["enum"] if word == "enum" else [schema["const"]]
        if not isinstance(values, list) or not values:
            raise self.fail("enum is a list of values", (*path, word))
        if "type" in schema:
            allowed = self.types({"type": schema["type"]}, path)
            values = [one for one in values if any(is_a(kind, one) for kind in allowed)]
        if not values:
            raise self.fail("None of the values has this type, so it allows nothing", (*path, word))
        texts = [spelled(one) for one in values]
        return self.rule("value", " | ".join(map(spelling.literal, dict.fromkeys(texts))))

    # --- texts and numbers ------------------------------------------------------------------------

    def _string(self, schema: dict[str, Any], path: Path) -> str:
        lengths = schema.keys() & {"minLength", "maxLength"}
        form = schema.get("format")
        if form is not None and not isinstance(form, str):
            raise self.fail("format is a text", (*path, "format"))
        if form is not None and form not in FORMATS:
            shown = json.dumps(form, default=str)
            self.notes[f"format {shown}"] = f"The format {shown} is not enforced"
            form = None
        if form is not None or "pattern" in schema:
            word = "pattern" if "pattern" in schema else "format"
            if lengths or (form is not None and "pattern" in schema):
                other = next(iter(sorted(lengths)), "format")
                raise self.fail(f"{other} beside {word} is not supported", (*path, other))
            return self.rule("string", f'"\\"" ({self._form(schema, form, path)}) "\\""')
        least, most = self._sizes(schema, "minLength", "maxLength", self._characters, path)
        char = self.rule("char", CHAR)
        return self.rule("string", f'"\\"" {char}{{{least},{most}}} "\\""')

    def _form(self, schema: dict[str, Any], form: str | None, path: Path) -> str:
        if form is not None:
            return FORMATS[form]
        text = schema["pattern"]
        if not isinstance(text, str):
            raise self.fail("pattern is a text", (*path, "pattern"))
        try:
            found = pattern.grammar(text)
        except ValueError as error:
            raise self.fail(f"This pattern is too much: {error}", (*path, "pattern")) from None
        return found

    def _sizes(
        self, schema: dict[str, Any], first: str, last: str, limit: int, path: Path
    ) -> tuple[int, int]:
        """How few and how many there may be."""
        for word in (first, last):
            size = schema.get(word, 0)
            if isinstance(size, bool) or not isinstance(size, int) or size < 0:
                raise self.fail(f"{word} is a whole number, not below 0", (*path, word))
        least, most = schema.get(first, 0), schema.get(last)
        if least > LONGEST:
            raise self.fail(f"{first} is more than {LONGEST}", (*path, first))
        if most is None or most > max(limit, LONGEST):
            self.bounded = True
            most = max(limit, least)
        if most < least:
            raise self.fail(f"It allows nothing: {last} is below {first}", (*path, last))
        return least, most

    def _number(self, kind: str, schema: dict[str, Any], path: Path) -> str:
        if "multipleOf" in schema and not (kind == "integer" and schema["multipleOf"] == 1):
            raise self.fail("multipleOf is not supported", (*path, "multipleOf"))
        step = Decimal(1) if kind == "integer" else Decimal(10) ** -numbers.DECIMALS
        low = self._limit(schema, "minimum", "exclusiveMinimum", step, path)
        high = self._limit(schema, "maximum", "exclusiveMaximum", -step, path)
        if kind == "number":
            return self.rule("number", numbers.decimal(low, high))
        least = None if low is None else -int((-low).to_integral_value("ROUND_FLOOR"))
        most = None if high is None else int(high.to_integral_value("ROUND_FLOOR"))
        return self.rule("integer", numbers.whole(least, most))

    def _limit(
        self, schema: dict[str, Any], word: str, exclusive: str, step: Decimal, path: Path
    ) -> Decimal | None:
        found = []
        for name in (word, exclusive):
            if name not in schema:
                continue
            value = schema[name]
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                raise self.fail(f"{name} is a number", (*path, name))
            try:
                value = Decimal(value)
                if abs(value) > 10**18 or value != round(value, 12):
                    raise ValueError
            except (ValueError, ArithmeticError):
                raise self.fail(f"{name} has too many digits", (*path, name)) from None
            if name == exclusive:
                whole = value == value.to_integral_value() or abs(step) < 1
                # Over a limit between two whole numbers is the next of them anyway.
                value = value + step if whole else value
            found.append(value)
        if not found:
            return None
        return max(found) if step > 0 else min(found)

    # --- lists and objects ------------------------------------------------------------------------

    def _array(self, schema: dict[str, Any], path: Path) -> str:
        if schema.get("uniqueItems"):
            raise self.fail("uniqueItems is not supported", (*path, "uniqueItems"))
        first = schema.get("prefixItems", [])
        if not isinstance(first, list):
            raise self.fail("prefixItems is a list of schemas", (*path, "prefixItems"))
        least, most = self._sizes(schema, "minItems", "maxItems", self._items, path)
        items = schema.get("items", True)
        if most < len(first):
            raise self.fail("maxItems is below the number of prefixItems", (*path, "maxItems"))
        fixed = [self.value(one, (*path, "prefixItems", n)) for n, one in enumerate(first)]
        if items is False and least > len(first):
            raise self.fail("It allows nothing: there are not so many items", (*path, "minItems"))
        comma = self.comma()
        inner = f" {comma} ".join(fixed)
        least, most = max(0, least - len(fixed)), most - len(fixed)
        if items is not False and most > 0:
            one = self.value(items, (*path, "items"))
            if fixed:
                inner += f" ({comma} {one}){{{least},{most}}}"
            else:
                more = f"{one} ({comma} {one}){{{max(0, least - 1)},{most - 1}}}"
                inner = more if least else f"({more})?"
        return self.rule("array", f'"[" {inner} "]"')

    def comma(self) -> str:
        return self.rule("comma", '"," " "?')

    def _member(self, name: str, value: str) -> str:
        return f'{spelling.literal(spelled(name))} ":" " "? {value}'

    def _object(self, schema: dict[str, Any], path: Path) -> str:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not isinstance(properties, dict):
            raise self.fail("properties is an object of schemas", (*path, "properties"))
        if not isinstance(required, list) or not all(isinstance(one, str) for one in required):
            raise self.fail("required is a list of names", (*path, "required"))
        others = schema.get("additionalProperties", True)
        if not properties and not required:
            return self._map(schema, others, path)
        missing = [name for name in dict.fromkeys(required) if name not in properties]
        if missing and others is False:
            raise self.fail(
                f"It allows nothing: {missing[0]} is required and not one of the properties",
                (*path, "required"),
            )
        self._refuse_counts(schema, len(set(required)), len({*properties, *required}), path)
        members = [
            (self._member(name, self.value(one, (*path, "properties", name))), name in required)
            for name, one in properties.items()
            if name in required or one is not False
        ]
        rest = (*path, "additionalProperties") if "additionalProperties" in schema else path
        members += [(self._member(name, self.value(others, rest)), True) for name in missing]
        return self.rule("object", f'"{{" {self._members(members)} "}}"')

    def _members(self, members: list[tuple[str, bool]]) -> str:
        """From the last one to the first: those that may be missing take their comma away."""
        after = first = '""'
        for text, required in reversed(members):
            whole, begun = f"{self.comma()} {text}", text
            if required:
                after, first = f"{whole} {after}", f"{begun} {after}"
                continue
            after, first = self._whole("more", after), self._whole("members", first)
            after, first = (
                self.rule("more", f"{whole} {after} | {after}"),
                self.rule("members", f"{begun} {after} | {first}"),
            )
        return first

    def _whole(self, name: str, sequence: str) -> str:
        """A sequence as one word: a rule, where it is not one already."""
        return self.rule(name, sequence) if " " in sequence else sequence

    def _refuse_counts(self, schema: dict[str, Any], least: int, most: int, path: Path) -> None:
        for word in ("minProperties", "maxProperties"):
            self._sizes({word: schema.get(word, 0)}, word, word, LONGEST, path)
        if schema.get("minProperties", 0) > least:
            raise self.fail("minProperties is supported without properties only",
                            (*path, "minProperties"))  # fmt: skip
        if schema.get("maxProperties", most) < most:
            raise self.fail("maxProperties is supported without properties only",
                            (*path, "maxProperties"))  # fmt: skip

    def _map(self, schema: dict[str, Any], others: Any, path: Path) -> str:
        """An object whose properties have any name: short ones, each with a number before it."""
        least, most = self._sizes(schema, "minProperties", "maxProperties", self._items, path)
        if others is False or most == 0:
            if least:
                raise self.fail("It allows nothing: no property is allowed", path)
            return self.rule("object", '"{}"')
        if least > 1:
            # Names of which two are the same would be one property.
            raise self.fail("minProperties above 1 is not supported", (*path, "minProperties"))
        value = self.value(others, (*path, "additionalProperties") if others is not True else path)
        key = self.rule("key", '"\\"" [A-Za-z_] [A-Za-z0-9_ -]{0,31} "\\""')
        member = self.rule("member", f'{key} ":" " "? {value}')
        inner = f"{member} ({self.comma()} {member}){{0,{most - 1}}}"
        return self.rule("object", f'"{{" {inner if least else f"({inner})?"} "}}"')
