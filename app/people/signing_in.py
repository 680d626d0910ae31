"""The ways in: password, invitation, reset link, and changing one's password; must not know HTTP.

Unknown, disabled and wrong all look the same from outside, in words and in time.
"""

from dataclasses import dataclass
from uuid import UUID

from argon2.exceptions import InvalidHashError
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import Misuse, SonobridgeError
from app.infrastructure.mail import MailFailed, reset_mail, send_mail
from app.people.passwords import HASHER, check_new_password, hash_password, verify_password
from app.people.sessions import CredentialsChanged, Person, Visitor, begin_session
from app.people.throttling import admit, forgive
from app.people.users import RESET_SECONDS
from app.resources import Resources
from app.store.audit import By, audit
from app.store.browser_sessions import end_browser_session
from app.store.credentials import end_credentials
from app.store.one_time_links import (
    OneTimeLinkKind,
    find_one_time_link,
    make_one_time_link,
    use_one_time_link,
)
from app.store.organizations import Organization
from app.store.users import User, find_user, lock_user

EMAIL_CHARACTERS = 254


class WrongCredentials(SonobridgeError):
    """The address or the password is wrong, or the account can't be used: which of them is not said."""

    kind = "wrong_credentials"


class OneTimeLinkUsedUp(SonobridgeError):
    """The invitation or reset link was used, has expired, or never was."""

    kind = "link_used_up"


@dataclass(frozen=True)
class Opened:
    """What a one-time link is for."""

    user: User
    organization: Organization


async def sign_in(resources: Resources, *, email: str, password: str, visitor: Visitor) -> str:
    """Sign in by password; the browser's new cookie. Raises WrongCredentials, TooManyAttempts."""
    email = email.strip()[:EMAIL_CHARACTERS]
    await admit(resources, purpose="sign_in", email=email, address=visitor.address)
    async with resources.sessions() as session:
        user = await find_user(session, email)
    right = await verify_password(user.password_hash if user is not None else None, password)
    if not right or user is None or user.disabled_at is not None:
        raise await _refused(resources, user, visitor)
    try:
        async with resources.sessions.begin() as session:
            cookie = await begin_session(session, user, visitor, how="password")
    except CredentialsChanged:
        # the password was right when it was read, and is not any more
        raise await _refused(resources, user, visitor) from None
    await forgive(resources, purpose="sign_in", email=email, address=visitor.address)
    await _renew_hash(resources, user, password)
    return cookie


async def _refused(resources: Resources, user: User | None, visitor: Visitor) -> WrongCredentials:
    async with resources.sessions.begin() as session:
        await audit(
            session,
            # what was typed may be a password in the wrong field: only an address we know is named
            by=By(user.email if user is not None else "unknown", visitor.address),
            action="session.sign_in_failed",
            subject=str(user.id) if user is not None else None,
            result="refused",
        )
    return WrongCredentials("The e-mail address or the password is not right.")


async def open_link(resources: Resources, kind: OneTimeLinkKind, token: str) -> Opened:
    """Look at a one-time link without using it. Raises OneTimeLinkUsedUp."""
    async with resources.sessions() as session:
        link = await find_one_time_link(session, kind, token)
        if link is None:
            raise OneTimeLinkUsedUp("This link does not work any more.")
        return await _whose(session, link.user_id)


async def accept_link(
    resources: Resources, kind: OneTimeLinkKind, token: str, *, password: str, visitor: Visitor
) -> str:
    """Use an invitation or reset link up: set the password, sign in; the browser's new cookie.

    Raises OneTimeLinkUsedUp, and Misuse for a weak password (the link still works then).
    """
    opened = await open_link(resources, kind, token)
    check_new_password(password, email=opened.user.email)
    password_hash = await hash_password(password)
    async with resources.sessions.begin() as session:
        # the user before the link, as everywhere else, so that two who change them do not wait for each other
        await lock_user(session, opened.user.id)
        if await use_one_time_link(session, kind, token) is None:
            raise OneTimeLinkUsedUp("This link does not work any more.")
        user = (await _whose(session, opened.user.id)).user
        user.password_hash = password_hash
        await end_credentials(session, user)
        action = "invitation.accept" if kind == OneTimeLinkKind.INVITATION else "password.change"
        await audit(session, by=By(user.email, visitor.address), action=action, subject=str(user.id))
        return await begin_session(session, user, visitor, how=str(kind))


async def ask_for_reset(resources: Resources, *, email: str, address: str | None) -> None:
    """Send a reset link if there is such an account. Raises TooManyAttempts only, and that for every address alike.

    Run it after the answer went out: what it does takes longer for an address that has an account.
    """
    async with resources.sessions() as session:
        user = await find_user(session, email)
        if user is None or user.disabled_at is not None:
            return
        token = await make_one_time_link(session, OneTimeLinkKind.RESET, user.id, seconds=RESET_SECONDS)
        await session.commit()
    url = f"{resources.settings.public_url}/reset/{token}"
    result = "mailed"
    try:
        await send_mail(resources.settings, reset_mail(to=user.email, url=url))
    except MailFailed as error:
        result = error.code
    async with resources.sessions.begin() as session:
        await audit(
            session,
            by=By("unknown", address),
            action="password.reset_ask",
            subject=str(user.id),
            result=result,
        )


async def change_password(
    resources: Resources, person: Person, *, current: str, new: str, visitor: Visitor
) -> str:
    """Change one's own password; all other sessions end and this one gets a new cookie, which is returned.

    Raises WrongCredentials, TooManyAttempts, Misuse (weak password).
    """
    email = person.user.email
    check_new_password(new, email=email)
    await admit(resources, purpose="change_password", email=email, address=visitor.address)
    if not await verify_password(person.user.password_hash, current):
        raise WrongCredentials("The current password is not right.")
    password_hash = await hash_password(new)
    async with resources.sessions.begin() as session:
        user = await lock_user(session, person.user.id)
        if user is None or user.credentials_epoch != person.user.credentials_epoch:
            # somebody else was quicker, whose word counts: the password that was checked is the old one now
            raise WrongCredentials("The password was changed meanwhile. Sign in with the new one.")
        user.password_hash = password_hash
        await end_credentials(session, user)
        await audit(session, by=By(email, visitor.address), action="password.change", subject=str(user.id))
        cookie = await begin_session(session, user, visitor, how="password changed")
    await forgive(resources, purpose="change_password", email=email, address=visitor.address)
    return cookie


async def end_one_session(resources: Resources, person: Person, session_id: UUID, visitor: Visitor) -> None:
    """End another session of the same person. Raises Misuse when it is not theirs or not there."""
    async with resources.sessions.begin() as session:
        if not await end_browser_session(session, session_id, user_id=person.user.id):
            raise Misuse("there is no such session", code="not_found")
        await audit(
            session,
            by=By(person.user.email, visitor.address),
            action="session.end",
            subject=str(person.user.id),
        )


async def _whose(session: AsyncSession, user_id: UUID) -> Opened:
    """The user of a link and their organisation. Raises OneTimeLinkUsedUp for one who can't sign in."""
    row = (
        await session.execute(
            select(User, Organization)
            .join(Organization, Organization.id == User.organization_id)
            .where(User.id == user_id, User.disabled_at.is_(None), Organization.removed_at.is_(None))
        )
    ).one_or_none()
    if row is None:
        raise OneTimeLinkUsedUp("This link does not work any more.")
    return Opened(row[0], row[1])


async def _renew_hash(resources: Resources, user: User, password: str) -> None:
    """Hash the password anew when the parameters have become stronger since."""
    try:
        outdated = user.password_hash is not None and HASHER.check_needs_rehash(user.password_hash)
    except InvalidHashError:
        outdated = True
    if not outdated:
        return
    password_hash = await hash_password(password)
    async with resources.sessions.begin() as session:
        await session.execute(
            update(User)
            .where(User.id == user.id, User.password_hash == user.password_hash)
            .values(password_hash=password_hash)
        )
