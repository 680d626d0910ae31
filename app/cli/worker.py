"""`sonobridge worker`: this process becomes a worker. Must stay light: whatever is imported here is thrown away."""

import os
import sys


def python(module: str, *arguments: str) -> list[str]:
    """The command of one of our modules, in this very interpreter."""
    return [sys.executable, "-m", module, *arguments]


def worker() -> None:
    """Run one worker: it takes exams through their steps. Start as many as you like, on as many hosts.

    SIGTERM lets what is running end (a minute at most), gives the rest back and exits 0.

    Example: sonobridge worker
    """
    # the workers are built upon `app`, so the program changes rather than the imports
    command = python("workers")
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - our own interpreter and module
