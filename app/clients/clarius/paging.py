"""Walks Clarius's limit/offset pages (`count`, `next`, `previous`, `results`); must not know what they hold."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from app.clients.http import Call, Http, parse_url
from app.clients.pages import LoopGuard


async def result_pages(http: Http, call: Call) -> AsyncIterator[list[Any]]:
    """The `results` of each page. `next` off the base URL's origin is `NotAllowed`; a circle is `TryLater`."""
    guard = LoopGuard(call)
    while True:
        page = (await http.request(call)).object()
        results = page.get("results")
        if not isinstance(results, list):
            raise call.undocumented("the page has no list of results")
        guard.page(call.url, results)
        yield results
        following = page.get("next")
        if not isinstance(following, str) or not following:
            return
        call = replace(call, url=str(parse_url(call.url).join(parse_url(following))), params=None)
