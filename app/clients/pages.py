"""Cuts pagination that goes in circles; must not fetch anything."""

import hashlib
import json
from typing import Any

from app.clients.http import Call
from app.errors import TryLater

# A list that grows at its head while it is paged shows a page again now and then; only a circle does it for ever.
REPEATED_PAGES_ALLOWED = 2
MAX_PAGES = 10_000


class LoopGuard:
    """Remembers the pages of one listing."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._urls: set[str] = set()
        self._contents: set[bytes] = set()
        self._repeats = 0

    def page(self, url: str, items: list[Any]) -> None:
        """Note a page; `TryLater` (code `…_pages_loop`) once the listing runs in a circle or does not end."""
        content = hashlib.sha256(json.dumps(items, sort_keys=True).encode()).digest()
        if items and content in self._contents:
            self._repeats += 1
        if url in self._urls or self._repeats > REPEATED_PAGES_ALLOWED or len(self._urls) >= MAX_PAGES:
            call = self._call
            raise TryLater(
                f"{call.operation}: the pages of {call.host} run in a circle",
                upstream=call.upstream,
                account=call.account,
                code=f"{call.upstream}_pages_loop",
            )
        self._urls.add(url)
        self._contents.add(content)
