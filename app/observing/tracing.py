"""OpenTelemetry spans, when the exporter's usual environment is set and the extra `otel` is installed; else nothing.

`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` turns them on. A span names an operation and holds
ids, counts and outcomes only: the rule of `app.observing.logs` holds here too. Must not decide anything by a span.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from app.named import Named

VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXPORTING: Named[Any] = Named("app.observing.exporting", "exporting_provider")
SERVICE = "sonobridge"
NANOSECONDS = 1_000_000_000


def has_exporter() -> bool:
    """Whether the environment asks for traces."""
    return any(os.environ.get(name) for name in VARIABLES)


@cache
def provider() -> Any:
    """The process's provider of tracers, made at the first span; None when traces are off. It flushes at exit."""
    if not has_exporter():
        return None
    try:
        return EXPORTING(os.environ.get("OTEL_SERVICE_NAME", SERVICE))
    except ImportError:  # the extra `otel` is not installed
        return None


@contextmanager
def span(name: str, **attributes: str | float) -> Iterator[None]:
    """Surround one piece of work. Spans inside it become its children; an exception is noted by its type alone."""
    source = provider()
    if source is None:
        yield
        return
    tracer = source.get_tracer(SERVICE)
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield
        except BaseException as error:
            opened.set_attribute("error.type", type(error).__name__)
            raise


def note_span(name: str, seconds: float, **attributes: str | float) -> None:
    """A span of something that has just ended after `seconds`."""
    source = provider()
    if source is None:
        return
    end = time.time_ns()
    start = end - int(seconds * NANOSECONDS)
    source.get_tracer(SERVICE).start_span(name, start_time=start, attributes=attributes).end(end_time=end)
