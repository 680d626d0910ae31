"""The sandbox's verifier agrees with the vendor's vectors and refuses what differs from them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox.aurabox.signing import SignedRequest, complaint_about, expected_signature

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "aura_hmac_vectors.json").read_text())["vectors"]


def request_of(vector, **changes) -> SignedRequest:
    parts = urlsplit(vector["url"])
    headers = {k.lower(): v for k, v in vector["headers"].items()} | {
        "x-aura-timestamp": vector["timestamp"],
        "x-aura-nonce": vector["nonce"],
        "authorization": vector["expected"]["authorization"],
    }
    values = {
        "method": vector["method"],
        "raw_path": parts.path,
        "query": parts.query,
        "headers": headers,
        "body": (vector["body"] or "").encode(),
    }
    return SignedRequest(**(values | changes))


def verdict(vector, request, *, seconds_later=0, nonces=None) -> str:
    now = datetime.fromtimestamp(int(vector["timestamp"]) + seconds_later, UTC)
    return complaint_about(
        request,
        app_id=vector["app_id"],
        app_secret=vector["app_secret"],
        used_nonces=set() if nonces is None else nonces,
        now=now,
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_every_vector_is_reproduced_and_accepted(vector):
    request = request_of(vector)
    names = tuple(vector["expected"]["signed_headers"].split(";"))
    signature = expected_signature(
        request, app_id=vector["app_id"], app_secret=vector["app_secret"], signed_names=names
    )
    assert signature == vector["expected"]["signature"]
    assert verdict(vector, request) == ""


def test_what_was_not_signed_is_refused():
    vector = VECTORS[0]
    good = request_of(vector)
    assert "signature" in verdict(vector, request_of(vector, body=b"{}"))
    assert "signature" in verdict(vector, request_of(vector, raw_path="/auth/exchange"))
    assert "signature" in verdict(vector, request_of(vector, headers={**good.headers, "host": "other"}))
    assert "malformed" in verdict(
        vector, request_of(vector, headers={**good.headers, "authorization": "Bearer x"})
    )
    assert verdict({**vector, "app_id": "other"}, good) == "Unknown application."
    unsigned_type = dict(request_of(VECTORS[1]).headers) | {"content-type": "text/plain"}
    assert "SignedHeaders" in verdict(VECTORS[1], request_of(VECTORS[1], headers=unsigned_type))


@pytest.mark.parametrize(("seconds", "ok"), [(299, True), (-299, True), (301, False), (-301, False)])
def test_the_clock_may_differ_by_five_minutes(seconds, ok):
    assert (verdict(VECTORS[0], request_of(VECTORS[0]), seconds_later=seconds) == "") is ok


def test_a_nonce_serves_once():
    nonces: set[str] = set()
    assert verdict(VECTORS[0], request_of(VECTORS[0]), nonces=nonces) == ""
    assert "nonce" in verdict(VECTORS[0], request_of(VECTORS[0]), nonces=nonces)
