"""The admin API against its own description: Schemathesis with a valid token finds no 5xx and no undocumented answer."""

import asyncio
import json

import pytest
import schemathesis
from jsonschema_rs import Draft202012Validator

from app.web.api.documents import openapi_of
from app.web.api.root import api
from tests.support.by_description import call_at_random
from tests.support.ops import Ops

EXAMPLES_PER_OPERATION = 6
DOCUMENT = openapi_of(api)


def walk(url: str, token: str) -> int:
    """Call every operation with invented values; how many there are."""
    operations = [found.ok() for found in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()]
    for operation in operations:
        call_at_random(
            operation,
            url,
            examples=EXAMPLES_PER_OPERATION,
            headers={"Authorization": f"Bearer {token}"},
        )
    return len(operations)


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
