"""Workers with little memory, so that real allocations fail."""

from __future__ import annotations

from corral.engine.process import worker_command

_PROGRAM = """
import resource, runpy, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
runpy.run_module("corral.engine.worker", run_name="__main__")
"""


def limited(size: int) -> tuple[str, ...]:
    """The command of a worker that may have so many bytes of address space."""
    return (worker_command()[0], "-P", "-c", _PROGRAM, str(size))
