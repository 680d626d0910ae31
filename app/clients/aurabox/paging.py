"""Walks Laravel's pages (`data` with `links` and `meta`, or all of it flat), and proves from them what is not listed; must not know what they hold."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from app.clients.aurabox.models import Identified
from app.clients.http import Call, Http, parse_url, place, same_origin
from app.clients.pages import LoopGuard
from app.clients.record import read_listed
from app.errors import NotAllowed, TryLater

MOST_READINGS = 5

T = TypeVar("T", bound=Identified)


def next_call(call: Call, page: Mapping[str, Any]) -> Call | None:
    """The call for the next page, or None on the last. `links.next` off the origin is `NotAllowed`.

    Laravel leaves our own parameters out of its links unless told otherwise, and a second page without the search
    would be one of another list: the link's parameters go on top of ours.
    """
    # a resource collection has them in `links` and `meta`, a bare paginator at the top
    links, meta = (page, page) if "next_page_url" in page else (page.get("links"), page.get("meta", page))
    name = "next_page_url" if links is page else "next"
    following = links.get(name) if isinstance(links, Mapping) else None
    if isinstance(following, str) and following:
        here = parse_url(call.url)
        url = here.join(parse_url(following))
        if not same_origin(url, here):
            raise NotAllowed(
                f"{call.operation}: the next page is at another place, {place(url)}", code=NotAllowed.kind
            )
        params = {**(call.params or {}), **dict(url.params.items())}
        return replace(call, url=str(url.copy_with(query=None)), params=params)
    if not isinstance(links, Mapping) or name not in links:
        current, last = (
            (meta.get("current_page"), meta.get("last_page")) if isinstance(meta, Mapping) else (0, 0)
        )
        if isinstance(current, int) and isinstance(last, int) and current < last:
            return replace(call, params={**(call.params or {}), "page": current + 1})
    return None


async def data_pages(http: Http, call: Call) -> AsyncIterator[list[Any]]:
    """The `data` of each page; a bare list is read too. A circle of pages is `TryLater`."""
    guard = LoopGuard(call)
    current: Call | None = call
    while current is not None:
        answer = await http.request(current)
        page = answer.json()
        items = page.get("data") if isinstance(page, Mapping) else page
        if not isinstance(items, list):
            raise current.undocumented("the page has no list of data", status=answer.status)
        guard.page(f"{current.url}?{sorted((current.params or {}).items())}", items)
        yield items
        current = next_call(current, page) if isinstance(page, Mapping) else None


@dataclass(frozen=True)
class Listing(Generic[T]):
    """A list that is read anew, page after page, each time it is gone through.

    An entry that can't be read is left out; a list of which none can is no list, and proves nothing: `BadAnswer`.
    """

    http: Http = field(repr=False)
    call: Call = field(repr=False)
    model: type[T]

    async def pages(self) -> AsyncIterator[list[T]]:
        """The entries, page by page."""
        listed = readable = 0
        async for items in data_pages(self.http, self.call):
            page = read_listed(self.model, items, self.call)
            listed, readable = listed + len(items), readable + len(page)
            yield page
        if listed and not readable:
            raise self.call.undocumented("no entry of the list is as documented")

    async def __aiter__(self) -> AsyncIterator[T]:
        """The entries, one by one."""
        async for page in self.pages():
            for item in page:
                yield item

    async def find(self, matches: Callable[[T], bool]) -> list[str]:
        """The distinct ids of the entries that match, in the list's order; an empty list proves that there are none.

        Somebody may delete an entry while we go from page to page: the others move up, and one of them slips from a
        page that is not read yet to one that was. It is missed, though it is there. So a list of several pages is
        read until one reading shows all that the reading before it has shown: then nothing was deleted during that
        earlier one, and nothing slipped. What is added moves others only where it comes before them: ask for the
        order of creation where an order can be asked for. `TryLater` when the list does not come to rest.
        """
        before: set[str] | None = None
        for _ in range(MOST_READINGS):
            seen, pages = await self._reading()
            if pages <= 1 or (before is not None and before <= seen.keys()):
                return [item_id for item_id, item in seen.items() if matches(item)]
            before = set(seen)
        call = self.call
        raise TryLater(
            f"{call.operation}: the list of {call.host} changes while it is read",
            upstream=call.upstream,
            account=call.account,
            code=f"{call.upstream}_list_changes",
        )

    async def _reading(self) -> tuple[dict[str, T], int]:
        seen: dict[str, T] = {}
        pages = 0
        async for page in self.pages():
            pages += 1
            seen.update({item.id: item for item in page})
        return seen, pages
