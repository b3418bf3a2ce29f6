"""Presets: personas and tasks, each a small TOML file that a person can read and write.

A persona is a system prompt. A task also frames what a person sends, may show examples of good
answers, and may have a form that every answer follows: labels, a JSON schema or a grammar.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from corral.chat.formats import Turn
from corral.chat.grammar.errors import GrammarError

Kind = Literal["persona", "task"]
Answer = Literal["text", "label", "schema", "grammar"]

LARGEST = 256 * 1024
"""Characters of a file."""
MOST_LABELS = 200
LONGEST_LABEL = 120

_KEYS: dict[str, type] = {
    "title": str,
    "text": str,
    "system": str,
    "template": str,
    "answer": str,
    "labels": list,
    "grammar": str,
    "schema": dict,
    "note": str,
    "experimental": bool,
    "parameters": dict,
    "examples": list,
}
_QUOTES = ('"""', "'''")
_NAMES = {str: "a text", list: "a list", dict: "a table", bool: "true or false"}


class PresetError(ValueError):
    """A file that is no preset: the line, the key, and the reason in one plain sentence."""

    def __init__(self, reason: str, *, key: str = "", line: int = 0) -> None:
        self.reason, self.key, self.line = reason, key, line
        place = ", ".join(filter(None, [f"line {line}" if line else "", key and f"key {key}"]))
        super().__init__(f"{place}: {reason}" if place else reason)


class Example(NamedTuple):
    """One exchange as it should be."""

    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Preset:
    """One of them."""

    name: str
    title: str
    text: str = ""
    """What it does, in one line."""
    system: str = ""
    template: str = ""
    """What the model sees of a message: ``{text}`` is the message, ``{labels}`` the labels."""
    answer: Answer = "text"
    labels: tuple[str, ...] = ()
    """What an answer can be, where ``answer`` is ``label``."""
    schema: str = ""
    grammar: str = ""
    note: str = ""
    """What a person should know before relying on it."""
    experimental: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    own: bool = False
    """Whether it is a person's own file."""
    path: str = ""

    @property
    def kind(self) -> Kind:
        return "task" if self.template or self.examples or self.answer != "text" else "persona"

    @property
    def wants_labels(self) -> bool:
        """Whether it cannot be used before somebody says which labels there are."""
        return self.answer == "label" and not self.labels

    def with_labels(self, labels: Sequence[str]) -> Preset:
        """The same with other labels.

        Raises:
            PresetError: it takes none, or they cannot be told apart.
        """
        if self.answer != "label":
            raise PresetError(f"{self.name} takes no labels")
        if not self.labels or set(labels) == set(self.labels):
            return replace(self, labels=checked_labels(labels))
        # Examples for other labels would be wrong ones.
        return replace(self, labels=checked_labels(labels), examples=())

    def form(self, max_tokens: int = 0) -> tuple[str, tuple[str, ...]]:
        """The grammar of its answers, "" for none, and what of it is not as it was asked for.

        Raises:
            GrammarError: there is none.
        """
        match self.answer:
            case "label":
                return label_grammar(self.labels), ()
            case "schema":
                # Only who needs a form pays for reading grammars.
                from corral.chat.grammar.schema import compile_schema

                compiled = compile_schema(self.schema, max_tokens=max_tokens)
                return compiled.grammar, compiled.notes
            case "grammar":
                return self.grammar, ()
        return "", ()

    def framed(self, dialogue: Sequence[Turn]) -> list[Turn]:
        """The exchanges as the model sees them: the examples first, every message framed."""
        shown = [Turn(self._frame(one.text), one.answer, 0) for one in self.examples]
        return shown + [turn._replace(user=self._frame(turn.user)) for turn in dialogue]

    def _frame(self, text: str) -> str:
        if not self.template:
            return text
        # The message last: what it holds is not looked at for places to fill.
        before, place, after = self.template.partition("{text}")
        labels = ", ".join(self.labels)
        whole = before.replace("{labels}", labels)
        return whole + text + after.replace("{labels}", labels) if place else f"{whole}\n\n{text}"


def label_grammar(labels: Sequence[str]) -> str:
    """One of the labels, and nothing else."""
    from corral.chat.grammar.spelling import literal

    return "root ::= " + " | ".join(map(literal, labels))


def checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels without spaces around them, each once.

    Raises:
        PresetError: there are none, too many, or one that is empty or too long.
    """
    found = tuple(dict.fromkeys(label.strip() for label in labels))
    if not found:
        raise PresetError("At least one label is needed")
    if len(found) > MOST_LABELS:
        raise PresetError(f"There are {len(found)} labels, more than {MOST_LABELS}")
    for label in found:
        if not label:
            raise PresetError("A label is empty")
        if len(label) > LONGEST_LABEL or not label.isprintable():
            raise PresetError(
                f"A label is one line of at most {LONGEST_LABEL} characters, not {label[:40]!r}"
            )
    return found


# --- reading --------------------------------------------------------------------------------------

Check = Callable[[Mapping[str, Any]], tuple[str, str] | None]
"""Gives the name of a parameter that is wrong, and why."""


def parse(
    name: str, text: str, *, check: Check = lambda _: None, own: bool = False, path: str = ""
) -> Preset:
    """The preset of a file.

    Args:
        name: of the file, without its ending.
        check: looks at the parameters, which belong to the engine.

    Raises:
        PresetError: something is wrong with it.
    """
    if len(text) > LARGEST:
        raise PresetError(f"It has more than {LARGEST // 1024} KB")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _no_toml(str(error), text) from None
    except (RecursionError, ValueError):
        raise PresetError("It is nested too deeply, or has a number that is too long") from None
    return _Checking(name, text, values, check).preset(own=own, path=path)


def _no_toml(said: str, text: str) -> PresetError:
    reason, _, place = said.partition(" (at ")
    digits = place.removeprefix("line ").partition(",")[0]
    line = int(digits) if digits.isdecimal() else text.count("\n") + 1
    return PresetError(f"It is not valid TOML: {reason[:1].lower()}{reason[1:]}", line=line)


class _Checking:
    """Looks at one file's values."""

    def __init__(self, name: str, text: str, values: dict[str, Any], check: Check) -> None:
        self._name = name
        self._text = text
        self._values = values
        self._check = check

    def fail(self, key: str, reason: str) -> PresetError:
        return PresetError(reason, key=key, line=_line_of(self._text, key))

    def preset(self, *, own: bool, path: str) -> Preset:
        values = self._values
        for key, value in values.items():
            if key not in _KEYS:
                raise self.fail(key, "There is no such key")
            if not isinstance(value, _KEYS[key]):
                raise self.fail(key, f"This is {_NAMES[_KEYS[key]]}")
        answer = self._answer()
        labels = values.get("labels", [])
        if not all(isinstance(label, str) for label in labels):
            raise self.fail("labels", "Every label is a text")
        try:
            found = Preset(
                name=self._name,
                title=values.get("title") or self._name.replace("-", " ").capitalize(),
                text=" ".join(values.get("text", "").split()),
                system=values.get("system", "").strip(),
                template=values.get("template", "").strip(),
                answer=answer,
                labels=checked_labels(labels) if labels else (),
                schema=self._schema(),
                grammar=values.get("grammar", ""),
                note=" ".join(values.get("note", "").split()),
                experimental=values.get("experimental", False),
                parameters=self._parameters(),
                examples=self._examples(),
                own=own,
                path=path,
            )
        except PresetError as error:
            raise error if error.key else self.fail("labels", error.reason) from None
        self._check_form(found)
        return found

    def _answer(self) -> Answer:
        values = self._values
        forms = [key for key in ("labels", "schema", "grammar") if values.get(key)]
        if len(forms) > 1:
            raise self.fail(forms[1], f"An answer has one form, and {forms[0]} is one already")
        usual = {"labels": "label", "schema": "schema", "grammar": "grammar"}
        answer = values.get("answer", usual[forms[0]] if forms else "text")
        if answer not in ("text", "label", "schema", "grammar"):
            raise self.fail("answer", "This is text, label, schema or grammar")
        if answer in ("schema", "grammar") and answer not in forms:
            raise self.fail("answer", f"There is no {answer}")
        if forms and usual[forms[0]] != answer:
            raise self.fail(forms[0], f"The answer is {answer}, so this says nothing")
        found: Answer = answer
        return found

    def _schema(self) -> str:
        if not self._values.get("schema"):
            return ""
        try:
            return json.dumps(self._values["schema"], ensure_ascii=False)
        except (TypeError, ValueError):
            raise self.fail("schema", "Dates and times are no JSON") from None

    def _parameters(self) -> dict[str, Any]:
        parameters = self._values.get("parameters", {})
        wrong = self._check(parameters)
        if wrong is not None:
            raise self.fail(f"parameters.{wrong[0]}", wrong[1])
        return dict(parameters)

    def _examples(self) -> tuple[Example, ...]:
        found = []
        for number, one in enumerate(self._values.get("examples", [])):
            key = f"examples.{number}"
            if not isinstance(one, dict) or one.keys() != {"text", "answer"}:
                raise self.fail(key, "An example has a text and an answer, nothing else")
            if not all(isinstance(value, str) and value.strip() for value in one.values()):
                raise self.fail(key, "The text and the answer of an example are texts")
            found.append(Example(one["text"].strip(), one["answer"].strip()))
        return tuple(found)

    def _check_form(self, preset: Preset) -> None:
        key = {"label": "labels"}.get(preset.answer, preset.answer)
        if preset.wants_labels or preset.answer == "text":
            return
        from corral.chat.grammar.walk import begin

        try:
            begin(preset.form()[0])
        except GrammarError as error:
            where = f"{error.where}: " if error.where else ""
            if preset.answer == "grammar":
                line = _line_of(self._text, key)
                value = self._text.split("\n")[line - 1].partition("=")[2].strip()
                if value.startswith(_QUOTES):
                    # TOML does not count a line break right behind the quotes.
                    line += error.line - (value not in _QUOTES)
                raise PresetError(f"{where}{error.reason}", key=key, line=line) from None
            full = "schema" if error.where in ("", "the schema") else f"schema.{error.where}"
            raise PresetError(error.reason, key=full, line=_line_of(self._text, full)) from None
        for number, example in enumerate(preset.examples):
            walk = begin(preset.form()[0])
            if not (walk.take(example.answer.encode()) and walk.may_end):
                raise self.fail(f"examples.{number}", "Its answer does not have the form")


def _line_of(text: str, key: str) -> int:
    """The line where a key is set, or the deepest of the tables that hold it; 1 for none."""
    wanted = key.split(".")
    best, line = 0, 1
    table: list[str] = []
    counts: dict[str, int] = {}
    open_ = ""
    """The quotes of a text that goes over several lines."""
    for number, row in enumerate(text.split("\n"), 1):
        row = row.strip()
        if open_:
            open_ = "" if open_ in row else open_
            continue
        open_ = next((quotes for quotes in _QUOTES if row.count(quotes) == 1), "")
        if row.startswith("["):
            name = row.strip("[] \t")
            table = [part.strip("\"' ") for part in name.split(".")]
            if row.startswith("[["):
                table.append(str(counts.setdefault(name, 0)))
                counts[name] += 1
            here = table
        elif "=" in row:
            names = row.partition("=")[0].split(".")
            here = table + [part.strip("\"' ") for part in names]
        else:
            continue
        if here == wanted[: len(here)] and len(here) > best:
            best, line = len(here), number
    return line
