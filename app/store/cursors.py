"""Cursors of pages: opaque to callers, they name the last row that was seen; must not count rows or skip by number."""

import base64
import binascii
import json
from datetime import datetime
from typing import Any
from uuid import UUID

from app.errors import Misuse

CURSOR_CHARACTERS = 400


def write_cursor(*parts: object) -> str:
    """A cursor from the sort key of the last row of a page."""
    text = json.dumps([part.isoformat() if isinstance(part, datetime) else str(part) for part in parts])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, *kinds: type) -> list[Any]:
    """The sort key in a cursor: one value of each of `kinds` (datetime, UUID, int, str). Raises Misuse (`bad_cursor`)."""
    try:
        if len(cursor) > CURSOR_CHARACTERS:
            raise ValueError("longer than any of ours")
        padded = cursor + "=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if not isinstance(values, list) or len(values) != len(kinds):
            raise ValueError("wrong number of parts")
        return [_read(kind, value) for kind, value in zip(kinds, values, strict=True)]
    except (ValueError, TypeError, binascii.Error, OverflowError, RecursionError):
        raise Misuse("cursor: not one of ours", code="bad_cursor") from None


def _read(kind: type, value: Any) -> Any:
    if not isinstance(value, str):
        raise TypeError("a part is no text")
    if kind is datetime:
        at = datetime.fromisoformat(value)
        if at.tzinfo is None:
            raise ValueError("a time without a zone")
        return at
    if kind is UUID:
        return UUID(value)
    if kind is int:
        number = int(value)
        if not 0 <= number < 2**63:
            raise ValueError("no id")
        return number
    if "\x00" in value:
        raise ValueError("not a text that the database holds")
    return value
