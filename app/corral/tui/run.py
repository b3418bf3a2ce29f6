"""Starts the chat screen in this process: terminal, parts, application, and an orderly end."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from corral.paths import Paths

if TYPE_CHECKING:
    from corral.parts import Parts


GRACE_SECONDS = 3.0
"""Time to end in order once the launcher is gone.

If the terminal went with it, Textual's writer may wait for it without end.
"""


def run(lifeline: int | None) -> int:
    """Run the chat screen until the person leaves; gives the exit code.

    Args:
        lifeline: a descriptor that reads as end of file once the launcher is gone, if there is one.
    """
    # What is imported stays: to look for garbage in it would be a tenth of the time to the frame.
    gc.disable()
    paths = Paths.from_environment()
    if lifeline is not None:
        _watch(lifeline)
    remembered = _peek(paths)
    _claim_terminal(paths)
    from corral.tui.app import CorralApp
    from corral.tui.garbage import Garbage

    built: list[Parts] = []
    garbage = Garbage()

    def bring() -> Parts:
        from corral.parts import build

        built.append(build(paths))
        garbage.begin()
        return built[0]

    app = CorralApp(
        bring,
        paths,
        theme=str(remembered.get("theme", "altiplano")),
        sidebar=remembered.get("sidebar") is not False,
        garbage=garbage,
    )
    if os.name == "posix":
        from corral.tui.pasting import with_pasting

        app.driver_class = with_pasting(app.driver_class)
    try:
        app.run()
    finally:
        for parts in built:
            parts.close_stores()
    if app.failed is not None:
        print(f"corral: {app.failed.title}: {app.failed.message}", file=sys.stderr)  # noqa: T201
        if app.failed.hint:
            print(f"  hint: {app.failed.hint}", file=sys.stderr)  # noqa: T201
    return app.return_code or 0


def _peek(paths: Paths) -> dict[str, object]:
    """What the first frame needs of the settings; they are read and checked properly behind it."""
    try:
        text = paths.settings_file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    import tomllib

    try:
        return tomllib.loads(text)
    except ValueError:
        return {}


def _claim_terminal(paths: Paths) -> None:
    """Keep a private way to the terminal for Textual; whatever native code prints goes to a file.

    Textual draws to ``sys.__stderr__`` on POSIX systems.
    """
    if os.name != "posix":
        return
    # With stderr redirected, the screen is still the terminal that stdout is.
    terminal = os.dup(2 if os.isatty(2) else 1)
    screen = os.fdopen(terminal, "w", encoding="utf-8", errors="replace")
    try:
        paths.make()
        log = os.open(paths.app_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)  # The parts will say what is wrong with the folder.
    os.dup2(log, 2)
    os.close(log)
    sys.__stderr__ = screen  # type: ignore[misc]
    sys.stderr = screen


def _watch(lifeline: int) -> None:
    """End in order when the launcher is gone, on every system: its end of the pipe closes."""

    def wait() -> None:
        if sys.platform == "win32":
            raise NotImplementedError  # Only the launcher has a lifeline, and there is none.
        try:
            os.read(lifeline, 1)
        except OSError:
            traceback.clear_frames(sys.exc_info()[2])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
