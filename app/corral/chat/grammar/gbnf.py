"""llama.cpp's grammars (GBNF), read and checked before the engine sees them.

A grammar that llama.cpp refuses comes back as NULL, with the reason on the terminal, and one that
it takes can still never end or match nothing. So the same syntax is read here, and every fault has
its line. What is read drives :mod:`corral.chat.grammar.walk`, too.
"""

from __future__ import annotations

from corral.chat.grammar.checks import (
    plainest,
    refuse_endless,
    refuse_left_recursion,
    shortest_texts,
)
from corral.chat.grammar.errors import GrammarError
from corral.chat.grammar.symbols import (
    ANY,
    LAST_CODE,
    SURROGATES,
    Chars,
    Grammar,
    Ref,
    Repeat,
    Sequence_,
    Symbol,
)

LARGEST_TEXT = 256 * 1024
"""Characters of a grammar."""
MOST_RULES = 20_000
MOST_REPEATS = 2_000
"""llama.cpp's limit: how often something repeats, times the rules that it is made of."""


def read(text: str) -> Grammar:
    """Read a grammar and check all of it.

    Raises:
        GrammarError: the syntax, an undefined rule, left recursion, nothing that matches, or more
            than llama.cpp takes.
    """
    if len(text) > LARGEST_TEXT:
        raise GrammarError(f"It has {len(text)} characters, more than {LARGEST_TEXT}")
    if "\0" in text:
        raise GrammarError(
            "It holds a NUL character", line=text[: text.index("\0")].count("\n") + 1
        )
    reader = _Reader(text)
    reader.read()
    if "root" not in reader.rules:
        raise GrammarError("There is no rule called root, where every grammar begins")
    for name, line in reader.referred.items():
        if name not in reader.rules:
            raise GrammarError(f"The rule {name} is used but not defined", line=line)
    shortest = shortest_texts(reader.rules)
    lines = reader.lines
    refuse_endless(reader.rules, shortest, lines)
    refuse_left_recursion(reader.rules, shortest, lines)
    if all(not sequence for sequence in reader.rules["root"]):
        raise GrammarError("It matches only the empty text", line=lines["root"], where="rule root")
    return Grammar(reader.rules, shortest)


# --- syntax ---------------------------------------------------------------------------------------


class _Reader:
    """Follows llama.cpp's own parser, step by step."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.rules: dict[str, tuple[Sequence_, ...]] = {}
        self.lines: dict[str, int] = {}
        self.referred: dict[str, int] = {}
        self.symbols = 0
        """As many as llama.cpp would have made so far."""

    def fail(self, reason: str) -> GrammarError:
        return GrammarError(reason, line=self.line())

    def line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def space(self, *, newlines: bool) -> None:
        while (char := self.peek()) and (char in " \t#" or (newlines and char in "\r\n")):
            if char == "#":
                while self.peek() not in ("", "\r", "\n"):
                    self.at += 1
            else:
                self.at += 1

    def name(self) -> str:
        start = self.at
        while (char := self.peek()) and char.isascii() and (char.isalnum() or char == "-"):
            self.at += 1
        return self.text[start : self.at]

    def read(self) -> None:
        self.space(newlines=True)
        while self.peek():
            self.rule()
            self.space(newlines=True)

    def rule(self) -> None:
        name, line = self.name(), self.line()
        if not name:
            raise self.fail(f"A rule's name was expected, not {_shown(self.peek())}")
        self.space(newlines=False)
        if not self.text.startswith("::=", self.at):
            raise self.fail(f"::= was expected after {name}, not {_shown(self.peek())}")
        if name in self.rules:
            raise self.fail(f"The rule {name} is defined twice")
        self.at += 3
        self.space(newlines=True)
        self.symbols += name not in self.referred
        self.lines[name] = line
        self.rules[name] = self.alternates(name, nested=False, depth=0)
        if len(self.rules) > MOST_RULES:
            raise self.fail(f"There are more than {MOST_RULES} rules")
        if self.peek() not in ("", "\r", "\n"):
            raise self.fail(f"The line should end here, not go on with {_shown(self.peek())}")

    def alternates(self, name: str, *, nested: bool, depth: int) -> tuple[Sequence_, ...]:
        if depth > 100:
            raise self.fail("Groups are more than 100 deep")
        found = [self.sequence(name, nested=nested, depth=depth)]
        while self.peek() == "|":
            self.at += 1
            self.space(newlines=True)
            found.append(self.sequence(name, nested=nested, depth=depth))
        return tuple(found)

    def sequence(self, name: str, *, nested: bool, depth: int) -> Sequence_:
        items: list[tuple[Symbol, ...]] = []
        """Each as long as what a repetition after it would repeat."""
        weight = 1
        while char := self.peek():
            if char == '"':
                items.append(self.literal())
                weight = 1
            elif char == "[":
                items.append((self.chars(),))
                weight = 1
            elif char == ".":
                self.at += 1
                items.append((ANY,))
                weight = 1
            elif char == "(":
                before = self.symbols
                items.append((self.group(name, depth),))
                weight = max(1, self.symbols - before)
            elif char in "*+?{":
                least, most = self.times(nested=nested)
                if not items or not items[-1]:
                    raise self.fail(f"There is nothing before {char} that could repeat")
                items[-1], weight = self.repeat(name, items[-1], least, most, weight)
            elif char in "<!":
                raise self.fail("Tokens such as <think> or <[5]> cannot be used, only text")
            elif other := self.name():
                self.symbols += other not in self.referred and other not in self.rules
                self.referred.setdefault(other, self.line())
                items.append((Ref(other),))
                weight = 1
            else:
                break
            self.space(newlines=nested)
        return tuple(symbol for item in items for symbol in item)

    def group(self, name: str, depth: int) -> Ref:
        self.at += 1
        self.space(newlines=True)
        self.symbols += 1
        own = f"{name}#{self.symbols}"
        line = self.line()
        found = self.alternates(name, nested=True, depth=depth + 1)
        if self.peek() != ")":
            raise self.fail(f"A group that begins in line {line} is not closed")
        self.at += 1
        self.rules[own] = found
        self.lines[own] = line
        return Ref(own)

    def repeat(
        self, name: str, item: tuple[Symbol, ...], least: int, most: int, weight: int
    ) -> tuple[tuple[Symbol, ...], int]:
        total = weight * max(1, most if most > 0 else least)
        if total > MOST_REPEATS:
            raise self.fail(
                f"This repeats {total} times, counting what is repeated inside of it; llama.cpp "
                f"takes {MOST_REPEATS}"
            )
        self.symbols += 1 if most < 0 else most - least
        if not item or most == 0:
            return (), total
        first = item[0]
        if len(item) == 1 and not isinstance(first, Repeat):
            return (Repeat(first, least, most),), total
        own = f"{name}#{self.symbols}-{self.at}"
        self.rules[own], self.lines[own] = (item,), self.line()
        return (Repeat(Ref(own), least, most),), total

    def times(self, *, nested: bool) -> tuple[int, int]:
        char = self.peek()
        self.at += 1
        if char != "{":
            return {"*": (0, -1), "+": (1, -1), "?": (0, 1)}[char]
        least = self.number(nested)
        most = least
        if self.peek() == ",":
            self.at += 1
            self.space(newlines=nested)
            most = self.number(nested) if self.peek().isdecimal() else -1
        if self.peek() != "}":
            raise self.fail(f"}} was expected, not {_shown(self.peek())}")
        self.at += 1
        if -1 < most < least:
            raise self.fail(f"It repeats at least {least} and at most {most} times")
        if max(least, most) > MOST_REPEATS:
            raise self.fail(f"Nothing can repeat more than {MOST_REPEATS} times")
        return least, most

    def number(self, nested: bool) -> int:
        self.space(newlines=nested)
        start = self.at
        while (char := self.peek()) and char in "0123456789":
            self.at += 1
        if start == self.at:
            raise self.fail(f"A number was expected, not {_shown(self.peek())}")
        digits = self.text[start : self.at]
        self.space(newlines=nested)
        return int(digits) if len(digits) < 10 else MOST_REPEATS + 1

    def literal(self) -> tuple[Symbol, ...]:
        self.at += 1
        codes = []
        while self.peek() != '"':
            codes.append(self.char("A text that is not closed"))
        self.at += 1
        return tuple(Chars(((code, code),)) for code in codes)

    def chars(self) -> Chars:
        self.at += 1
        negated = self.peek() == "^"
        self.at += negated
        ranges: list[tuple[int, int]] = []
        unclosed = "A set of characters that is not closed"
        while self.peek() != "]":
            low = high = self.char(unclosed)
            if self.peek() == "-" and self.text[self.at + 1 : self.at + 2] != "]":
                self.at += 1
                high = self.char(unclosed)
            if high < low:
                raise self.fail("A range of characters runs backwards, so it matches nothing")
            ranges.append((low, high))
        self.at += 1
        found = Chars(tuple(ranges), negated)
        if not ranges or not plainest(found):
            raise self.fail("A set of characters is empty")
        return found

    def char(self, unclosed: str) -> int:
        char = self.peek()
        if not char:
            raise self.fail(unclosed)
        self.at += 1
        if char != "\\":
            return ord(char)
        escape = self.peek()
        self.at += 1
        if escape in "xuU" and escape:
            size = {"x": 2, "u": 4, "U": 8}[escape]
            digits = self.text[self.at : self.at + size]
            if len(digits) < size or any(d not in "0123456789abcdefABCDEF" for d in digits):
                raise self.fail(f"{size} hexadecimal digits were expected after \\{escape}")
            self.at += size
            code = int(digits, 16)
            if code > LAST_CODE or code in SURROGATES:
                raise self.fail(f"There is no character \\{escape}{digits}")
            return code
        known = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]",
                 "-": "-"}  # fmt: skip
        if escape not in known:
            raise self.fail(f"There is no escape \\{escape}" if escape else unclosed)
        return ord(known[escape])


def _shown(char: str) -> str:
    return {"": "the end", "\n": "the end of the line", "\r": "the end of the line"}.get(char, char)
