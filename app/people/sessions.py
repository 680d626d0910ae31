"""Begins, finds and ends the sessions of people in browsers; must not know HTTP."""

import secrets
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import SonobridgeError
from app.resources import Resources
from app.store.audit import By, audit
from app.store.base import in_seconds
from app.store.browser_sessions import (
    ABSOLUTE_SECONDS,
    BrowserSession,
    end_browser_session,
    find_browser_session,
    touch_browser_session,
)
from app.store.one_time_links import hash_token
from app.store.organizations import Organization
from app.store.pending_connects import forget_pending_connect, move_pending_connect
from app.store.users import User, lock_user

COOKIE_BYTES = 32
BROWSER_NAME_CHARACTERS = 200


class CredentialsChanged(SonobridgeError):
    """What the person was let in by no longer holds: the password changed, or the account was disabled."""

    kind = "credentials_changed"


@dataclass(frozen=True)
class Visitor:
    """Where a request comes from: the browser's cookie as it is now, its address, how it names itself."""

    cookie: str
    address: str | None
    browser: str | None

    @property
    def hash(self) -> bytes:
        """What rows know this browser by."""
        return hash_token(self.cookie)

    def __repr__(self) -> str:
        return "Visitor()"


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in, here and now."""

    session: BrowserSession
    user: User
    organization: Organization


def new_cookie() -> str:
    """The value of a cookie that nobody can guess (256 bits)."""
    return secrets.token_urlsafe(COOKIE_BYTES)


async def begin_session(session: AsyncSession, user: User, visitor: Visitor, *, how: str) -> str:
    """Sign `user` in; the cookie's new value. The old one is worth nothing afterwards (no fixation).

    `user` is as read when the credentials were checked. Checking takes a while (Argon2, the issuer), in which the
    password may change: then this raises CredentialsChanged, or the session ends with what changes after it. A
    pending link follows the browser to its new cookie. Commit is the caller's.
    """
    checked_epoch = user.credentials_epoch
    current = await lock_user(session, user.id, shared=True)
    if current is None or current.credentials_epoch != checked_epoch or current.disabled_at is not None:
        raise CredentialsChanged("the account was changed while somebody signed in")
    previous = await find_browser_session(session, visitor.hash)
    if previous is not None:
        await end_browser_session(session, previous[0].id, user_id=previous[1].id)
        if previous[1].id != user.id:
            # what another person began in this browser is not this one's to agree to
            await forget_pending_connect(session, visitor.hash)
    cookie = new_cookie()
    session.add(
        BrowserSession(
            token_hash=hash_token(cookie),
            user_id=user.id,
            credentials_epoch=checked_epoch,
            expires_at=in_seconds(ABSOLUTE_SECONDS),
            address=visitor.address,
            browser=(visitor.browser or "")[:BROWSER_NAME_CHARACTERS] or None,
        )
    )
    await move_pending_connect(session, old_hash=visitor.hash, new_hash=hash_token(cookie))
    await audit(
        session,
        by=By(user.email, visitor.address),
        action="session.sign_in",
        subject=str(user.id),
        detail=how,
    )
    return cookie


async def find_person(resources: Resources, cookie: str, *, touch: bool) -> Person | None:
    """Who is signed in with this cookie. `touch`: the request is the person's doing, not a page's that waits."""
    async with resources.sessions() as session:
        session_and_user = await find_browser_session(session, hash_token(cookie))
        if session_and_user is None:
            return None
        row, user = session_and_user
        organization = (
            await session.scalars(select(Organization).where(Organization.id == user.organization_id))
        ).one()
        if touch:
            await touch_browser_session(session, row.id)
            await session.commit()
    return Person(row, user, organization)


async def sign_out(resources: Resources, person: Person, visitor: Visitor) -> None:
    """End the session on the server, and what was pending in this browser."""
    async with resources.sessions.begin() as session:
        await end_browser_session(session, person.session.id, user_id=person.user.id)
        await forget_pending_connect(session, visitor.hash)
        await audit(
            session,
            by=By(person.user.email, visitor.address),
            action="session.sign_out",
            subject=str(person.user.id),
        )
