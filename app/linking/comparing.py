"""Compares Clarius's confirmed tokens (C4) with our links, each way; must not change either side."""

from typing import Any

from sqlalchemy import select

from app.accounts import AccountKind
from app.resources import Resources
from app.states import LinkState
from app.store.links import Link, hint_of
from app.store.runs import DAY_SECONDS, recurring
from app.upstreams.gate import calling

RUN_NAME = "compare_tokens"
MOST_NAMED = 200
AGAIN_SECONDS = 3600.0


async def compare_tokens_when_due(resources: Resources) -> dict[str, Any] | None:
    """Once a day, whoever looks first; None when it is not time."""
    return await compare_tokens(resources, every=DAY_SECONDS)


async def compare_tokens(resources: Resources, *, every: float = 0.0) -> dict[str, Any] | None:
    """Compare and record as run `compare_tokens`; None when the last one began less than `every` seconds ago.

    `{"confirmed_there", "confirmed_here", "missing_here", "missing_there", "rows": [{"hint", "missing", "link_id"}]}`:
    missing here = confirmed at Clarius, no confirmed link with us; missing there = the other way round. At most
    200 rows are named. Raises what C4 raises, and Held while Clarius may not be called, after recording it.
    """
    again = min(every, AGAIN_SECONDS)
    async with recurring(resources.sessions, RUN_NAME, every=every, again=again) as run:
        if run is None:
            return None
        run.result = await _compare(resources)
        return run.result


async def _compare(resources: Resources) -> dict[str, Any]:
    there: dict[bytes, str] = {}
    async with calling(resources, AccountKind.CLARIUS):
        clarius = await resources.clarius()
        async for token in clarius.confirmed_tokens():
            there[await resources.hash_customer(token)] = hint_of(token)
    async with resources.sessions() as session:
        links = (await session.scalars(select(Link).where(Link.state == LinkState.CONFIRMED))).all()
    here = {link.customer_hash: link for link in links}
    only_there: list[dict[str, str | None]] = [
        {"hint": there[key], "missing": "here", "link_id": None} for key in there.keys() - here.keys()
    ]
    only_here: list[dict[str, str | None]] = [
        {"hint": here[key].customer_hint, "missing": "there", "link_id": str(here[key].id)}
        for key in here.keys() - there.keys()
    ]
    rows = sorted(only_there + only_here, key=lambda row: (str(row["missing"]), str(row["hint"])))
    return {
        "confirmed_there": len(there),
        "confirmed_here": len(here),
        "missing_here": len(only_there),
        "missing_there": len(only_here),
        "rows": rows[:MOST_NAMED],
    }
