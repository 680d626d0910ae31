"""The admin API against its own description: Schemathesis with a valid token finds no 5xx and no undocumented answer."""

import asyncio
import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from jsonschema_rs import Draft202012Validator
from schemathesis.checks import CHECKS, load_all_checks

from app.web.api.documents import openapi_of
from app.web.api.root import api
from tests.support.ops import Ops

EXAMPLES_PER_OPERATION = 6
WANTED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
DOCUMENT = openapi_of(api)


def walk(url: str, token: str) -> int:
    """Call every operation with invented values; how many there are. Runs in a thread of its own."""
    load_all_checks()
    checks = [CHECKS.get_one(name) for name in WANTED]
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    walked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        walked += 1

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES_PER_OPERATION,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def call(case):
            case.call_and_validate(base_url=url, headers={"Authorization": f"Bearer {token}"}, checks=checks)

        call()
    return walked


@pytest.mark.row(17)
@pytest.mark.slow
async def test_every_operation_answers_as_described(ops: Ops):
    token = ops.write.headers["authorization"].removeprefix("Bearer ")
    await ops.sandbox.submit_exam(customer=await ops.bridge.customer(await ops.bridge.organization()))
    assert await asyncio.to_thread(walk, ops.bridge.url, token) > 40


def test_every_route_is_described_with_its_problems():
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            place = f"{method} {path}"
            assert len(operation["description"]) > 8, place
            assert {"401", "422", "429"} <= operation["responses"].keys(), place
            assert ("403" in operation["responses"]) == (method != "get"), place
            for status, answer in operation["responses"].items():
                if status.startswith(("4", "5")):
                    assert "`" in answer["description"], f"{place} names no code for {status}"
                    assert list(answer["content"]) == ["application/problem+json"], place


def test_every_answer_has_an_example_that_fits():
    components = DOCUMENT["components"]
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                content = answer.get("content", {}).get("application/json")
                if content is None or not status.startswith("2"):
                    continue
                schema = {"components": components, **content["schema"]}
                assert "example" in content, f"{method} {path} {status}"
                Draft202012Validator(schema).validate(json.loads(json.dumps(content["example"])))
