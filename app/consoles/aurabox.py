"""Calls that a person makes on an organisation's Aurabox team by hand, each audited: they show and change patients."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.accounts import AccountKind
from app.clients.aurabox import AuraboxClient
from app.organizations.changes import wanted_organization
from app.resources import Resources
from app.store.audit import By, audit
from app.upstreams.gate import asking

T = TypeVar("T")


async def on_team(
    resources: Resources,
    organization: str,
    call: Callable[[AuraboxClient], Awaitable[T]],
    *,
    action: str,
    subject: str | None = None,
    by: By,
) -> T:
    """Make `call` with the client of an organisation (by id or name); what it gave.

    `action` and `subject` (an Aurabox id) go into the audit trail, also when the call fails. Raises Misuse, Held and
    from the error tree.
    """
    async with resources.sessions() as session:
        owner = await wanted_organization(session, organization)
    client = resources.aurabox(owner)
    result = "failed"
    try:
        async with asking(resources, AccountKind.AURABOX.of(owner.id)):
            given = await call(client)
        result = "done"
        return given
    finally:
        async with resources.sessions.begin() as session:
            await audit(
                session,
                by=by,
                action=action,
                subject=subject,
                result=result,
                detail=f"organisation {owner.id}",
            )
