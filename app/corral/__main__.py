"""``corral`` is the chat screen, ``corral COMMAND`` the command line (``corral --help``)."""

from __future__ import annotations

import os
import sys

from corral import program, standing


def main() -> None:
    """Entry point of the ``corral`` command."""
    standing.see_to_it()
    if sys.getfilesystemencoding() != "utf-8":
        from corral.terminal import start_in_utf8

        start_in_utf8()
    arguments = sys.argv[1:]
    if arguments == [program.WORKER]:
        from corral.engine.worker import main as worker

        worker()
        return
    opened = arguments[:1] == [program.OPENED]
    rest = arguments[1:] if opened else arguments
    if rest and rest != ["--offline"]:
        from corral.cli import main as command_line

        command_line()
        return
    if rest:
        os.environ["CORRAL_OFFLINE"] = "1"
    this = os.getpid()
    code = _screen(rest, opened=opened)
    if opened and os.getpid() == this:  # and not the screen, whose parent this is
        from corral.terminal import hold

        hold(code)
    sys.exit(code)


def _screen(arguments: list[str], *, opened: bool) -> int:
    from corral import terminal

    if reason := terminal.missing():
        return _without_terminal(reason, arguments, opened=opened)
    if sys.platform == "win32":
        return _run(None)
    from corral import launcher

    return launcher.run(_run, arguments)


def _without_terminal(reason: str, arguments: list[str], *, opened: bool) -> int:
    """A window with a terminal where a desktop started this; else say what is missing."""
    from corral import terminal

    if not opened and terminal.from_desktop():
        code = terminal.open_window(arguments)
        if code is not None:
            return code
    print(f"corral: {reason}\n  hint: {terminal.advice()}", file=sys.stderr)  # noqa: T201
    return 2


def _run(lifeline: int | None) -> int:
    from corral.tui.run import run

    return run(lifeline)


if __name__ == "__main__":
    main()
