"""What the tests of the pool let its processes do; must import nothing of ours, since each of them imports it."""

import os
import signal
import threading
from pathlib import Path


def add(one: int, other: int) -> int:
    return one + other


def fail() -> None:
    raise ValueError("as it should")


def end_late() -> None:
    raise TimeoutError("of its own")


def who() -> int:
    return os.getpid()


def begin_and_never_end(note: Path) -> None:
    """Say who does it, and go on for ever."""
    part = note.with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.replace(note)
    threading.Event().wait()


def reckon_and_never_end(note: Path) -> None:
    """The same without ever pausing."""
    part = note.with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.replace(note)
    while True:
        add(1, 1)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(note: Path) -> str:
    if not note.exists():
        note.write_text("dead")
        die()
    return note.read_text()
