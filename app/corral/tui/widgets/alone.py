"""Methods of a widget that wait for one another, because each of them moves its children."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")


def alone(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Let only one such method of an object run at a time; it may call the others itself."""

    @wraps(method)
    async def run(self: S, /, *arguments: P.args, **named: P.kwargs) -> R:
        kept: Any = self
        if not hasattr(kept, "_alone"):
            kept._alone, kept._alone_in = asyncio.Lock(), None
        task = asyncio.current_task()
        if kept._alone_in is task:
            return await method(self, *arguments, **named)
        async with kept._alone:
            kept._alone_in = task
            try:
                return await method(self, *arguments, **named)
            finally:
                kept._alone_in = None

    return run
