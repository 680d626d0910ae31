"""Who uses an embedded server, so that the last to leave stops it; must not know what kind of server it is.

Kernel file locks count the users: each holds a shared lock on `<name>.users` for as long as it lives, and whoever
can turn its own into an exclusive one was the last. A process that is killed loses its lock at once, so there are
no stale process ids to sort out. Starting and stopping happen under an exclusive lock on `<name>.door`.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.embedded.errors import EmbeddedError

DOOR_WAIT_SECONDS = 120.0
DOOR_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Server:
    """What `share` needs of a server. `start` finds it running or starts it and returns its URL; `stop` waits."""

    name: str
    start: Callable[[], str]
    stop: Callable[[], None]


@dataclass(frozen=True)
class FolderLock:
    """One user's claim on a running server, until `release`."""

    server: Server
    url: str
    locks: Path
    users: int

    def release(self) -> None:
        """Gives the server back; stops it if nobody else uses it."""
        with _door(self.locks, self.server.name):
            try:
                if _is_last(self.users):
                    self.server.stop()
            finally:
                os.close(self.users)


def hold(server: Server, locks: Path) -> FolderLock:
    """Joins the users of a server, starting it first if it does not run. Raises EmbeddedError."""
    locks.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _door(locks, server.name):
        users = _open(locks / f"{server.name}.users")
        try:
            fcntl.flock(users, fcntl.LOCK_SH)
            return FolderLock(server=server, url=server.start(), locks=locks, users=users)
        except BaseException:
            if _is_last(users):
                server.stop()
            os.close(users)
            raise


def _is_last(users: int) -> bool:
    """Whether no other user is left. A failed attempt drops our own lock too, which is fine for one who leaves."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _door(locks: Path, name: str) -> Iterator[None]:
    """One process at a time starts or stops a server."""
    if not locks.is_dir():
        raise EmbeddedError(f"{locks} is gone.", remedy="Do not remove the data folder while it is in use.")
    door = _open(locks / f"{name}.door")
    try:
        deadline = time.monotonic() + DOOR_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"Another process has been starting or stopping {name} in {locks.parent} for "
                        f"{DOOR_WAIT_SECONDS:.0f} s.",
                        remedy="End that process and try again.",
                    ) from None
            time.sleep(DOOR_POLL_SECONDS)
        yield
    finally:
        os.close(door)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
