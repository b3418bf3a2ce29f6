"""Calls that may hang, such as one to a hub: nobody waits for them when the program ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def aside(call: Callable[..., T], *arguments: Any) -> T:
    """What ``call`` gives or raises, as :func:`asyncio.to_thread`, but in a daemon thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(given: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(given)

    def run() -> None:
        given: Any = None
        failure: Exception | None = None
        try:
            given = call(*arguments)
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # The loop is gone, and whoever asked with it.
            loop.call_soon_threadsafe(settle, given, failure)

    threading.Thread(target=run, daemon=True).start()
    return await future
