"""Organisations and links as rows, for tests that do not care how they came about; asks no vendor."""

from sqlalchemy import select

from app.organizations.changes import add_organization
from app.resources import Resources
from app.states import LinkState
from app.store.audit import By
from app.store.base import now
from app.store.linked_exams import queue_linked
from app.store.links import Link
from app.store.organizations import Organization


async def add_clinic(resources: Resources, name: str = "Harbour Clinic", **options: object) -> Organization:
    """An organisation with an invented key."""
    given = {"name": name, "aurabox_key": "an-invented-key", "images": "none", **options}
    return await add_organization(resources, given, by=By("test"))


async def add_link(
    resources: Resources, customer: str, organization: Organization, *, state: LinkState = LinkState.CONFIRMED
) -> Link:
    """A link of this customer; a confirmed one releases what waits for it, as the confirm step does."""
    async with resources.sessions.begin() as session:
        link = Link(
            organization_id=organization.id,
            token_sealed=resources.seal_text(customer),
            customer_hash=await resources.hash_customer(customer),
            customer_hint=customer[-4:],
            state=state,
            confirmed_at=await session.scalar(select(now())),
        )
        session.add(link)
        await session.flush()
        if state is LinkState.CONFIRMED:
            await queue_linked(session, customer_hash=link.customer_hash, organization_id=organization.id)
    return link
