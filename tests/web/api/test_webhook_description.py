"""The webhook against its description: what is posted by it, or against it, is answered as it says."""

import asyncio
import json
import uuid

import httpx
import schemathesis
from jsonschema_rs import Draft202012Validator

from tests.support.by_description import call_at_random
from tests.support.ops import Ops

PATH = "/webhooks/clarius"
EXAMPLES = 40


async def described(ops: Ops) -> dict[str, object]:
    """The document as it is served."""
    return (await ops.nobody.get(f"{ops.bridge.url}/api/admin/openapi.json")).json()


def post_at_random(document: dict[str, object], url: str) -> int:
    """Post invented notifications; how many of them were taken."""
    operation = schemathesis.openapi.from_dict(document)[PATH]["POST"]
    return call_at_random(operation, url, examples=EXAMPLES).count(202)


async def test_what_is_posted_by_the_description_is_answered_by_it(ops: Ops):
    assert await asyncio.to_thread(post_at_random, await described(ops), ops.bridge.url) > 0


async def test_every_refusal_is_one_of_those_described(ops: Ops):
    document = await described(ops)
    operation = document["paths"][PATH]["post"]
    notice = {
        "request_uuid": str(uuid.uuid4()),
        "exam_uuid": str(uuid.uuid4()),
        "customer_id": "a-customer",
        "download_url": "https://cloud.example/download-requests/1/data/",
    }
    body, kind = json.dumps(notice).encode(), {"content-type": "application/json"}
    sent = (
        (202, PATH, kind, body),
        (404, f"{PATH}/guessed", kind, body),
        (413, PATH, kind, body + b" " * 20_000),
        (415, PATH, {"content-type": "text/plain"}, body),
        (422, PATH, kind, b'{"customer_id": 1}'),
    )
    async with httpx.AsyncClient(base_url=ops.bridge.url, trust_env=False) as client:
        for status, path, headers, content in sent:
            answer = await client.post(path, headers=headers, content=content)
            assert answer.status_code == status, path
            described_answer = operation["responses"][str(status)]
            (media,) = described_answer["content"]
            assert answer.headers["content-type"] == media
            schema = {"components": document["components"], **described_answer["content"][media]["schema"]}
            Draft202012Validator(schema).validate(answer.json())
            if status != 202:
                assert f"`{answer.json()['code']}`" in described_answer["description"]


async def test_it_needs_no_token(ops: Ops):
    assert (await described(ops))["paths"][PATH]["post"]["security"] == []
