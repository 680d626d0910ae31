"""AURA-HMAC-SHA256 request signing, pure: time and nonce come from the caller, nothing is sent.

Source: docs/vendors.md, "The signature of uploads"; the vectors in the tests were checked against the vendor's signer.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote

ALGORITHM = "AURA-HMAC-SHA256"
SCOPE_END = "aura_request"
SIGNED_WHEN_PRESENT = ("content-type", "host", "x-aura-nonce", "x-aura-timestamp")
UNRESERVED = "-_.~"


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature with the steps that led to it; `headers` is what the request must carry besides its own."""

    payload_hash: str
    signed_headers: str
    canonical_request: str
    canonical_request_hash: str
    credential_scope: str
    string_to_sign: str
    signature: str
    authorization: str
    headers: Mapping[str, str]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _path(raw: str) -> str:
    return "/".join(quote(unquote(part), safe=UNRESERVED) for part in raw.split("/"))


def _query(raw: str) -> str:
    pairs = parse_qsl(raw, keep_blank_values=True)
    spelled = sorted((quote(name, safe=UNRESERVED), quote(value, safe=UNRESERVED)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in spelled)


def sign(
    *,
    app_id: str,
    app_secret: str,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes,
    timestamp: int,
    nonce: str,
) -> Signature:
    """Sign a request. `target` is the path (with the base URL's own) and query as sent, `headers` hold `Host` as it
    is really sent and `Content-Type` when there is one, `body` is the exact bytes. `timestamp` is in Unix seconds;
    `nonce` must be a fresh uuid4 for every attempt, retries too.
    """
    added = {"X-Aura-Timestamp": str(timestamp), "X-Aura-Nonce": nonce}
    lowered = {name.lower(): " ".join(value.split()) for name, value in {**headers, **added}.items()}
    names = [name for name in SIGNED_WHEN_PRESENT if name in lowered]
    path, _, query = target.partition("?")
    payload_hash = _sha256(body)
    signed_headers = ";".join(names)
    canonical = "\n".join(
        (
            method.upper(),
            _path(path),
            _query(query),
            "".join(f"{name}:{lowered[name]}\n" for name in names),
            signed_headers,
            payload_hash,
        )
    )
    day = datetime.fromtimestamp(timestamp, UTC).strftime("%Y%m%d")
    scope = f"{app_id}/{day}/{SCOPE_END}"
    canonical_hash = _sha256(canonical.encode())
    to_sign = "\n".join((ALGORITHM, str(timestamp), scope, canonical_hash))
    key = _hmac(_hmac(f"AURA{app_secret}".encode(), day), SCOPE_END)
    signature = _hmac(key, to_sign).hex()
    authorization = f"{ALGORITHM} Credential={app_id},SignedHeaders={signed_headers},Signature={signature}"
    return Signature(
        payload_hash=payload_hash,
        signed_headers=signed_headers,
        canonical_request=canonical,
        canonical_request_hash=canonical_hash,
        credential_scope=scope,
        string_to_sign=to_sign,
        signature=signature,
        authorization=authorization,
        headers={**added, "Authorization": authorization},
    )
