"""Verifies AURA-HMAC-SHA256 from the contract's text alone, so that it can disagree with the bridge's own signer."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote

MAX_SKEW_SECONDS = 300
ALGORITHM = "AURA-HMAC-SHA256"
AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=(?P<app>[^,]+),\s*SignedHeaders=(?P<names>[^,]+),\s*Signature=(?P<signature>[0-9a-f]{{64}})"
)
REQUIRED_NAMES = frozenset({"host", "x-aura-nonce", "x-aura-timestamp"})


def expected_signature(
    *,
    app_id: str,
    app_secret: str,
    method: str,
    raw_path: str,
    query: str,
    headers: Mapping[str, str],
    signed_names: tuple[str, ...],
    body: bytes,
) -> str:
    """The hex signature of a request; header names in `headers` are lower case."""
    timestamp = headers["x-aura-timestamp"]
    day = datetime.fromtimestamp(int(timestamp), UTC).strftime("%Y%m%d")
    path = "/".join(quote(unquote(segment), safe="-_.~") for segment in raw_path.split("/"))
    pairs = sorted(
        (quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(query, keep_blank_values=True)
    )
    canonical = "\n".join(
        (
            method.upper(),
            path,
            "&".join(f"{k}={v}" for k, v in pairs),
            "".join(f"{n}:{' '.join(headers.get(n, '').split())}\n" for n in signed_names),
            ";".join(signed_names),
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{app_id}/{day}/aura_request"
    to_sign = f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _mac(_mac(f"AURA{app_secret}".encode(), day), "aura_request")
    return _mac(key, to_sign).hex()


def complaint_about(
    *,
    app_id: str,
    app_secret: str,
    method: str,
    raw_path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    used_nonces: set[str],
    now: datetime,
) -> str:
    """Why the request is not properly signed, or "". A good request's nonce is used up."""
    match = AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if match is None:
        return "The Authorization header is missing or malformed."
    if match["app"] != app_id:
        return "Unknown application."
    names = tuple(match["names"].split(";"))
    required = REQUIRED_NAMES | ({"content-type"} if "content-type" in headers else frozenset())
    if list(names) != sorted(set(names)) or not required <= set(names):
        return "SignedHeaders must be sorted and name host, x-aura-nonce, x-aura-timestamp and content-type."
    timestamp, nonce = headers.get("x-aura-timestamp", ""), headers.get("x-aura-nonce", "")
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return "The timestamp is malformed."
    if abs(now.timestamp() - int(timestamp)) > MAX_SKEW_SECONDS:
        return "The timestamp is outside the allowed window."
    if not nonce or nonce in used_nonces:
        return "The nonce is missing or was used before."
    expected = expected_signature(
        app_id=app_id,
        app_secret=app_secret,
        method=method,
        raw_path=raw_path,
        query=query,
        headers=headers,
        signed_names=names,
        body=body,
    )
    if not hmac.compare_digest(expected, match["signature"]):
        return "The signature does not match."
    used_nonces.add(nonce)
    return ""


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
