"""Starts @tus/server on loopback as a child of the test and reads its log; must not speak Tus itself."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.peers import CACHE, absent, end, require_program
from tests.support.ports import free_port
from tests.support.wait import until_sync

PROGRAM = Path(__file__).with_name("tus_server.mjs")


@dataclass(frozen=True, slots=True)
class TusServer:
    """A running Tus server: the URL to create uploads at, where it keeps them, its log."""

    url: str
    folder: Path
    log: Path

    def entries(self) -> list[dict[str, Any]]:
        """One entry per finished or cut request: method, url, offset, length, status, whole, held.

        `held` is how many bytes the server had of that upload when the request ended.
        """
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]

    def ranges(self) -> list[tuple[str, int, int]]:
        """(upload, first byte, end) of everything that PATCH requests brought, in order of arrival."""
        return [
            (entry["url"], int(entry["offset"]), int(entry["held"]))
            for entry in self.entries()
            if entry["method"] == "PATCH" and entry["offset"] is not None and entry["held"] is not None
        ]

    def uploads(self) -> list[Path]:
        """The files that it holds, without the notes it keeps beside them."""
        return sorted(path for path in self.folder.iterdir() if path.suffix != ".json")


@contextlib.contextmanager
def running_tus_server(folder: Path, *, token: str | None = None) -> Iterator[TusServer]:
    """An empty Tus server that keeps its files below `folder` and ends with the block.

    With `token`, only requests that bear it are let in.
    """
    node = require_program("node")
    if not (CACHE / "node_modules" / "@tus" / "server").is_dir():
        absent("@tus/server")
    uploads = folder / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    # node looks for packages beside the program.
    program = CACHE / f"tus_server.{PROGRAM.stat().st_mtime_ns}.mjs"
    if not program.exists():
        partial = folder / PROGRAM.name
        shutil.copyfile(PROGRAM, partial)
        shutil.move(partial, program)
    log, output, port = folder / "tus.jsonl", folder / "tus.out", free_port()
    arguments = [node, str(program), str(port), str(uploads), str(log), *([token] if token else [])]
    with output.open("wb") as file:
        process = subprocess.Popen(arguments, stdout=file, stderr=file, cwd=folder)
    try:
        until_sync(lambda: _ready(process, output), timeout=30, what="the Tus server's start")
        yield TusServer(url=f"http://127.0.0.1:{port}/files", folder=uploads, log=log)
    finally:
        end(process)


def _ready(process: subprocess.Popen[bytes], output: Path) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"the Tus server ended at once:\n{output.read_text('utf-8', 'replace')[-2000:]}")
    return output.read_text("utf-8").startswith("ready")
