"""Makes, checks, changes and revokes admin API tokens, each act audited; the secret is shown once and never stored."""

import re
import secrets
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import Misuse
from app.resources import Resources
from app.store.audit import By, audit
from app.store.base import now
from app.store.one_time_links import hash_token
from app.store.tokens import AdminToken, Scope, find_token, touch_token

TOKEN_PREFIX = "sbt_"  # noqa: S105 - not a secret: how one begins
TOKEN_BYTES = 32
TOKEN_SHAPE = re.compile(r"sbt_[A-Za-z0-9_-]{43}")
HINT_CHARACTERS = 4
NAME_SHAPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,99}")


class TokenItem(BaseModel):
    """An admin token; `hint` are the last characters of its secret."""

    id: UUID = Field(examples=["2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809"])
    name: str = Field(examples=["nightly report"])
    scope: Scope = Field(examples=["read"])
    hint: str = Field(examples=["x7Qa"])
    created_by: str = Field(examples=["cli:ops"])
    created_at: datetime
    last_used_at: datetime | None


async def create_token(resources: Resources, *, name: str, scope: str, by: By) -> tuple[AdminToken, str]:
    """A token and its secret, which nobody can read again. Raises Misuse (`name_taken`, wrong name or scope)."""
    name, rights = read_name(name), read_scope(scope)
    secret = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    token = AdminToken(
        name=name,
        scope=rights.value,
        token_hash=hash_token(secret),
        hint=secret[-HINT_CHARACTERS:],
        created_by=by.actor,
    )
    async with resources.sessions() as session:
        session.add(token)
        await _flush_name(session, token)
        await audit(
            session, by=by, action="token.create", subject=str(token.id), detail=f"{name}, {rights.value}"
        )
        await session.commit()
    return token, secret


async def check_token(resources: Resources, secret: str) -> AdminToken | None:
    """The token that this secret belongs to, if it is in force."""
    if TOKEN_SHAPE.fullmatch(secret) is None:
        return None
    async with resources.sessions() as session:
        token = await find_token(session, hash_token(secret))
        if token is not None and await touch_token(session, token):
            await session.commit()
    return token


async def change_token(
    resources: Resources,
    token_id: UUID,
    *,
    name: str | None = None,
    scope: str | None = None,
    by: By,
) -> AdminToken:
    """Give a token another name or scope; None leaves it. Raises Misuse (`no_such_token`, `name_taken`)."""
    async with resources.sessions() as session:
        token = await wanted_token(session, token_id)
        changed = []
        if name is not None and token.name != read_name(name):
            token.name = read_name(name)
            changed.append(f"name {token.name}")
        if scope is not None and token.scope != read_scope(scope).value:
            token.scope = read_scope(scope).value
            changed.append(f"scope {token.scope}")
        if changed:
            await _flush_name(session, token)
            await audit(
                session, by=by, action="token.change", subject=str(token.id), detail=", ".join(changed)
            )
        await session.commit()
    return token


async def revoke_token(resources: Resources, token_id: UUID, *, by: By) -> AdminToken:
    """The token opens nothing any more, from the next call on. Raises Misuse (`no_such_token`)."""
    async with resources.sessions.begin() as session:
        token = await wanted_token(session, token_id)
        token.revoked_at = await session.scalar(select(now()))
        await audit(session, by=by, action="token.revoke", subject=str(token.id), detail=token.name)
    return token


async def list_tokens(resources: Resources) -> list[AdminToken]:
    """The tokens in force, by name."""
    async with resources.sessions() as session:
        return list(
            await session.scalars(
                select(AdminToken)
                .where(AdminToken.revoked_at.is_(None))
                .order_by(AdminToken.name, AdminToken.id)
            )
        )


async def wanted_token(session: AsyncSession, token_id: UUID) -> AdminToken:
    """The token in force with this id, locked; Misuse (`no_such_token`) when there is none."""
    token = (
        await session.scalars(
            select(AdminToken)
            .where(AdminToken.id == token_id, AdminToken.revoked_at.is_(None))
            .with_for_update()
        )
    ).one_or_none()
    if token is None:
        raise Misuse("there is no such token", code="no_such_token")
    return token


def read_name(text: str) -> str:
    """A name by which the audit trail calls the token. Raises Misuse."""
    if NAME_SHAPE.fullmatch(text) is None:
        raise Misuse(
            "name: 1 to 100 letters, digits, blanks or . _ @ -, the first a letter or digit", code="bad_name"
        )
    return text


def read_scope(text: str) -> Scope:
    """`read` or `write`. Raises Misuse."""
    try:
        return Scope(text)
    except ValueError:
        raise Misuse("scope: must be read or write", code="bad_scope") from None


def describe_token(token: AdminToken) -> TokenItem:
    """A token as commands and the admin API show it: never its secret."""
    return TokenItem.model_validate(token, from_attributes=True)


async def _flush_name(session: AsyncSession, token: AdminToken) -> None:
    name = token.name
    try:
        await session.flush()
        await session.refresh(token)
    except IntegrityError:
        await session.rollback()
        raise Misuse(f"name: there is a token named {name} already", code="name_taken") from None
