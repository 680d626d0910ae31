"""Configures all logging of a process; must not let through a value under a key that is not on the list.

Log lines go to people who may not see patients or keys. So values are let through by the *name* they are logged
under (`ALLOWED_KEYS`): ids, counts, states, outcomes. What is not on the list is dropped, and the line says how many
were (`dropped`), so that a missing value is noticed and never guessed at. Exceptions are logged as type and place,
not as text, because texts quote what they choke on.

Write events as fixed text (`log.info("exam_delivered", request_uuid=…)`), never as formatted text. Records of other
libraries (`logging`) are formatted text by nature: below WARNING only our own and uvicorn's are let through.
"""

import json
import logging
import logging.config
import os
import sys
import traceback
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog

ALLOWED_KEYS = frozenset(
    """
    account action attempt attempts blame bytes capture captures case_id changed code count cron database_ms
    delivered_at detail_code direction due_at duration_ms effect epoch event event_id exam_uuid failed fields found
    free_bytes gaps host index invitation_id job kind lease_epoch level limit link_id logger looked_at method new
    next_step old operation organization organization_id outcome page pages path patient_id pid port process reason
    remote_id removed request_id request_uuid result retry_after_seconds role row_id scope seconds service size source
    state status step study_id timestamp token_id total transport until upstream user_id version wait_seconds
    waiting worker_id workers
    error_type error_place error_cause dropped
    """.split()  # noqa: SIM905 - a block of words is easier to read and to sort than 90 quoted lines
)
"""Names under which a value may be logged. None may ever hold a patient's data, a token, a key or a whole URL."""

QUIET_LOGGERS = (
    "aiosqlite",
    "alembic",
    "arq",
    "asyncio",
    "httpcore",
    "httpx",
    "multipart",
    "python_multipart",
    "sqlalchemy",
    "uvicorn.access",
    "uvicorn.asgi",
)
"""Log whole URLs, statements or arguments below WARNING (httpx: at INFO)."""

PLACE_FRAMES = 4
"""How many of the innermost frames of an exception are named."""

"""Longest request id taken from outside."""


class _OurHandler(logging.StreamHandler[TextIO]):
    """Marks the handler that configure_logging put in place."""


class _Stderr:
    """Where the lines of a logger of ours go."""

    def __init__(self, stream: TextIO, name: str = "root") -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line. Where it can't be written (nobody reads, the disk is full) work goes on without it."""
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")

    debug = info = warning = error = critical = exception = msg


def _as_json(fields: MutableMapping[str, Any], *, default: Callable[[Any], Any]) -> str:
    return _encoder(default).encode(fields)


@cache
def _encoder(default: Callable[[Any], Any]) -> json.JSONEncoder:
    return json.JSONEncoder(sort_keys=True, default=default)


def configure_logging(env: Literal["production", "development"], level: str = "INFO") -> None:
    """Sends every record of the process to stderr: JSON lines in production, readable ones in development.

    Call it first in each process. Calling it again replaces the configuration.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        exception_as_place,
        keep_allowed_keys,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(serializer=_as_json)
        if env == "production"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=True)
    )
    # our own lines go straight to stderr: by way of `logging` each costs more than twice as much
    structlog.configure(
        processors=[*shared, renderer],
        logger_factory=partial(_Stderr, sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level.lower()),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = _OurHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, _OurHandler):  # others' stay: pytest puts its own there
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True
    logging.captureWarnings(capture=True)


def exception_as_place(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replaces `exc_info` by the exception's type, the innermost places it came through, and its cause's type."""
    exc_info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error = _exception_of(exc_info)
    if error is None:
        return event
    event["error_type"] = _type_name(error)
    event["error_place"] = error_place(error)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        event["error_cause"] = _type_name(cause)
    return event


def error_place(error: BaseException) -> str:
    """Where an exception was raised, outermost first: `runner.py:88 run_step < send.py:41 upload`; no text of it."""
    frames = traceback.extract_tb(error.__traceback__)[-PLACE_FRAMES:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)


def keep_allowed_keys(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drops what is logged under a name not on the list; `dropped` counts it. Structlog's own keys pass."""
    unknown = [key for key in event if key not in ALLOWED_KEYS and not key.startswith("_")]
    for key in unknown:
        del event[key]
    if unknown:
        event["dropped"] = len(unknown)
    return event


def bind_request_id() -> str:
    """Puts a new request id on every line of this task from here on, and returns it; none is taken from outside."""
    request_id = os.urandom(16).hex()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    return request_id


def current_request_id() -> str | None:
    """The request id bound to this task, to be kept with a row whose later work should carry it."""
    bound = structlog.contextvars.get_contextvars().get("request_id")
    return bound if isinstance(bound, str) else None


def _type_name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")


def _exception_of(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        value = exc_info[1]
        return value if isinstance(value, BaseException) else None
    if exc_info:
        return sys.exc_info()[1]
    return None
