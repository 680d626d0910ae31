"""What a process does not import when it starts: neither its time nor its memory is asserted, but what both come from."""

import subprocess
import sys

import pytest

IMAGING = ("av", "PIL", "numpy", "pydicom", "fpdf")
WEB = ("fastapi", "starlette", "uvicorn", "jinja2")
UNUSED = ("alembic", "obstore", "opentelemetry.sdk")
"""Used by few: by who migrates, keeps images in a bucket, exports traces."""

STORES = ("sqlalchemy", "asyncpg", "redis", "arq", "httpx", "cryptography", "structlog")

HELP = """
import sys
from app.cli import main
for command in {commands!r}:
    sys.argv = ["sonobridge", *command.split(), "--help"]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, command
"""
NOUNS = (
    "org list",
    "user list",
    "token list",
    "link list",
    "exam list",
    "clarius settings",
    "aurabox cases list",
    "keys new",
    "reconcile",
    "doctor",
    "migrate",
)
RUNS = {
    "the help of all commands": (HELP.format(commands=("", "worker")), (*IMAGING, *WEB, *UNUSED, *STORES)),
    "the help of check-dicom": (HELP.format(commands=("check-dicom",)), (*IMAGING, *WEB, *UNUSED, *STORES)),
    "a command of each noun": (HELP.format(commands=NOUNS), (*IMAGING, "fastapi", "starlette", *UNUSED)),
    "a worker": ("import workers.process", (*IMAGING, *WEB, *UNUSED)),
    "the API": ("import app.cli.services, app.main", (*IMAGING, *UNUSED)),
    "a process that converts, before it does": (
        "import workers.__main__",
        (*IMAGING, *WEB, *UNUSED, *STORES),
    ),
}
TELL = "\nprint('IMPORTED', *(name for name in {names!r} if name in sys.modules))"


@pytest.mark.parametrize("run", RUNS)
def test_nothing_is_imported_that_is_not_used(run: str):
    program, absent = RUNS[run]
    done = subprocess.run(
        [sys.executable, "-c", "import sys\n" + program + TELL.format(names=absent)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1].split() == ["IMPORTED"]


EVERYTHING = """
import sys, uvicorn
import app.imaging.convert, app.imaging.receipt_pdf, app.infrastructure.bucket, app.main, app.store.migrating
"""


def test_what_is_named_absent_could_be_imported():
    named = {*IMAGING, *WEB, *UNUSED, *STORES}
    done = subprocess.run(
        [sys.executable, "-c", EVERYTHING + TELL.format(names=tuple(named))],
        capture_output=True,
        text=True,
        check=True,
    )
    # numpy is installed by nobody here, and traces are an extra
    assert named - set(done.stdout.split()) <= {"numpy", "opentelemetry.sdk"}
