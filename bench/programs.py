"""Starts what is measured: durable stores, our processes, and what they are measured against; must not measure itself."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
from sqlalchemy.engine import make_url

from app.config.sealing import new_key
from app.config.settings import Settings
from app.embedded.postgres import server_program
from tests.support.ports import free_port
from tests.support.processes import environment_of
from tests.support.stores import open_test_stores

ROOT = Path(__file__).parents[1]
FASTIFY = Path(__file__).with_name("fastify")
NPM_CI = ("npm", "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
NPM_SECONDS = 60
START_SECONDS = 60
END_SECONDS = 60
INSERT_ONE = (
    "INSERT INTO bench_rows (id, number, url) VALUES (gen_random_uuid(), :n, 'https://cloud.example/1');\n"
)


@contextmanager
def fresh_settings(folder: Path, *, durable: bool = True) -> Iterator[Settings]:
    """Settings of an installation with stores of its own in `folder`; `durable`: PostgreSQL with fsync, as it is run."""
    with (
        open_test_stores(folder / "stores", worker="master", durable=durable) as stores,
        stores.database() as database_url,
    ):
        yield Settings(
            database_url=database_url,
            redis_url=stores.empty_redis(),
            data_dir=folder / "data",
            env="production",
            secret_keys=[new_key()],
        )


@asynccontextmanager
async def program(
    *command: str, folder: Path, name: str, interpreter: str = sys.executable, **environment: str
) -> AsyncIterator[int]:
    """A process of ours for as long as the body runs; its pid. What it prints goes into `folder`."""
    with (folder / f"{name}.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            interpreter,
            *command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
        )
    try:
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def api(settings: Settings, folder: Path, *, port: int | None = None) -> AsyncIterator[tuple[int, int]]:
    """The API as `sonobridge serve` runs it: its port and pid."""
    port = port or free_port()
    command = ("-m", "app.cli", "serve", "--port", str(port))
    async with program(*command, folder=folder, name="api", **environment_of(settings)) as pid:
        await answers(port, "/healthz")
        yield port, pid


@asynccontextmanager
async def worker(settings: Settings, folder: Path) -> AsyncIterator[int]:
    """One worker; its pid."""
    async with program("-m", "workers", folder=folder, name="worker", **environment_of(settings)) as pid:
        yield pid


@asynccontextmanager
async def hello(folder: Path) -> AsyncIterator[int]:
    """FastAPI's hello, as `uvicorn` starts it: uvloop, httptools, a line in the access log for each request."""
    port = free_port()
    command = ("-m", "uvicorn", "bench.hello:app", "--port", str(port))
    async with program(*command, folder=folder, name="hello"):
        await answers(port, "/docs")
        yield port


@asynccontextmanager
async def fastify(settings: Settings, folder: Path) -> AsyncIterator[int | str]:
    """Fastify and pg, installed by npm into `folder`: the port, or in words what is missing here."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            yield f"no {tool}"
            return
    home = folder / "fastify"
    shutil.copytree(FASTIFY, home)
    installing = partial(
        subprocess.run, NPM_CI, cwd=home, capture_output=True, timeout=NPM_SECONDS, check=True
    )
    try:
        await asyncio.to_thread(installing)
    except subprocess.SubprocessError:
        yield "npm could not install fastify and pg"
        return
    port = free_port()
    command = (str(home / "server.mjs"), str(port))
    environment = libpq_environment(settings.database_url)
    async with program(*command, folder=folder, name="fastify", interpreter="node", **environment):
        await answers(port, "/")
        yield port


async def answers(port: int, path: str) -> None:
    """Wait until a server answers."""
    async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(trust_env=False) as client:
        while True:
            with suppress(httpx.TransportError):
                await client.get(f"http://127.0.0.1:{port}{path}")
                return
            await asyncio.sleep(0.05)


def libpq_environment(database_url: str) -> dict[str, str]:
    """How programs upon libpq, and those that read its variables, find the database."""
    url = make_url(database_url)
    return {
        "PGHOST": str(url.query.get("host") or url.host or "127.0.0.1"),
        "PGPORT": str(url.port or 5432),
        "PGUSER": str(url.username),
        "PGPASSWORD": url.password or "",
        "PGDATABASE": str(url.database),
    }


def pgbench(database_url: str, folder: Path, *, clients: int, seconds: int) -> tuple[float, float]:
    """Single-row inserts by PostgreSQL's own benchmark, each a commit: commits a second, and mean seconds of one."""
    script = folder / "insert.sql"
    script.write_text("\\set n random(1, 1000000000)\n" + INSERT_ONE, encoding="ascii")
    command = [str(server_program("pgbench")), "-n", "-c", str(clients), "-j", "1", "-T", str(seconds)]
    environment = {**os.environ, **libpq_environment(database_url)}
    done = subprocess.run(
        [*command, "-f", str(script)], env=environment, capture_output=True, text=True, check=True
    )
    lines = dict(line.split(" = ", 1) for line in done.stdout.splitlines() if " = " in line)
    return float(lines["tps"].split()[0]), float(lines["latency average"].split()[0]) / 1000
