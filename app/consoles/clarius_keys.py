"""Puts a new Clarius API key in place of the one in use without a gap; a crash at any point leaves a working key.

Name it here → make it (C10) → store it sealed, beside the old key's prefix → every process uses it within a second
→ verify (C6) → revoke the old one (C11). What a crash left half-done is finished by the next rotation: a key that was
made and never stored is known by its name, and prefixes that are still to be revoked stay on record until they are.
"""

import asyncio
import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from pydantic import SecretStr
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import AccountKind
from app.clients.clarius import ApiKey, ClariusClient, NewApiKey
from app.errors import LookFirst, Misuse, NotThere, Rejected, RenewCredentials, SonobridgeError
from app.faultpoints import fault_point
from app.resources import KEY_SECONDS, Resources
from app.store.audit import By, audit
from app.store.runs import begin_run, end_run, try_again
from app.store.secrets import CLARIUS_API_KEY, Secret, read_secret, replace_secret
from app.upstreams.gate import asking, lift

RUN_NAME = "rotate_clarius_key"
RETIRING = "clarius_key_retiring"
"""The secret that holds the prefixes of keys that are still to be revoked."""
MAKING = "clarius_key_making"
"""The secret that holds the name of a key that is just being made, and that nobody has until it is stored."""
KEY_NAME = "Sonobridge"
# a rotation that takes longer than this has died, and the next one may begin
ROTATION_SECONDS = 120.0
# calls that began with the old key get two seconds to end before it is revoked
HANDOVER_SECONDS = KEY_SECONDS + 2.0

log = structlog.get_logger(__name__)


class RotationUnderWay(Misuse):
    """Another rotation is just being made."""

    kind = "busy"


async def rotate_key(resources: Resources, *, by: By) -> dict[str, Any]:
    """Rotate; `{prefix, name, created_at, in_use, revoked}` of the new key, `revoked` being the old one's prefix.

    Raises RotationUnderWay, and from the error tree: a key works in every case.
    """
    async with resources.sessions.begin() as session:
        if not await begin_run(session, RUN_NAME, every=ROTATION_SECONDS):
            raise RotationUnderWay("another rotation is just being made: try again in two minutes")
    error: str | None = "interrupted"
    resources.service_key.forget()
    try:
        new, revoked = await _rotate(resources)
        error = None
    except SonobridgeError as problem:
        error = problem.code
        raise
    finally:
        await _end(resources, error=error, by=by)
    return {
        "prefix": new.prefix,
        "name": new.name,
        "created_at": new.created,
        "in_use": True,
        "revoked": revoked,
    }


async def _rotate(resources: Resources) -> tuple[NewApiKey, str | None]:
    async with asking(resources, AccountKind.CLARIUS):
        clarius = await resources.clarius()
        keys = await clarius.api_keys()
        old = await resources.clarius_key()
        retiring = prefix_of(keys, old.get_secret_value() if old is not None else "")
        await _revoke_what_nobody_has(resources, clarius, keys)
        new = await _create(resources, clarius)
    fault_point("keys:after_create")
    await _store(resources, new, retiring)
    fault_point("keys:after_store")
    await _verify(resources, new, old)
    fault_point("keys:after_verify")
    await asyncio.sleep(HANDOVER_SECONDS)
    await _revoke_retiring(resources)
    fault_point("keys:after_revoke")
    return new, retiring


def prefix_of(keys: Sequence[ApiKey], secret: str) -> str | None:
    """The prefix of the key with this secret, which begins with it; None when it is none of these."""
    return max((key.prefix for key in keys if secret.startswith(key.prefix)), key=len, default=None)


async def _create(resources: Resources, clarius: ClariusClient) -> NewApiKey:
    """C10. A key whose answer was lost is known by its name: it is revoked, since nobody has its secret."""
    name = f"{KEY_NAME} {datetime.now(UTC):%Y-%m-%d} {secrets.token_hex(4)}"
    async with resources.sessions.begin() as session:
        await replace_secret(session, MAKING, resources.seal_text(name))
    try:
        return await clarius.create_api_key(name)
    except LookFirst:
        await _revoke_what_nobody_has(resources, clarius, await clarius.api_keys())
        raise


async def _revoke_what_nobody_has(
    resources: Resources, clarius: ClariusClient, keys: Sequence[ApiKey]
) -> None:
    """C11 for a key that was made, perhaps, and not stored before the rotation that made it ended."""
    async with resources.sessions() as session:
        sealed = await read_secret(session, MAKING)
    if sealed is None:
        return
    name = resources.unseal_text(sealed)
    for key in keys:
        if key.name == name:
            await clarius.revoke_api_key(key.prefix)
    async with resources.sessions.begin() as session:
        await session.execute(delete(Secret).where(Secret.name == MAKING))


async def _store(resources: Resources, new: NewApiKey, retiring: str | None) -> None:
    """From the commit on the new key counts, and the old one is known as still to be revoked."""
    async with resources.sessions.begin() as session:
        waiting = _read_retiring(resources, await read_secret(session, RETIRING))
        if retiring is not None and retiring not in waiting:
            waiting.append(retiring)
        await _keep_retiring(resources, session, waiting)
        await replace_secret(session, CLARIUS_API_KEY, resources.seal_text(new.key.get_secret_value()))
        await session.execute(delete(Secret).where(Secret.name == MAKING))
    resources.service_key.forget()


async def _verify(resources: Resources, new: NewApiKey, old: SecretStr | None) -> None:
    """C6 with the new key. When Clarius refuses it, the old one is put back, and goes on being used."""
    try:
        await _client(resources, new.key).settings()
    except RenewCredentials:
        if old is not None:
            async with resources.sessions.begin() as session:
                await replace_secret(session, CLARIUS_API_KEY, resources.seal_text(old.get_secret_value()))
                # now it is the new one that has to go, beside what was waiting for that before
                waiting = _read_retiring(resources, await read_secret(session, RETIRING))
                kept = [prefix for prefix in waiting if not old.get_secret_value().startswith(prefix)]
                await _keep_retiring(resources, session, [*kept, new.prefix])
            resources.service_key.forget()
        raise
    async with resources.sessions.begin() as session:
        await lift(session, AccountKind.CLARIUS, was_paused=False)


async def _revoke_retiring(resources: Resources) -> None:
    """C11 for every key that is still to be revoked; one that is gone already is as good."""
    async with resources.sessions() as session:
        waiting = _read_retiring(resources, await read_secret(session, RETIRING))
    async with asking(resources, AccountKind.CLARIUS):
        clarius = await resources.clarius()
        refused = []
        for prefix in waiting:
            try:
                await clarius.revoke_api_key(prefix)
            except NotThere:
                log.info("key_was_revoked_already")
            except Rejected as error:
                # it stays on record: the next rotation asks again
                log.warning("key_not_revoked", code=error.code)
                refused.append(prefix)
    async with resources.sessions.begin() as session:
        await _keep_retiring(resources, session, refused)


async def _keep_retiring(resources: Resources, session: AsyncSession, prefixes: Sequence[str]) -> None:
    if prefixes:
        await replace_secret(session, RETIRING, resources.seal_text(json.dumps(list(prefixes))))
    else:
        await session.execute(delete(Secret).where(Secret.name == RETIRING))


def _read_retiring(resources: Resources, sealed: bytes | None) -> list[str]:
    return list(json.loads(resources.unseal_text(sealed))) if sealed is not None else []


def _client(resources: Resources, key: SecretStr) -> ClariusClient:
    return ClariusClient(resources.http, base_url=resources.settings.clarius_base_url, api_key=key)


async def _end(resources: Resources, *, error: str | None, by: By) -> None:
    """Note how it ended, and let the next rotation begin at once."""
    async with resources.sessions.begin() as session:
        await end_run(session, RUN_NAME, result={} if error is None else None, error=error)
        await try_again(session, RUN_NAME, every=ROTATION_SECONDS, after=0)
        await audit(
            session,
            by=by,
            action="clarius.key.rotate",
            subject=AccountKind.CLARIUS,
            result="done" if error is None else error,
        )
