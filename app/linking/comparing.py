"""Compares Clarius's confirmed tokens (C4) with our links, each way; must not change either side.

One comparison serves the daily run and a person who asks.
"""

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import select

from app.accounts import AccountKind
from app.resources import Resources
from app.states import LinkState
from app.store.links import Link, hint_of
from app.store.organizations import Organization, OrganizationRef
from app.store.runs import DAY_SECONDS, recurring
from app.upstreams.gate import calling

RUN_NAME = "compare_tokens"
MOST_NAMED = 200
AGAIN_SECONDS = 3600.0


async def compare_tokens_when_due(resources: Resources) -> dict[str, Any] | None:
    """Once a day, whoever looks first; None when it is not time."""
    return await compare_tokens(resources, every=DAY_SECONDS)


class ConfirmedTokenItem(BaseModel):
    """A token that Clarius holds as confirmed, or that we do. `difference` says which of us does not."""

    customer_hint: str = Field(examples=["apMY"])
    link_id: UUID | None = Field(examples=["0e8c0f0a-5f0b-4e0d-8e43-1f8f5b2b7c11"])
    organization: OrganizationRef | None
    at_clarius: bool = Field(examples=[True])
    difference: Literal["no_link", "not_at_clarius"] | None


@dataclass(frozen=True)
class TokenPair:
    """A Clarius customer that either side holds as confirmed."""

    customer_hint: str
    customer_hash: bytes
    at_clarius: bool
    link: Link | None
    organization: Organization | None

    @property
    def difference(self) -> str | None:
        """`no_link`: Clarius has it confirmed and we do not; `not_at_clarius`: the other way round."""
        if self.link is None:
            return "no_link"
        return None if self.at_clarius else "not_at_clarius"


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
    pairs = await pair_tokens(resources, by_hand=False)
    differing = [
        {
            "hint": pair.customer_hint,
            "missing": "here" if pair.link is None else "there",
            "link_id": str(pair.link.id) if pair.link is not None else None,
        }
        for pair in pairs
        if pair.difference is not None
    ]
    here = sum(pair.link is not None for pair in pairs)
    there = sum(pair.at_clarius for pair in pairs)
    return {
        "confirmed_there": there,
        "confirmed_here": here,
        "missing_here": len(pairs) - here,
        "missing_there": len(pairs) - there,
        "rows": sorted(differing, key=lambda row: (str(row["missing"]), str(row["hint"])))[:MOST_NAMED],
    }


async def pair_tokens(resources: Resources, *, by_hand: bool) -> list[TokenPair]:
    """C4 beside our links: the customers that either side holds as confirmed, the differences first.

    `by_hand`: a person asks (see `gate.asking`). Raises what C4 raises, and Held while Clarius may not be called.
    """
    hints: dict[bytes, str] = {}
    async with calling(resources, AccountKind.CLARIUS, by_hand=by_hand):
        async for token in (await resources.clarius()).confirmed_tokens():
            hints[await resources.hash_customer(token)] = hint_of(token)
    async with resources.sessions() as session:
        rows = await session.execute(
            select(Link, Organization)
            .join(Organization, Organization.id == Link.organization_id)
            .where(Link.state == LinkState.CONFIRMED)
        )
        ours = {link.customer_hash: (link, owner) for link, owner in rows}
    pairs = [
        TokenPair(hints.get(customer) or link.customer_hint, customer, customer in hints, link, owner)
        for customer, (link, owner) in ours.items()
    ] + [
        TokenPair(hint, customer, at_clarius=True, link=None, organization=None)
        for customer, hint in hints.items()
        if customer not in ours
    ]
    return sorted(pairs, key=lambda pair: (pair.difference is None, pair.customer_hint, pair.customer_hash))


def describe_pair(pair: TokenPair) -> ConfirmedTokenItem:
    """A token pair as commands, pages and the admin API show it."""
    shown = {
        "customer_hint": pair.customer_hint,
        "link_id": pair.link.id if pair.link is not None else None,
        "organization": pair.organization,
        "at_clarius": pair.at_clarius,
        "difference": pair.difference,
    }
    return ConfirmedTokenItem.model_validate(shown)
