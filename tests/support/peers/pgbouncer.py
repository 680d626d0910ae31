"""Starts Debian's PgBouncer on loopback before the tests' own PostgreSQL; must not touch one that runs already."""

import contextlib
import os
import pwd
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import make_url

from tests.support.peers import require_program
from tests.support.ports import free_port
from tests.support.wait import until_sync

STOP_SECONDS = 20
NOBODY = "nobody"


@contextlib.contextmanager
def running_pgbouncer(
    database_url: str, folder: Path, *, pool_mode: str = "session", certificate: Path | None = None
) -> Iterator[str]:
    """The URL that leads to the same database through a pooler configured as Debian ships it, but for the mode.

    With `certificate` (key and certificate in one PEM file) it answers TLS only.
    """
    program = require_program("pgbouncer")
    url = make_url(database_url)
    host = str(url.query.get("host") or url.host)
    port, user = free_port(), _runs_as(host)
    folder.mkdir(mode=0o777)
    lines = [
        "[databases]",
        f"{url.database} = host={host} port={url.port or url.query.get('port') or 5432} user={url.username}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = any",
        f"pool_mode = {pool_mode}",
        "default_pool_size = 60",
    ]
    if certificate is not None:
        copy = folder / "server.pem"
        copy.write_bytes(certificate.read_bytes())
        lines += [
            "client_tls_sslmode = require",
            f"client_tls_key_file = {copy}",
            f"client_tls_cert_file = {copy}",
        ]
    configuration = folder / "pgbouncer.ini"
    configuration.write_text("\n".join(lines) + "\n", "utf-8")
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            os.chown(path, pwd.getpwnam(user).pw_uid, -1)
    log = folder / "log"
    as_user = ["-u", user] if os.geteuid() == 0 else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *as_user, str(configuration)], stdout=output, stderr=output, cwd="/"
        )
    try:
        until_sync(lambda: _answers(port, process, log), timeout=60, what="PgBouncer's first connection")
        yield f"postgresql://{url.username}@127.0.0.1:{port}/{url.database}"
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _runs_as(host: str) -> str:
    """PgBouncer refuses to be root: whoever owns the server's socket, which may be closed to others."""
    if host.startswith("/"):
        return pwd.getpwuid(Path(host).stat().st_uid).pw_name
    return NOBODY


def _answers(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"PgBouncer ended at once:\n{log.read_text('utf-8', 'replace')[-2000:]}")
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
