"""Forks API and worker processes from one process that has imported everything; must not run anything itself.

A test of crashes starts dozens of processes, and importing takes far longer than forking. What comes out are
processes like any other: own pid, own environment, own log file, killed by real signals. Spoken to in JSON lines
on stdin: `{"start": role, "environ": …, "log": path}` → `{"pid"}`, `{"reap": pid}` → `{"status"}`. When stdin
closes, whatever still runs is killed.
"""

import asyncio
import gc
import json
import os
import signal
import sys
from typing import Any

import uvicorn

import app.main
import workers.main
from app.config.settings import load_settings
from app.observing.logs import configure_logging
from app.opening import stop_on_signals
from app.resources import open_resources


def run_api() -> None:
    """The web application on PORT, as any ASGI server would run it."""
    uvicorn.run(
        app.main.app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        log_config=None,
        access_log=False,
        lifespan="on",
    )


def run_worker() -> None:
    """One worker process, as the command line starts it."""

    async def work() -> None:
        settings = load_settings()
        configure_logging(settings.env, settings.log_level)
        async with open_resources(settings) as resources:
            await workers.main.run_worker(resources, stop_on_signals())

    asyncio.run(work())


ROLES = {"api": run_api, "worker": run_worker}


def start(role: str, environ: dict[str, str], log: str) -> int:
    """Fork a process of this role; its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ.clear()
        os.environ.update(environ)
        ROLES[role]()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(status)


def serve() -> None:
    """Answer commands until stdin closes."""
    running: set[int] = set()
    # what was imported is nobody's garbage: no fork goes through it again
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        if "start" in command:
            pid = start(command["start"], command["environ"], command["log"])
            running.add(pid)
            answer = {"pid": pid}
        else:
            pid = command["reap"]
            _, status = os.waitpid(pid, 0)
            running.discard(pid)
            answer = {"status": os.waitstatus_to_exitcode(status)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    serve()
