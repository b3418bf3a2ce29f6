"""``corral`` is the chat screen, ``corral COMMAND`` the command line (``corral --help``)."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the ``corral`` command."""
    arguments = sys.argv[1:]
    if arguments and arguments != ["--offline"]:
        from corral.cli import main as command_line

        command_line()
        return
    if arguments:
        os.environ["CORRAL_OFFLINE"] = "1"
    sys.exit(_screen())


def _screen() -> int:
    streams = (sys.stdin, sys.stdout)
    terminal = all(stream is not None and stream.isatty() for stream in streams)
    if not terminal or os.environ.get("TERM") == "dumb":
        print(  # noqa: T201
            "corral: the chat screen needs a terminal\n"
            '  hint: use corral ask "…" in scripts and pipes',
            file=sys.stderr,
        )
        return 2
    from corral import launcher

    if launcher.supported():
        return launcher.run(_run, sys.argv[1:])
    return _run(None)


def _run(lifeline: int | None) -> int:
    from corral.tui.run import run

    return run(lifeline)


if __name__ == "__main__":
    main()
