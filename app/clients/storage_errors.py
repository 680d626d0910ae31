"""Reads which error an object store means, from the dialects that are in use; pure, and keeps nothing but its code.

A refusal's body repeats the link that was asked, with its signature, and may name the file: only the code leaves here.

Links that ran out are told in many ways. S3 answers 403 AccessDenied, with "Request has expired" as its message; where
the link outlived the temporary credentials that signed it, 400 ExpiredToken. Google answers 400 ExpiredToken,
Cloudflare R2 400 or 403 ExpiredRequest, Alibaba 403 SecurityTokenExpired, Azure 403 AuthenticationFailed with the
time in a detail and the code in a header too, Backblaze 401 expired_auth_token.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# XML has it in an element, JSON in a string; "code" may be a number there, which says no more than the status
CODE = re.compile(
    rb"""<(?:[\w-]+:)?Code>\s*([A-Za-z][\w.-]{1,63})\s*</|"(?:code|Code|reason)"\s*:\s*"([A-Za-z][\w.-]{1,63})\""""
)
TELLS = re.compile(
    rb"<(?:[\w-]+:)?(?:Message|Details|AuthenticationErrorDetail)>([^<]{0,2000})|"
    rb'"(?:message|Message)"\s*:\s*"((?:[^"\\]|\\.){0,2000})'
)
CODE_HEADER = "x-ms-error-code"
EXPIRED_CODES = frozenset(
    {
        # the credentials that signed it are to be renewed, or are no longer known
        "authenticationfailed",
        "invalidtoken",
        "tokenrefreshrequired",
        # the time that it is signed for is too far from the storage's
        "requesttimetooskewed",
    }
)
EXPIRY = re.compile(r"expired|expiry", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StorageError:
    """`code` in the storage's spelling, "" when it names none. `expired`: the link or what signed it ran out."""

    code: str
    expired: bool


def read_storage_error(headers: Mapping[str, str], body: bytes) -> StorageError:
    """Read a refusal; fails on nothing."""
    named = re.fullmatch(r"[A-Za-z][\w.-]{1,63}", headers.get(CODE_HEADER, "").strip())
    element = CODE.search(body)
    code = named[0] if named else ""
    if element is not None and not code:
        code = (element[1] or element[2]).decode("ascii", "replace")
    text = b" ".join(match[1] or match[2] for match in TELLS.finditer(body)).decode("utf-8", "replace")
    expired = code.lower() in EXPIRED_CODES or bool(EXPIRY.search(code)) or bool(EXPIRY.search(text))
    return StorageError(code, expired)
