"""What log lines hold, and above all what they do not. Each case runs in a process of its own, as in life."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.observing.logs import ALLOWED_KEYS, keep_allowed_keys

ROOT = Path(__file__).parents[2]

HEAD = """
import logging, sys, warnings
import structlog
from app.observing.logs import bind_request_id, configure_logging
configure_logging(sys.argv[1], "INFO")
log = structlog.get_logger("app.test")
"""


def run(text: str, env: str = "production") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + text, env], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_production_writes_json_with_allowed_keys_only():
    (line,) = run('log.info("exam_delivered", request_uuid="r-1", patient_name="Canary", token="t0k3n")')
    assert "Canary" not in line
    assert "t0k3n" not in line
    fields = json.loads(line)
    assert fields["event"] == "exam_delivered"
    assert fields["request_uuid"] == "r-1"
    assert fields["dropped"] == 2
    assert fields["level"] == "info"
    assert fields["logger"] == "app.test"
    assert fields["timestamp"].endswith("Z")


def test_development_is_readable_and_just_as_silent():
    (line,) = run('log.info("exam_delivered", request_uuid="r-1", patient_name="Canary")', "development")
    assert "exam_delivered" in line
    assert "request_uuid=r-1" in line
    assert "Canary" not in line
    assert not line.startswith("{")


@pytest.mark.parametrize("gone", ["sys.stderr.close()", "import os; os.close(2)"])
def test_a_line_that_cannot_be_written_stops_nobody(gone: str):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{HEAD}{gone}; log.warning('nobody reads this'); print('went on')",
            "production",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "went on\n"


@pytest.mark.parametrize("env", ["production", "development"])
def test_exceptions_are_type_and_place_without_their_text(env: str):
    lines = run(
        """
def choke():
    raise ValueError("Canary")
try:
    try:
        choke()
    except ValueError as error:
        raise RuntimeError("Canary too") from error
except RuntimeError:
    log.exception("step_failed")
    logging.getLogger("uvicorn.error").exception("request failed")
    log.error("step_failed", exc_info=sys.exc_info()[1])
""",
        env,
    )
    assert len(lines) == 3
    for line in lines:
        assert "RuntimeError" in line
        assert "ValueError" in line
        assert "<module>" in line
        assert "Canary" not in line


def test_libraries_that_log_urls_and_arguments_are_quiet():
    lines = run(
        """
for name in ("httpx", "httpcore.connection", "uvicorn.access", "arq.worker", "sqlalchemy.engine.Engine"):
    logging.getLogger(name).info("GET https://example.org/?token=Canary")
    logging.getLogger(name).warning("something is wrong")
"""
    )
    assert len(lines) == 5
    assert all(json.loads(line)["event"] == "something is wrong" for line in lines)


def test_a_request_id_is_on_every_line_of_its_task():
    lines = run('log.info(bind_request_id()); logging.getLogger("uvicorn.error").info("b")')
    bound = json.loads(lines[0])["event"]
    assert len(bound) == 32
    assert [json.loads(line)["request_id"] for line in lines] == [bound, bound]


def test_configuring_twice_writes_once():
    assert len(run('configure_logging("production", "INFO"); log.info("once")')) == 1


def test_the_level_is_kept():
    assert run('configure_logging("production", "ERROR"); log.info("a"); log.warning("b")') == []


def test_warnings_go_the_same_way():
    (line,) = run('warnings.warn("old function")')
    assert json.loads(line)["level"] == "warning"


def test_the_list_holds_no_name_that_would_carry_a_patient_or_a_secret():
    suspicious = {
        name
        for name in ALLOWED_KEYS
        if any(
            word in name
            for word in ("password", "secret", "birth", "url", "email", "given", "family", "body")
        )
        or name in {"token", "key", "patient", "name", "customer_id", "address", "query"}
    }
    assert suspicious == set()
    assert keep_allowed_keys(None, "info", {"event": "x", "url": "https://…"}) == {"event": "x", "dropped": 1}


def logging_calls() -> list[tuple[str, ast.Call]]:
    """Every `log.info(…)` and the like in the product, with its place."""
    files = [*(ROOT / "app").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node)
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"debug", "info", "warning", "error", "critical", "exception"}
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"log", "logger"}
    ]


def test_what_the_product_logs_is_let_through_and_worded_beforehand():
    calls = logging_calls()
    assert len(calls) > 10
    for place, call in calls:
        assert isinstance(call.args[0], ast.Constant), (
            f"{place}: an event is a fixed text, its values are keys"
        )
        for keyword in call.keywords:
            assert keyword.arg in ALLOWED_KEYS | {"exc_info"}, f"{place}: {keyword.arg} would be dropped"
