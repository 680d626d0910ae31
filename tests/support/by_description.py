"""Calls operations with values invented by their description and checks the answers by it; holds no test."""

from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS, load_all_checks

WANTED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


def call_at_random(
    operation: Any, url: str, *, examples: int, headers: Mapping[str, str] | None = None
) -> list[int]:
    """Call one operation of a Schemathesis schema so many times, the same ones each run; the statuses of its answers.

    Blocks: it has to run in a thread of its own beside the event loop that answers. Raises at an answer that is not
    described.
    """
    load_all_checks()
    checks = [CHECKS.get_one(name) for name in WANTED]
    statuses: list[int] = []

    @given(case=operation.as_strategy())
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def call(case: Any) -> None:
        answer = case.call_and_validate(base_url=url, headers=dict(headers or {}), checks=checks)
        statuses.append(answer.status_code)

    call()
    return statuses
