"""Run as a program: imports all of corral as on Windows and on macOS, as far as Linux can be them,
and runs the commands that are named, as lists in JSON.

Third-party packages were imported before, for they are told apart by the wheels that are installed.
What the other system does not have is taken away: a module that wants it when it is imported fails.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import sys
from collections.abc import Iterator

POSIX_ALONE = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty", "readline")
LINUX_ALONE = (
    "RWF_NOWAIT", "preadv", "preadv2", "posix_fadvise", "sched_getaffinity", "sched_setaffinity",
    "memfd_create", "eventfd", "copy_file_range", "pidfd_open",
)  # fmt: skip
NO_WINDOWS_OS = (
    "fork", "forkpty", "posix_spawn", "posix_spawnp", "openpty", "setsid", "setpgid", "killpg",
    "nice", "getuid", "geteuid", "getgid", "uname", "getloadavg", "fpathconf",
    "mkfifo", "chown", "pread", "pwrite", "WNOHANG", "WUNTRACED", "WIFSTOPPED", "wait3", "wait4",
    "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_DIRECTORY", "O_DSYNC", "sendfile",
)  # fmt: skip
NO_WINDOWS_SIGNALS = (
    "SIGHUP", "SIGQUIT", "SIGALRM", "SIGKILL", "SIGSTOP", "SIGCONT", "SIGTSTP", "SIGTTIN",
    "SIGTTOU", "SIGWINCH", "SIGCHLD", "SIGPIPE", "SIGUSR1", "SIGUSR2", "SIGBUS", "alarm",
    "pthread_sigmask", "sigwait", "pthread_kill", "setitimer",
)  # fmt: skip

POSIX_ROOMS = ("corral.launcher",)
"""What Windows never imports; it says so in its first lines."""


def modules() -> Iterator[str]:
    import corral

    for found in pkgutil.walk_packages(corral.__path__, "corral."):
        if not found.name.endswith(".__main__"):
            yield found.name


def take_away(module: object, names: tuple[str, ...]) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def become(platform: str) -> None:
    """From here on this process looks like another system to whoever asks."""
    sys.platform = platform
    take_away(os, LINUX_ALONE)
    take_away(os, tuple(name for name in dir(os) if name.startswith("POSIX_FADV")))
    if platform == "win32":
        take_away(os, NO_WINDOWS_OS)
        take_away(signal, NO_WINDOWS_SIGNALS)
        for name in POSIX_ALONE:
            sys.modules[name] = None  # type: ignore[assignment]  # so that it cannot be imported


def main(platform: str, commands: list[list[str]]) -> None:
    for name in modules():
        importlib.import_module(name)
    names = list(modules())
    for name in [name for name in sys.modules if name.partition(".")[0] == "corral"]:
        del sys.modules[name]
    become(platform)
    done = 0
    for name in names:
        if platform == "win32" and name in POSIX_ROOMS:
            continue
        importlib.import_module(name)
        done += 1
    print(done)
    from corral.cli import main as command_line

    for command in commands:
        command_line(command, standalone_mode=False)


if __name__ == "__main__":
    main(sys.argv[1], [json.loads(text) for text in sys.argv[2:]])
