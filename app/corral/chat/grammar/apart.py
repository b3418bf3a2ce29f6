"""What a JSON schema's words are about, and whether two schemas can match the same value."""

from __future__ import annotations

import json
from abc import abstractmethod
from decimal import Decimal
from typing import Any

from corral.chat.grammar.places import Step

Path = tuple[Step, ...]

SILENT = frozenset(
    ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly")
) | {"$schema", "$id", "$comment", "$defs", "definitions"}
"""Keywords that forbid nothing."""
WORDS: dict[str, frozenset[str]] = {
    "object": frozenset(
        ("properties", "required", "additionalProperties", "minProperties", "maxProperties")
    ),
    "array": frozenset(("items", "prefixItems", "minItems", "maxItems", "uniqueItems")),
    "string": frozenset(("minLength", "maxLength", "pattern", "format")),
    "number": frozenset(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    ),
    "integer": frozenset(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    ),
    "boolean": frozenset(),
    "null": frozenset(),
}
"""Keywords by the type that they are about."""


MOST_COMPARED = 50_000
"""Pairs of schemas that are looked at."""


class Apart:
    """Tells schemas apart."""

    compared = 0
    """Pairs so far."""

    @abstractmethod
    def resolve(self, target: Any, path: Path) -> tuple[Any, Path]:
        """What a reference points to, and where that is."""

    def disjoint(self, one: Any, other: Any) -> bool:
        """Whether it is certain that no value matches both.

        After :data:`MOST_COMPARED` pairs nothing is.
        """
        self.compared += 1
        if self.compared > MOST_COMPARED:
            return False
        one, other = self._followed(one), self._followed(other)
        if not isinstance(one, dict) or not isinstance(other, dict):
            return False
        first, second = _listed(one), _listed(other)
        if first is not None and second is not None:
            return not {*map(_identity, first)} & {*map(_identity, second)}
        if {"anyOf", "oneOf", "allOf"} & {*one, *other}:
            return False
        kinds = [self._kinds(schema) for schema in (one, other)]
        if not kinds[0] & kinds[1]:
            return True
        both = list(zip(kinds, (one, other), strict=True))
        if all(
            kind == {"object"} or ("properties" in schema and schema.get("type") is None)
            for kind, schema in both
        ):
            # What is made of them are objects, whatever else they would let through.
            names = {*one.get("required", ())} & {*other.get("required", ())}
            these, those = one.get("properties", {}), other.get("properties", {})
            return any(
                self.disjoint(these[name], those[name])
                for name in names
                if name in these and name in those
            )
        return False

    def _followed(self, schema: Any) -> Any:
        for _ in range(20):
            if not isinstance(schema, dict) or "$ref" not in schema:
                break
            schema, _ = self.resolve(schema["$ref"], ())
        return schema

    def _kinds(self, schema: dict[str, Any]) -> set[str]:
        listed = _listed(schema)
        if listed is not None:
            return {kind for value in listed for kind in WORDS if is_a(kind, value)} - {"integer"}
        kinds = schema.get("type") or [*WORDS]
        # A whole number is a number, too.
        named = {*kinds} if isinstance(kinds, list) else {kinds}
        return {"number" if kind == "integer" else kind for kind in named}


def _listed(schema: dict[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    found = schema.get("enum")
    return found if isinstance(found, list) else None


def is_a(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "number":
            return isinstance(value, int | Decimal)
        case "integer":
            if isinstance(value, Decimal):
                return value == value.to_integral_value()
            return isinstance(value, int)
    return kind == "null" and value is None


def _identity(value: Any) -> Any:
    """The same for what JSON schema calls equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return "object", frozenset((key, _identity(one)) for key, one in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_identity, value))
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return type(value).__name__, value
    return "number", Decimal(value)


def spelled(value: Any) -> str:
    """A JSON value as an answer has it; numbers as the schema spells them."""
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{spelled(key)}: {spelled(one)}" for key, one in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(spelled, value)) + "]"
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=not _plain(value))


def _plain(value: Any) -> bool:
    """Whether no character of a text needs an escape: surrogates alone, separators."""
    return not isinstance(value, str) or all(char.isprintable() for char in value)
