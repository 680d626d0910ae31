"""Forgets what has run its course: sessions, one-time links, pending connects, throttles. Links and users stay."""

from sqlalchemy import CursorResult, delete, or_

from app.resources import Resources
from app.store.base import in_seconds
from app.store.browser_sessions import BrowserSession
from app.store.oidc_attempts import ATTEMPT_SECONDS, OidcAttempt
from app.store.one_time_links import OneTimeLink
from app.store.pending_connects import PendingConnect
from app.store.runs import DAY_SECONDS, recurring
from app.store.throttles import FORGET_SECONDS, Throttle

KEPT_SECONDS = 30 * DAY_SECONDS
"""How long an ended session or used link is still known, so that pages can say what became of it."""


async def purge_accounts_when_due(resources: Resources) -> None:
    """Once a day."""
    async with recurring(resources.sessions, "purge_accounts", every=DAY_SECONDS) as run:
        if run is not None:
            run.result = await purge_accounts(resources)


async def purge_accounts(resources: Resources) -> dict[str, int]:
    """Delete; how many rows of which kind. Harmless twice."""
    statements = {
        "sessions": delete(BrowserSession).where(
            or_(
                BrowserSession.expires_at < in_seconds(-KEPT_SECONDS),
                BrowserSession.ended_at < in_seconds(-KEPT_SECONDS),
            )
        ),
        "one_time_links": delete(OneTimeLink).where(OneTimeLink.expires_at < in_seconds(-KEPT_SECONDS)),
        "pending_connects": delete(PendingConnect).where(PendingConnect.expires_at < in_seconds(0)),
        "oidc_attempts": delete(OidcAttempt).where(OidcAttempt.created_at < in_seconds(-ATTEMPT_SECONDS)),
        "throttles": delete(Throttle).where(Throttle.last_at < in_seconds(-FORGET_SECONDS)),
    }
    removed = {}
    for name, statement in statements.items():
        async with resources.sessions.begin() as session:
            result = await session.execute(statement)
            assert isinstance(result, CursorResult)
            removed[name] = result.rowcount
    return removed
