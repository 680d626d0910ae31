"""Verifies AURA-HMAC-SHA256 from docs/vendors.md, "The signature of uploads", alone, so that it can disagree with the bridge's own signer."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote

MAX_SKEW_SECONDS = 300
ALGORITHM = "AURA-HMAC-SHA256"
AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=(?P<app>[^,]+),\s*SignedHeaders=(?P<names>[^,]+),\s*Signature=(?P<signature>[0-9a-f]{{64}})"
)
REQUIRED_NAMES = frozenset({"host", "x-aura-nonce", "x-aura-timestamp"})


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a signature covers, as it came in; header names are lower case, `raw_path` still percent-encoded."""

    method: str
    raw_path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def expected_signature(
    request: SignedRequest, *, app_id: str, app_secret: str, signed_names: tuple[str, ...]
) -> str:
    """The hex signature that this request should carry."""
    headers = request.headers
    timestamp = headers["x-aura-timestamp"]
    day = datetime.fromtimestamp(int(timestamp), UTC).strftime("%Y%m%d")
    path = "/".join(quote(unquote(segment), safe="-_.~") for segment in request.raw_path.split("/"))
    pairs = sorted(
        (quote(k, safe="-_.~"), quote(v, safe="-_.~"))
        for k, v in parse_qsl(request.query, keep_blank_values=True)
    )
    canonical = "\n".join(
        (
            request.method.upper(),
            path,
            "&".join(f"{k}={v}" for k, v in pairs),
            "".join(f"{n}:{' '.join(headers.get(n, '').split())}\n" for n in signed_names),
            ";".join(signed_names),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    scope = f"{app_id}/{day}/aura_request"
    to_sign = f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _mac(_mac(f"AURA{app_secret}".encode(), day), "aura_request")
    return _mac(key, to_sign).hex()


def complaint_about(
    request: SignedRequest, *, app_id: str, app_secret: str, used_nonces: set[str], now: datetime
) -> str:
    """Why the request is not properly signed, or "". A good request's nonce is used up."""
    match = AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if match is None:
        return "The Authorization header is missing or malformed."
    if match["app"] != app_id:
        return "Unknown application."
    names = tuple(match["names"].split(";"))
    nonce = request.headers.get("x-aura-nonce", "")
    if wrong := _wrong_headers(request.headers, names, now=now):
        return wrong
    if not nonce or nonce in used_nonces:
        return "The nonce is missing or was used before."
    expected = expected_signature(request, app_id=app_id, app_secret=app_secret, signed_names=names)
    if not hmac.compare_digest(expected, match["signature"]):
        return "The signature does not match."
    used_nonces.add(nonce)
    return ""


def _wrong_headers(headers: Mapping[str, str], names: tuple[str, ...], *, now: datetime) -> str:
    required = REQUIRED_NAMES | ({"content-type"} if "content-type" in headers else frozenset())
    if list(names) != sorted(set(names)) or not required <= set(names):
        return "SignedHeaders must be sorted and name host, x-aura-nonce, x-aura-timestamp and content-type."
    timestamp = headers.get("x-aura-timestamp", "")
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return "The timestamp is malformed."
    if abs(now.timestamp() - int(timestamp)) > MAX_SKEW_SECONDS:
        return "The timestamp is outside the allowed window."
    return ""


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
