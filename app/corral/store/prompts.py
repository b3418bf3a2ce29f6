"""What a person asked before, in every conversation: to take it up again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from corral.store.database import rows
from corral.store.parts import Part
from corral.store.records import decode, storable

HEAD = 600
"""Characters of a prompt that a list needs; the rest is read when it is taken."""

_PROMPTS = """
    SELECT m.id, m.created, CAST(c.title AS BLOB), length(m.text),
    CAST(substr(m.text, 1, ?1) AS BLOB)
    FROM message AS m JOIN conversation AS c ON c.id = m.conversation
    WHERE m.role = 'user' AND m.deleted IS NULL AND c.deleted IS NULL AND {condition}
    ORDER BY m.id DESC LIMIT ?2 OFFSET ?3
"""

_LONGEST_QUERY = 500
_MOST_WORDS = 12
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Prompt:
    """A message of the person's own."""

    message: int
    created: float
    """Seconds since the epoch."""
    title: str
    """Of the conversation it was sent in."""
    length: int
    """Characters of the whole text."""
    head: str
    """Its beginning."""

    @property
    def is_whole(self) -> bool:
        return self.length <= len(self.head)


class Prompts(Part):
    def prompts(self, query: str = "", limit: int = 200) -> list[Prompt]:
        """What was asked, the latest first, outside the trash; the same text only once.

        Args:
            query: words that must all occur in it, in any order; parts of words count.
            limit: most prompts to give.
        """
        words = storable(query)[:_LONGEST_QUERY].replace("\0", " ").split()[:_MOST_WORDS]
        patterns = ["%" + re.sub(r"([\\%_])", r"\\\1", word) + "%" for word in words]
        numbers = range(4, 4 + len(words))
        condition = " AND ".join(f"m.text LIKE ?{number} ESCAPE '\\'" for number in numbers)
        statement = _PROMPTS.format(condition=condition or "1")
        found: dict[str | int, Prompt] = {}
        offset = 0
        with self._database.snapshot() as connection:
            while len(found) < limit:
                page = rows(connection, statement, (HEAD, _PAGE, offset, *patterns))
                for id, created, title, length, head in page:
                    one = Prompt(id, created, decode(title) or "", length, decode(head) or "")
                    # Two long ones that begin alike may go on differently.
                    found.setdefault(one.head if one.is_whole else id, one)
                if len(page) < _PAGE:
                    break
                offset += _PAGE
        return list(found.values())[:limit]
