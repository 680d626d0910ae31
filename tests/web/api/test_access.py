"""Who may call the admin API: a walk over every route as nobody and with a token that may only read."""

import uuid
from collections import OrderedDict

import httpx
import pytest

from app.people.tokens import create_token
from app.store.audit import By
from app.web.api.documents import openapi_of
from app.web.api.root import api
from app.web.api.routing import BUCKETS, CALLS_PER_SECOND, admit
from app.web.problems import Problem
from tests.support.ops import Ops

DOCUMENT = openapi_of(api)
ROUTES = sorted(
    (method.upper(), path) for path, operations in DOCUMENT["paths"].items() for method in operations
)
KNOWN = {
    "organization": "nowhere",
    "application": str(uuid.uuid4()),
    "request_uuid": str(uuid.uuid4()),
    "link_id": str(uuid.uuid4()),
    "token_id": str(uuid.uuid4()),
    "user": "nobody@example.org",
    "prefix": "0000",
    "n": "0",
}


def concrete(path: str) -> str:
    """The path with an id of nothing in every place."""
    return path.format(**KNOWN)


async def test_every_route_refuses_nobody_and_wrong_tokens(ops: Ops):
    assert len(ROUTES) > 40
    for method, path in ROUTES:
        for headers in (
            {},
            {"Authorization": "Bearer sbt_" + "x" * 43},
            {"Authorization": "Bearer nonsense"},
            {"Authorization": ops.read.headers["authorization"].replace("Bearer", "Basic")},
        ):
            answer = await ops.nobody.request(method, f"{ops.bridge.url}{concrete(path)}", headers=headers)
            # a flood of refusals is itself refused, with nothing more said
            assert answer.status_code in {401, 429}, (method, path, answer.status_code)
            assert answer.headers["content-type"] == "application/problem+json"
    assert ops.sandbox.journal.effects == []


async def test_the_body_is_not_looked_at_before_the_token(ops: Ops):
    answer = await ops.nobody.post("organizations", content=b"{not json")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_read_token_changes_nothing(ops: Ops):
    for method, path in ROUTES:
        if method == "GET":
            continue
        answer = await ops.read.request(method, f"{ops.bridge.url}{concrete(path)}")
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), (method, path)
    assert ops.sandbox.journal.effects == []


async def test_a_session_cookie_opens_nothing_here(ops: Ops):
    answer = await ops.nobody.get("overview", headers={"Cookie": "sonobridge=" + "x" * 43})
    assert answer.status_code == 401


async def test_tokens_are_shown_once_listed_changed_and_revoked(ops: Ops):
    made = await ops.write.post("tokens", json={"name": "nightly report", "scope": "read"})
    assert made.status_code == 201
    body = made.json()
    assert set(body) == {"id", "name", "scope", "token"}
    twice = await ops.write.post("tokens", json={"name": "nightly report"})
    assert (twice.status_code, twice.json()["code"]) == (409, "name_taken")
    async with httpx.AsyncClient(
        base_url=ops.read.base_url, headers={"Authorization": f"Bearer {body['token']}"}
    ) as nightly:
        assert (await nightly.get("overview")).status_code == 200
        assert (await nightly.post("reconcile")).status_code == 403
        changed = await ops.write.patch(f"tokens/{body['id']}", json={"scope": "write"})
        assert changed.json()["scope"] == "write"
        assert (await nightly.post("reconcile")).status_code == 200
        listed = (await ops.read.get("tokens")).json()["items"]
        assert {one["name"] for one in listed} == {"nightly report", "read token", "write token"}
        assert body["token"] not in str(listed)
        assert next(one for one in listed if one["name"] == "nightly report")["last_used_at"]
        assert (await ops.write.delete(f"tokens/{body['id']}")).status_code == 204
        assert (await nightly.get("overview")).status_code == 401
    assert (await ops.read.get(f"tokens/{body['id']}")).json()["code"] == "no_such_token"


async def test_a_body_that_is_too_long_is_refused(ops: Ops):
    answer = await ops.write.post("exams/import", content=b'{"a": "' + b"x" * 2_000_000 + b'"}')
    assert answer.status_code == 413


async def test_the_hash_and_not_the_secret_is_stored(ops: Ops):
    token, secret = await create_token(ops.bridge.resources, name="x", scope="read", by=By("test"))
    assert secret.encode() not in token.token_hash
    assert len(token.token_hash) == 32


def test_a_token_that_calls_too_often_waits():
    buckets = OrderedDict()
    for _ in range(int(CALLS_PER_SECOND)):
        admit(buckets, "token:a", CALLS_PER_SECOND, at=5.0)
    with pytest.raises(Problem) as refused:
        admit(buckets, "token:a", CALLS_PER_SECOND, at=5.0)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "1")
    admit(buckets, "token:b", CALLS_PER_SECOND, at=5.0)
    admit(buckets, "token:a", CALLS_PER_SECOND, at=6.0)


def test_the_shares_of_callers_are_bounded():
    buckets = OrderedDict()
    for number in range(BUCKETS * 2):
        admit(buckets, f"address:{number}", 1.0, at=0.0)
    assert len(buckets) == BUCKETS
