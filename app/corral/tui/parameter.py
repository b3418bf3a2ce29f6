"""One parameter as a person meets it: what can be typed for it, and how its value is shown.

Limits and defaults come from the models that check the same values again on their way to the
engine. No Textual in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from corral.chat.window import USUAL, Policy
from corral.engine.protocol import Sampling
from corral.settings import EngineSettings

LARGEST = 2**31 - 1
"""What a whole number without an upper limit of its own may be: a C int."""


class Answer(BaseModel):
    """What is neither sampled with nor loaded with."""

    max_tokens: int = Field(0, ge=0, le=1 << 20)
    window: Policy = USUAL


_CHECKED_BY: tuple[type[BaseModel], ...] = (Sampling, EngineSettings, Answer)


@dataclass(frozen=True)
class Parameter:
    """A name that the engine knows, and the words for it."""

    name: str
    title: str
    text: str
    """What it does, in one or two sentences."""
    words: Mapping[str, Any] = field(default_factory=dict)
    """Values that have a name: shown, and understood, instead of the number."""

    @property
    def checked_by(self) -> type[BaseModel]:
        return next(model for model in _CHECKED_BY if self.name in model.model_fields)

    @property
    def field(self) -> FieldInfo:
        return self.checked_by.model_fields[self.name]

    @property
    def choices(self) -> tuple[Any, ...]:
        """The only values it can have; empty for a number."""
        annotation = self.field.annotation
        return get_args(annotation) if get_origin(annotation) is Literal else ()

    @property
    def limits(self) -> str:
        """What can be typed, in words: ``a number from 0 to 10``."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        least, above, most = (self._limit(kind) for kind in ("ge", "gt", "le"))
        kind = "a number" if self.field.annotation is float else "a whole number"
        if most is None:
            return f"{kind}, {_number(least)} or more"
        if least is None:
            return f"{kind} above {_number(above)}, at most {_number(most)}"
        return f"{kind} from {_number(least)} to {_number(most)}"

    def _limit(self, kind: str) -> Any:
        return next((getattr(m, kind) for m in self.field.metadata if hasattr(m, kind)), None)

    def shown(self, value: Any) -> str:
        """A value as it stands in its field."""
        named = (word for word, known in self.words.items() if known == value)
        return next(named, None) or _number(value)

    def read(self, typed: str) -> Any:
        """The value of what was typed.

        Raises:
            ValueError: it is none; the text is one plain sentence.
        """
        known = {str(choice).casefold(): choice for choice in self.choices}
        known |= {word.casefold(): value for word, value in self.words.items()}
        key = typed.strip().casefold()
        if key in known:
            return known[key]
        try:
            if self.choices:
                raise ValueError
            checked = self.checked_by.model_validate({self.name: typed.strip()})
            value = getattr(checked, self.name)
            if self._limit("le") is None and value > LARGEST:
                raise ValueError
        except ValueError:  # pydantic's ValidationError is one
            words = "".join(f", or {word}" for word in self.words)
            raise ValueError(f"{self.title} takes {self.limits}{words}") from None
        return value


def _number(value: Any) -> str:
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
