"""A plain validator for the schemas of the tests, independent of corral's own reading."""

from __future__ import annotations

import datetime
import re
import uuid
from typing import Any

TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def satisfies(value: Any, schema: Any, root: Any = None) -> bool:
    """Whether a value that ``json.loads`` gave is what a schema allows."""
    root = schema if root is None else root
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema:
        target = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return satisfies(value, target, root)
    checks = (_type, _values, _string, _number, _array, _object)
    if not all(check(value, schema, root) for check in checks):
        return False
    if "anyOf" in schema and not any(satisfies(value, one, root) for one in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(satisfies(value, one, root) for one in schema["oneOf"]) != 1:
        return False
    return all(satisfies(value, one, root) for one in schema.get("allOf", []))


def _type(value: Any, schema: Any, root: Any) -> bool:
    named = schema.get("type")
    if named is None:
        return True

    def fits(kind: str) -> bool:
        if isinstance(value, bool):
            return kind == "boolean"
        if kind == "integer":
            return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return isinstance(value, TYPES[kind])

    return any(map(fits, named if isinstance(named, list) else [named]))


def _values(value: Any, schema: Any, root: Any) -> bool:
    def same(one: Any) -> bool:
        return one == value and isinstance(one, bool) == isinstance(value, bool)

    if "enum" in schema and not any(map(same, schema["enum"])):
        return False
    return "const" not in schema or same(schema["const"])


def _string(value: Any, schema: Any, root: Any) -> bool:
    if not isinstance(value, str):
        return True
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1 << 60):
        return False
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return False
    try:
        match schema.get("format"):
            case "date":
                datetime.date.fromisoformat(value)
            case "time":
                datetime.time.fromisoformat(value)
            case "date-time":
                datetime.datetime.fromisoformat(value)
            case "uuid":
                return str(uuid.UUID(value)) == value
    except ValueError:
        return False
    return True


def _number(value: Any, schema: Any, root: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return (
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
    )


def _array(value: Any, schema: Any, root: Any) -> bool:
    if not isinstance(value, list):
        return True
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1 << 60):
        return False
    first = schema.get("prefixItems", [])
    rest = schema.get("items", True)
    return all(
        satisfies(one, first[number] if number < len(first) else rest, root)
        for number, one in enumerate(value)
    )


def _object(value: Any, schema: Any, root: Any) -> bool:
    if not isinstance(value, dict):
        return True
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", 1 << 60):
        return False
    return all(name in value for name in schema.get("required", [])) and all(
        satisfies(one, known.get(name, others), root) for name, one in value.items()
    )
