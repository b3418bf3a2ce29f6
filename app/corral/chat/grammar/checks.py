"""What a grammar means: its shortest texts, and whether a rule would never be left."""

from __future__ import annotations

from corral.chat.grammar.errors import GrammarError
from corral.chat.grammar.symbols import LAST_CODE, Chars, Ref, Repeat, Sequence_, Symbol


def shortest_texts(rules: dict[str, tuple[Sequence_, ...]]) -> dict[str, str]:
    """The shortest text of every rule that has one."""
    found: dict[str, str] = {}
    users: dict[str, set[str]] = {}
    for name, alternates in rules.items():
        for sequence in alternates:
            for symbol in sequence:
                while isinstance(symbol, Repeat):
                    symbol = symbol.symbol
                if isinstance(symbol, Ref):
                    users.setdefault(symbol.rule, set()).add(name)
    waiting = dict.fromkeys(rules)
    while waiting:
        name = next(iter(waiting))
        del waiting[name]
        for sequence in rules[name]:
            text = shortest_of(sequence, found)
            if text is not None and (name not in found or len(text) < len(found[name])):
                found[name] = text
                waiting.update(dict.fromkeys(users.get(name, ())))
    return found


def shortest_of(sequence: Sequence_, known: dict[str, str]) -> str | None:
    """The shortest text of some symbols, as far as their rules are known; else None."""
    parts: list[str] = []
    for symbol in sequence:
        match symbol:
            case Chars():
                part = _plainest(symbol)
            case Ref(rule):
                part = known.get(rule)
            case Repeat(inner, least, _):
                part = "" if least == 0 else shortest_of((inner,), known)
                part = None if part is None else part * least
        if part is None:
            return None
        parts.append(part)
    return "".join(parts)


def _plainest(chars: Chars) -> str | None:
    """A character of a set: the first that can be seen."""
    if not chars.negated:
        for low, high in chars.ranges:
            if high > 0x20:
                return chr(max(low, 0x21)) if max(low, 0x21) != 0x7F else chr(min(high, 0x80))
        return chr(chars.ranges[0][0])
    starts = [0x21, *(high + 1 for _, high in chars.ranges), 0]
    return next((chr(c) for c in starts if c <= LAST_CODE and chars.matches(c)), None)


def refuse_left_recursion(rules: dict[str, tuple[Sequence_, ...]], lines: dict[str, int]) -> None:
    """A rule that comes back to itself before any character was read would never be left."""
    empty = {name for name, text in shortest_texts(rules).items() if not text}
    for name, alternates in rules.items():
        _refuse_endless(alternates, empty, lines[name])
    first = {name: _firsts(alternates, empty) for name, alternates in rules.items()}
    done: set[str] = set()
    for start in rules:
        path: dict[str, None] = {}
        stack = [(start, iter(first[start]))]
        path[start] = None
        while stack:
            name, following = stack[-1]
            step = next((other for other in following if other not in done), None)
            if step is None:
                stack.pop()
                path.pop(name)
                done.add(name)
            elif step in path:
                shown = step.partition("#")[0]
                raise GrammarError("It begins with itself (left recursion)", line=lines[step],
                                   where=f"rule {shown}")  # fmt: skip
            else:
                path[step] = None
                stack.append((step, iter(first[step])))


def _refuse_endless(alternates: tuple[Sequence_, ...], empty: set[str], line: int) -> None:
    """Nothing, again and again, is a loop."""
    for sequence in alternates:
        for symbol in sequence:
            while isinstance(symbol, Repeat):
                if symbol.most < 0 and _may_be_empty(symbol.symbol, empty):
                    raise GrammarError(
                        "Something that may be empty repeats without a limit", line=line
                    )
                symbol = symbol.symbol


def _firsts(alternates: tuple[Sequence_, ...], empty: set[str]) -> list[str]:
    """Rules that an alternative can begin with."""
    found: list[str] = []
    for sequence in alternates:
        for symbol in sequence:
            optional = False
            while isinstance(symbol, Repeat):
                optional |= symbol.least == 0
                symbol = symbol.symbol
            if isinstance(symbol, Chars):
                if not optional:
                    break
                continue
            found.append(symbol.rule)
            if not optional and symbol.rule not in empty:
                break
    return found


def _may_be_empty(symbol: Symbol, empty: set[str]) -> bool:
    match symbol:
        case Ref(rule):
            return rule in empty
        case Repeat(inner, least, _):
            return least == 0 or _may_be_empty(inner, empty)
    return False
