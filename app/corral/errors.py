"""Every error a person can meet: a title, one plain sentence, a hint, and an exit code.

CorralError                1   unexpected
├── UsageError             2   wrong usage
├── NotFound               3   no such model, conversation or file
├── DoesNotFit             4   not enough memory or disk, or a prompt longer than the window
├── EngineError            5   the engine failed
│   ├── EngineDied             the process ended in the middle of something
│   └── EngineHung             the process stopped answering
├── NetworkError           6   the network or the hub failed
├── Refused                7   bad file, checksum, licence not accepted
└── StoreError             1   the database cannot be read or written
"""

from __future__ import annotations


class CorralError(Exception):
    """Base of all errors that are shown to a person.

    Args:
        message: one plain sentence without full stop that says what happened.
        hint: what the person can do about it; may be empty.
        title: two to five words; the class has a default.
    """

    title = "Something went wrong"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", title: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if title is not None:
            self.title = title


class UsageError(CorralError):
    title = "Wrong usage"
    exit_code = 2


class NotFound(CorralError):
    title = "Not found"
    exit_code = 3


class DoesNotFit(CorralError):
    title = "Does not fit"
    exit_code = 4


class EngineError(CorralError):
    title = "The engine failed"
    exit_code = 5


class EngineDied(EngineError):
    title = "The engine stopped"


class EngineHung(EngineError):
    title = "The engine does not answer"


class NetworkError(CorralError):
    title = "The network failed"
    exit_code = 6


class Refused(CorralError):
    title = "Refused"
    exit_code = 7


class StoreError(CorralError):
    title = "The history cannot be used"
