"""Turns what went wrong in an exchange into the error tree; pure, must not do I/O or repeat a secret.

An error's message is ours: operation, status, which fields and what kind of rule. The upstream's own words are kept
beside it, because people need them, with every value that we sent cut out of them; they may still tell of a patient.
"""

import email.utils
import json
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from app.clients.http.call import Call
from app.clients.http.remarks import remarks
from app.errors import (
    RETRY_AFTER_CAP_SECONDS,
    BadAnswer,
    GiveUp,
    LookFirst,
    NotThere,
    Rejected,
    RenewCredentials,
    SlowDown,
    TryLater,
    UpstreamError,
)

MESSAGE_CAP_CHARACTERS = 300
FIELDS_CAP = 50
SHORTEST_REDACTED_CHARACTERS = 3
KIND_BY_STATUS: dict[int, type[UpstreamError]] = {
    401: RenewCredentials,
    404: NotThere,
    408: TryLater,
    410: NotThere,
    425: TryLater,
    429: SlowDown,
}
STATUS_TOLD = {403: "no permission for this"}
_UNKNOWN_AUTHORITY = "is of an authority that is not trusted here; SONOBRIDGE_CA_FILE adds one"
CERTIFICATE_FAULTS = {
    9: "is not valid yet",
    10: "has expired",
    18: _UNKNOWN_AUTHORITY,
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    62: "is another host's",
    64: "is another host's",
}
"""By OpenSSL's number of the fault (X509_V_ERR_*, openssl/x509_vfy.h)."""
NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait by `Retry-After` (seconds or an HTTP date, RFC 9110 10.2.3), at most the cap; else None.

    A date is taken relative to the answer's own `Date`, so that a wrong clock on either side does not matter;
    without one, relative to `now` (Unix seconds). Negative and unreadable values count as not given.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        seconds = float(text[:10])
    else:
        until = _http_date(text)
        if until is None:
            return None
        here = _http_date(headers.get("date", ""))
        seconds = until - (now if here is None else here)
    return min(seconds, RETRY_AFTER_CAP_SECONDS) if seconds >= 0 else None


def _http_date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)


def _sent_values(call: Call) -> set[str]:
    values = {*_leaves(call.json), *_leaves(call.data or {}), *_leaves(dict(call.params or {}))}
    if call.credentials is not None:
        for header in call.credentials.headers.values():
            values.update((header, header.rpartition(" ")[2]))
    return {value for value in values if len(value.strip()) >= SHORTEST_REDACTED_CHARACTERS}


def redact(text: str, call: Call) -> str:
    """The upstream's text on one line, cut to length, without any value that the call sent."""
    for value in sorted(_sent_values(call), key=len, reverse=True):
        text = re.sub(re.escape(value), "…", text, flags=re.IGNORECASE)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MESSAGE_CAP_CHARACTERS else line[: MESSAGE_CAP_CHARACTERS - 1] + "…"


def _message_and_fields(body: bytes) -> tuple[str, dict[str, list[str]]]:
    """The upstream's message and its texts by field, from the shapes that are in use (Laravel, Django, JSON:API)."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return "", {}
    if not isinstance(value, dict):
        return (" ".join(_leaves(value)), {}) if isinstance(value, list | str) else ("", {})
    error = value.get("error")
    nested = error.get("message") if isinstance(error, Mapping) else error
    message = next(
        (text for text in (value.get("message"), value.get("detail"), nested) if isinstance(text, str)), ""
    )
    errors = value.get("errors")
    if isinstance(errors, list) and any(isinstance(item, Mapping) for item in errors):
        errors = _json_api_fields(errors)
    elif not isinstance(errors, Mapping):
        # Django REST framework (Clarius) answers {"field": ["texts"]} without an envelope.
        errors = {name: texts for name, texts in value.items() if isinstance(texts, list)}
    return message, {str(name): list(_leaves(texts)) for name, texts in list(errors.items())[:FIELDS_CAP]}


def _json_api_fields(errors: Sequence[Any]) -> dict[str, list[str]]:
    """JSON:API's list: each error points at its field (`/data/attributes/date_of_birth`) or at none."""
    fields: dict[str, list[str]] = {}
    for error in errors:
        if not isinstance(error, Mapping):
            continue
        source = error.get("source")
        at = (source.get("pointer") or source.get("parameter")) if isinstance(source, Mapping) else None
        name = str(at).rpartition("/")[2] if at else "request"
        fields.setdefault(name, []).extend(_leaves([error.get("title"), error.get("detail")]))
    return fields


def _as_it_may_be_told(fields: Mapping[str, Sequence[str]], call: Call) -> dict[str, list[str]]:
    return {redact(name, call): [redact(text, call) for text in texts] for name, texts in fields.items()}


def error_for_status(
    call: Call, status: int, *, headers: Mapping[str, str], body: bytes, now: float
) -> UpstreamError:
    """The error for a status that the call does not accept. `now` is Unix seconds, for `Retry-After`."""
    message, fields = _message_and_fields(body)
    remark = STATUS_TOLD.get(status) or remarks(
        fields, frozenset(value.strip().lower() for value in _leaves([call.json, call.data, call.params]))
    )
    return _kind_for_status(call, status)(
        f"{call.operation}: {call.host} answered {status}" + (f" ({remark})" if remark else ""),
        upstream=call.upstream,
        status=status,
        upstream_message=redact(message, call),
        fields=_as_it_may_be_told(fields, call),
        retry_after=retry_after(headers, now=now),
        account=call.account,
    )


def _kind_for_status(call: Call, status: int) -> type[UpstreamError]:
    if status == httpx.codes.FORBIDDEN:
        return RenewCredentials if call.forbidden_is_credentials else Rejected
    if status in KIND_BY_STATUS:
        return KIND_BY_STATUS[status]
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return LookFirst if call.has_effect else TryLater
    if status >= httpx.codes.BAD_REQUEST:
        return Rejected
    # a redirect of a write to somewhere (a sign-in page, say) tells nothing of what became of it
    return LookFirst if call.has_effect else BadAnswer


def _certificate_fault(error: BaseException) -> str | None:
    """Why the certificate of the other side was not taken, when that is what it was."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CERTIFICATE_FAULTS.get(cause.verify_code, "is not valid")
        cause = cause.__cause__ or cause.__context__
    return None


def error_for_transport(call: Call, error: httpx.HTTPError | TimeoutError) -> UpstreamError:
    """The error for an exchange that ended without a whole answer."""
    if isinstance(error, httpx.LocalProtocolError):
        # Its text can hold a header's value; and it will be as wrong the next time.
        return GiveUp(
            f"{call.operation}: the request could not be formed", upstream=call.upstream, account=call.account
        )
    nothing_sent = isinstance(error, NOTHING_SENT)
    timed_out = isinstance(error, httpx.TimeoutException | TimeoutError)
    fault = _certificate_fault(error)
    if fault is not None:
        line = f"{call.operation}: the certificate of {call.host} {fault}"
        return TryLater(
            line, upstream=call.upstream, account=call.account, code=f"{call.upstream}_certificate"
        )
    what = "could not connect" if nothing_sent else "took too long" if timed_out else "was cut"
    line = f"{call.operation}: {call.host} {what}"
    if call.has_effect and not nothing_sent:
        return LookFirst(line, upstream=call.upstream, account=call.account)
    code = f"{call.upstream}_timeout" if timed_out else None
    return TryLater(line, upstream=call.upstream, account=call.account, code=code)
