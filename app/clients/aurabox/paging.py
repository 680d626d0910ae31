"""Walks Laravel's pages (`data`, `links`, `meta`); must not know what they hold."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from app.clients.http import Call, Http, parse_url, place, same_origin
from app.clients.pages import LoopGuard
from app.errors import NotAllowed


def next_call(call: Call, page: Mapping[str, Any]) -> Call | None:
    """The call for the next page, or None on the last. `links.next` off the origin is `NotAllowed`.

    Laravel leaves our own parameters out of its links unless told otherwise, and a second page without the search
    would be one of another list: the link's parameters go on top of ours.
    """
    links, meta = page.get("links"), page.get("meta")
    following = links.get("next") if isinstance(links, Mapping) else None
    if isinstance(following, str) and following:
        here = parse_url(call.url)
        url = here.join(parse_url(following))
        if not same_origin(url, here):
            raise NotAllowed(
                f"{call.operation}: the next page is at another place, {place(url)}", code=NotAllowed.kind
            )
        params = {**(call.params or {}), **dict(url.params.items())}
        return replace(call, url=str(url.copy_with(query=None)), params=params)
    if not isinstance(links, Mapping) or "next" not in links:
        current, last = (
            (meta.get("current_page"), meta.get("last_page")) if isinstance(meta, Mapping) else (0, 0)
        )
        if isinstance(current, int) and isinstance(last, int) and current < last:
            return replace(call, params={**(call.params or {}), "page": current + 1})
    return None


async def data_items(http: Http, call: Call) -> AsyncIterator[Any]:
    """The entries of `data`, page after page; a bare list is read too. A circle of pages is `TryLater`."""
    guard = LoopGuard(call)
    current: Call | None = call
    while current is not None:
        answer = await http.request(current)
        page = answer.json()
        items = page.get("data") if isinstance(page, Mapping) else page
        if not isinstance(items, list):
            raise current.undocumented("the page has no list of data", status=answer.status)
        guard.page(f"{current.url}?{sorted((current.params or {}).items())}", items)
        for item in items:
            yield item
        current = next_call(current, page) if isinstance(page, Mapping) else None
