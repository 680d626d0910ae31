"""Adds, invites, disables and enables users and gives them passwords, each act audited.

Called by the command line and the admin API. What people do themselves in the browser is in `signing_in`.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from email_validator import EmailNotValidError, validate_email
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import Misuse
from app.infrastructure.mail import MailFailed, invitation_mail, send_mail
from app.organizations.changes import wanted_organization
from app.people.passwords import check_new_password, hash_password
from app.resources import Resources
from app.store.audit import By, audit
from app.store.base import now
from app.store.browser_sessions import end_browser_sessions
from app.store.credentials import end_credentials
from app.store.one_time_links import OneTimeLinkKind, make_one_time_link
from app.store.organizations import Organization, OrganizationRef
from app.store.users import Role, User, find_user

INVITATION_SECONDS = 7 * 24 * 3600
RESET_SECONDS = 3600

log = structlog.get_logger(__name__)


class UserItem(BaseModel):
    """A user. `invited`: has not set a password yet."""

    id: UUID = Field(examples=["1f2d3c4b-5a69-4788-9796-a5b4c3d2e1f0"])
    email: str = Field(examples=["ana.novak@example.org"])
    organization: OrganizationRef
    role: Role = Field(examples=["clinician"])
    invited: bool = Field(examples=[True])
    disabled: bool
    created_at: datetime


@dataclass(frozen=True)
class Invitation:
    """`url` is a secret that works once; `mailed` says whether it also went out by e-mail."""

    user: User
    url: str
    mailed: bool


def read_email(text: str) -> str:
    """An address in its usual form. Raises Misuse. Whether it exists shows when mail is sent."""
    try:
        checked = validate_email(text.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise Misuse("email: this is not an e-mail address", code="bad_email") from None
    return checked.normalized


def read_role(text: str) -> Role:
    """`clinician` or `admin`. Raises Misuse."""
    try:
        return Role(text)
    except ValueError:
        raise Misuse("role: must be clinician or admin", code="bad_role") from None


async def add_user(
    resources: Resources,
    *,
    email: str,
    organization: str,
    role: str,
    password: str,
    by: By,
) -> User:
    """A user who can sign in at once. Raises Misuse (address taken, weak password, no such organisation)."""
    email, wanted_role = read_email(email), read_role(role)
    check_new_password(password, email=email)
    password_hash = await hash_password(password)
    async with resources.sessions() as session:
        owner = await wanted_organization(session, organization)
        user = User(
            organization_id=owner.id, email=email, role=wanted_role.value, password_hash=password_hash
        )
        await _insert(session, user)
        await audit(session, by=by, action="user.add", subject=str(user.id))
        await session.commit()
    return user


async def invite(
    resources: Resources,
    *,
    email: str,
    organization: str,
    role: str = Role.CLINICIAN,
    by: By,
) -> Invitation:
    """Invite a person: one use, 7 days; by e-mail when SMTP is set up, and as a link to copy always.

    Inviting again somebody who has not accepted yet makes a new link and ends the old one. Raises Misuse.
    """
    email, wanted_role = read_email(email), read_role(role)
    async with resources.sessions() as session:
        owner = await wanted_organization(session, organization)
        user = await find_user(session, email)
        if user is None:
            user = User(organization_id=owner.id, email=email, role=wanted_role.value)
            await _insert(session, user)
        elif user.organization_id != owner.id or user.password_hash or user.oidc_subject or user.disabled_at:
            raise Misuse("email: there is a user with this address already", code="email_taken")
        user.role = wanted_role.value
        token = await make_one_time_link(
            session, OneTimeLinkKind.INVITATION, user.id, seconds=INVITATION_SECONDS
        )
        await audit(session, by=by, action="user.invite", subject=str(user.id))
        await session.commit()
    url = f"{resources.settings.public_url}/invite/{token}"
    mailed = await _mail_invitation(resources, user, owner, url)
    return Invitation(user, url, mailed)


async def disable_user(resources: Resources, email_or_id: str, *, by: By) -> User:
    """The user can't sign in any more, and is signed out everywhere at once."""
    async with resources.sessions.begin() as session:
        user = await wanted_user(session, email_or_id)
        user.disabled_at = user.disabled_at or now()
        await end_credentials(session, user)
        await audit(session, by=by, action="user.disable", subject=str(user.id))
    return user


async def enable_user(resources: Resources, email_or_id: str, *, by: By) -> User:
    """The user can sign in again with the same password; not while the organisation is removed."""
    async with resources.sessions.begin() as session:
        user = await wanted_user(session, email_or_id)
        owner = await session.get_one(Organization, user.organization_id)
        if owner.removed_at is not None:
            raise Misuse("the organisation of this user was removed", code="organization_removed")
        user.disabled_at = None
        await audit(session, by=by, action="user.enable", subject=str(user.id))
    return user


async def change_role(resources: Resources, email_or_id: str, *, role: str, by: By) -> User:
    """Give the user another role; sessions end, so that none keeps rights it should not have."""
    new_role = read_role(role)
    async with resources.sessions.begin() as session:
        user = await wanted_user(session, email_or_id)
        if user.role != new_role.value:
            user.role = new_role.value
            await end_browser_sessions(session, user.id)
            await audit(session, by=by, action="user.role", subject=str(user.id), detail=new_role.value)
    return user


async def reset_password(resources: Resources, email_or_id: str, *, password: str, by: By) -> User:
    """Set a password for somebody else, who is signed out everywhere. Raises Misuse."""
    async with resources.sessions() as session:
        user = await wanted_user(session, email_or_id)
    check_new_password(password, email=user.email)
    password_hash = await hash_password(password)
    async with resources.sessions.begin() as session:
        user = await wanted_user(session, email_or_id)
        user.password_hash = password_hash
        await end_credentials(session, user)
        await audit(session, by=by, action="password.reset", subject=str(user.id))
    return user


async def reset_link(resources: Resources, email_or_id: str, *, by: By) -> str:
    """A link (one use, one hour) by which the user chooses a new password. Raises Misuse."""
    async with resources.sessions.begin() as session:
        user = await wanted_user(session, email_or_id)
        if user.disabled_at is not None:
            raise Misuse("this user is disabled", code="user_disabled")
        token = await make_one_time_link(session, OneTimeLinkKind.RESET, user.id, seconds=RESET_SECONDS)
        await audit(session, by=by, action="password.reset_link", subject=str(user.id))
    return f"{resources.settings.public_url}/reset/{token}"


async def list_users(resources: Resources) -> list[tuple[User, Organization]]:
    """All users with their organisations, by address."""
    async with resources.sessions() as session:
        rows = await session.execute(
            select(User, Organization)
            .join(Organization, Organization.id == User.organization_id)
            .order_by(User.email)
        )
        return [(row[0], row[1]) for row in rows]


async def wanted_user(session: AsyncSession, email_or_id: str) -> User:
    """By address or id; Misuse when there is none."""
    user = await find_user(session, email_or_id)
    if user is None:
        try:
            user = await session.get(User, UUID(email_or_id))
        except ValueError:
            user = None
    if user is None:
        raise Misuse("there is no user with this address", code="no_such_user")
    return user


def describe_user(user: User, organization: Organization) -> UserItem:
    """A user as commands and the admin API show it."""
    shown = {
        "id": user.id,
        "email": user.email,
        "organization": organization,
        "role": user.role,
        "invited": user.password_hash is None and user.oidc_subject is None,
        "disabled": user.disabled_at is not None,
        "created_at": user.created_at,
    }
    return UserItem.model_validate(shown)


async def _insert(session: AsyncSession, user: User) -> None:
    session.add(user)
    try:
        await session.flush()
        await session.refresh(user)
    except IntegrityError:
        await session.rollback()
        raise Misuse("email: there is a user with this address already", code="email_taken") from None


async def _mail_invitation(resources: Resources, user: User, owner: Organization, url: str) -> bool:
    if resources.settings.smtp_url is None:
        return False
    try:
        await send_mail(resources.settings, invitation_mail(to=user.email, organization=owner.name, url=url))
    except MailFailed as error:
        # the invitation stands: whoever invited copies the link
        log.warning("invitation_not_mailed", user_id=str(user.id), detail_code=error.code)
        return False
    return True
