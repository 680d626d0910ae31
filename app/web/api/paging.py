"""What every list of the admin API takes, and paging a list that is in memory."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from app.store.cursors import CURSOR_CHARACTERS, read_cursor, write_cursor

T = TypeVar("T")

MOST = 200
DEFAULT = 50

Limit = Annotated[int, Query(ge=1, le=MOST, description=f"How many items, 1 to {MOST}.", examples=[DEFAULT])]
Cursor = Annotated[
    str | None,
    Query(
        max_length=CURSOR_CHARACTERS,
        description="`next_cursor` of the page before; leave it out for the first page.",
    ),
]


def slice_page(
    items: Sequence[T], *, key: Callable[[T], str], limit: int, cursor: str | None
) -> tuple[list[T], str | None]:
    """A page out of a short list in the order of `key`, and the cursor of the next one."""
    items = sorted(items, key=key)
    after = read_cursor(cursor, str)[0] if cursor else None
    rest = [item for item in items if after is None or key(item) > after]
    page = rest[:limit]
    return page, write_cursor(key(page[-1])) if len(rest) > limit else None
