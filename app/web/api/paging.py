"""Pages by an opaque cursor that names the last row seen; must not count rows or skip over them by number."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Query

from app.web.problems import Problem

T = TypeVar("T")

MOST = 200
DEFAULT = 50
CURSOR_CHARACTERS = 400

Limit = Annotated[int, Query(ge=1, le=MOST, description=f"How many items, 1 to {MOST}.", examples=[DEFAULT])]
Cursor = Annotated[
    str | None,
    Query(
        max_length=CURSOR_CHARACTERS,
        description="`next_cursor` of the page before; leave it out for the first page.",
    ),
]


def pack(*parts: object) -> str:
    """A cursor from the sort key of the last row of a page."""
    text = json.dumps([part.isoformat() if isinstance(part, datetime) else str(part) for part in parts])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def unpack(cursor: str, *kinds: type) -> list[Any]:
    """The sort key in a cursor: one value of each of `kinds` (datetime, UUID, int, str). Raises Problem 422."""
    try:
        values = json.loads(
            base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        )
        if not isinstance(values, list) or len(values) != len(kinds):
            raise ValueError("wrong number of parts")
        return [_read(kind, value) for kind, value in zip(kinds, values, strict=True)]
    except (ValueError, TypeError, binascii.Error, OverflowError, RecursionError):
        raise Problem(422, "cursor: not one of ours", code="bad_cursor") from None


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


def slice_page(
    items: Sequence[T], *, key: Callable[[T], str], limit: int, cursor: str | None
) -> tuple[list[T], str | None]:
    """A page out of a short list that is sorted by `key`, and the cursor of the next one."""
    after = unpack(cursor, str)[0] if cursor else None
    rest = [item for item in items if after is None or key(item) > after]
    page = rest[:limit]
    return page, pack(key(page[-1])) if len(rest) > limit else None


def unpack_or_none(cursor: str | None, *kinds: type) -> list[Any] | None:
    """As `unpack`; None for the first page."""
    return unpack(cursor, *kinds) if cursor else None
