"""Every vector that was checked against the vendor's signer, and the traps that docs/vendors.md names."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from app.clients.aurabox.signer import sign

VECTORS = json.loads((Path(__file__).parents[2] / "data" / "aura_hmac_vectors.json").read_text())["vectors"]


def signed(**changes):
    given = {
        "app_id": "app",
        "app_secret": "secret",
        "method": "POST",
        "target": "/api/auth/exchange",
        "headers": {"Host": "aura.example.com", "Content-Type": "application/json"},
        "body": b"{}",
        "timestamp": 1706140800,
        "nonce": "550e8400-e29b-41d4-a716-446655440000",
    }
    return sign(**{**given, **changes})


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_the_vendors_vectors(vector):
    signature = sign(
        app_id=vector["app_id"],
        app_secret=vector["app_secret"],
        method=vector["method"],
        target=vector["url"],
        headers=vector["headers"],
        body=(vector["body"] or "").encode(),
        timestamp=int(vector["timestamp"]),
        nonce=vector["nonce"],
    )
    steps = asdict(signature)
    assert {name: steps[name] for name in vector["expected"]} == vector["expected"]


def test_there_are_vectors():
    assert len(VECTORS) >= 3


def test_the_date_is_of_the_timestamp_in_utc():
    assert "/20240124/" in signed(timestamp=1706140799).credential_scope
    assert "/20240125/" in signed(timestamp=1706140800).credential_scope


def test_only_the_documented_headers_are_signed():
    plain = signed()
    more = signed(headers={"Host": "aura.example.com", "Content-Type": "application/json", "X-Api-Key": "k"})
    assert more.signature == plain.signature
    assert "x-api-key" not in more.signed_headers


def test_white_space_in_a_header_is_trimmed_and_folded():
    odd = {"host": "  aura.example.com ", "content-type": "application/json"}
    assert signed(headers=odd).signature == signed().signature


def test_a_path_is_decoded_once_and_encoded_once():
    assert signed(target="/api/a%20b%2Fc/ü").canonical_request.split("\n")[1] == "/api/a%20b%2Fc/%C3%BC"


def test_a_query_is_sorted_and_spelled_one_way():
    line = signed(target="/x?b=2&a=%7e&a=1%2B1&c=").canonical_request.split("\n")[2]
    assert line == "a=1%2B1&a=~&b=2&c="


@pytest.mark.parametrize(
    "change",
    [
        {"body": b"{ }"},
        {"nonce": "6f3a8f8e-0000-4000-8000-000000000000"},
        {"timestamp": 1706140801},
        {"method": "PUT"},
        {"app_secret": "other"},
        {"headers": {"Host": "aura.example.com:8443", "Content-Type": "application/json"}},
    ],
)
def test_everything_signed_changes_the_signature(change):
    assert signed(**change).signature != signed().signature
