"""Looks at everything the bridge needs and says, one line each, what is wrong and what to do; must not change anything.

The same checks serve `sonobridge doctor`, `org test` and the admin pages.
"""

import email.utils
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError

from app.accounts import AccountKind
from app.clients.clarius.client import API_PATH, ClariusClient
from app.clients.http import Answer, Call
from app.clients.record import join
from app.config.sealing import CannotUnseal
from app.consoles.registration import Urls, hide_secret, our_urls
from app.errors import SonobridgeError
from app.infrastructure.database import pooler_problem
from app.resources import Resources
from app.store.base import clock
from app.store.organizations import Images, Organization, list_organizations
from app.store.runs import UNTRUSTED_PROXY, last_run
from app.store.schema import schema_problem
from app.store.upstreams import Upstream
from app.store.workers import living_workers
from app.upstreams.gate import asking

LEAST_POSTGRES = 15
MOST_CLOCK_SECONDS = 30.0
UNTRUSTED_PROXY_HOURS = 24
NEW_KEY = "Ask for a new key, then: sonobridge org set {} --aurabox-key-stdin"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `remedy` says what to do when it is not `ok`."""

    name: str
    ok: bool
    detail: str
    remedy: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As `doctor --json` and the admin API show it."""
        return asdict(self)

    def line(self) -> str:
        """For people."""
        line = f"{'ok   ' if self.ok else 'WRONG'} {self.name}: {self.detail}"
        return line if self.ok or not self.remedy else f"{line} → {self.remedy}"


async def examine(resources: Resources) -> list[Check]:
    """Every check, in the order in which one would mend things. Never raises for what it finds."""
    checks = [
        Check("configuration", ok=True, detail=f"{resources.settings.env}, {resources.settings.public_url}")
    ]
    database = await _guarded("database", _database, resources)
    checks.append(database)
    checks += [await _guarded("redis", _redis, resources), await _guarded("disk", _disk, resources)]
    if not database.ok:
        return checks
    schema = await _guarded("schema", _schema, resources)
    checks.insert(2, schema)
    if not schema.ok:
        return checks
    checks.append(await _guarded("proxies", _proxies, resources))
    checks.append(await _guarded("sealing keys", _sealing_keys, resources))
    checks += await _clarius(resources)
    async with resources.sessions() as session:
        organizations = await list_organizations(session)
    for organization in organizations:
        checks += await check_organization(resources, organization)
    checks.append(await _guarded("paused accounts", _paused, resources))
    checks.append(await _guarded("workers", _workers, resources))
    return checks


async def check_organization(resources: Resources, organization: Organization) -> list[Check]:
    """Whether its Aurabox key and its image transport work (A1 with one row; sign-in and configuration, or QIDO-RS)."""

    async def aurabox(_: Resources) -> Check:
        # opened before the account is entered: a key that is missing here is no reason to pause it for everybody
        client = resources.aurabox(organization)
        async with asking(resources, AccountKind.AURABOX.of(organization.id)):
            async for _patient in client.patients(per_page=1):
                break
        return Check(f"aurabox of {organization.name}", ok=True, detail="the key is accepted")

    async def transport(_: Resources) -> Check:
        detail = await TRANSPORT_LOOKS[Images(organization.images)](resources, organization)
        return Check(f"images of {organization.name}", ok=True, detail=detail)

    remedy = NEW_KEY.format(repr(organization.name))
    return [
        await _guarded(f"aurabox of {organization.name}", aurabox, resources, remedy=remedy),
        await _guarded(
            f"images of {organization.name}",
            transport,
            resources,
            remedy="Check --images and its address and secrets with: sonobridge org show",
        ),
    ]


async def _look_at_uploader(resources: Resources, organization: Organization) -> str:
    uploader = resources.uploader(organization)
    async with asking(resources, AccountKind.UPLOADER.of(organization.id)):
        lift = await uploader.lift()
    return f"uploader, bucket {lift.bucket}"


async def _look_at_dicomweb(resources: Resources, organization: Organization) -> str:
    dicomweb = resources.dicomweb(organization)
    async with asking(resources, AccountKind.DICOMWEB.of(organization.id)):
        await dicomweb.check()
    return "the DICOMweb service answers"


async def _look_at_nothing(_resources: Resources, _organization: Organization) -> str:
    return "none: patients, cases and studies only"


TRANSPORT_LOOKS: dict[Images, Callable[[Resources, Organization], Awaitable[str]]] = {
    Images.UPLOADER: _look_at_uploader,
    Images.DICOMWEB: _look_at_dicomweb,
    Images.NONE: _look_at_nothing,
}


async def _guarded(
    name: str,
    check: Callable[[Resources], Awaitable[Check]],
    resources: Resources,
    *,
    remedy: str | None = None,
) -> Check:
    """The check, or what kept it from being made."""
    try:
        return await check(resources)
    except SonobridgeError as error:
        return Check(name, ok=False, detail=error.message, remedy=remedy)
    except (SQLAlchemyError, OSError) as error:
        return Check(
            name,
            ok=False,
            detail=f"can't be reached ({type(error).__name__})",
            remedy=remedy or "Check DATABASE_URL, and whether the server runs.",
        )


async def _database(resources: Resources) -> Check:
    problem = await pooler_problem(resources.settings)
    if problem is not None:
        return Check("database", ok=False, detail=problem)
    async with resources.sessions() as session:
        number = int((await session.execute(text("SHOW server_version_num"))).scalar_one())
        away = abs((await clock(session) - datetime.now(UTC)).total_seconds())
    version = number // 10_000
    if version < LEAST_POSTGRES:
        return Check(
            "database",
            ok=False,
            detail=f"PostgreSQL {version}",
            remedy=f"Use PostgreSQL {LEAST_POSTGRES} or newer.",
        )
    if away > MOST_CLOCK_SECONDS:
        return Check(
            "database",
            ok=False,
            detail=f"its clock and this host's differ by {away:.0f} s",
            remedy="Set up time synchronisation (NTP) on both.",
        )
    return Check("database", ok=True, detail=f"PostgreSQL {version}, clocks differ by {away:.1f} s")


async def _schema(resources: Resources) -> Check:
    async with resources.sessions() as session:
        problem = await schema_problem(session)
    if problem is not None:
        return Check("schema", ok=False, detail=problem, remedy="Run: sonobridge migrate")
    return Check("schema", ok=True, detail="up to date")


async def _redis(resources: Resources) -> Check:
    if await resources.queue.alive():
        return Check("redis", ok=True, detail="answers")
    return Check(
        "redis",
        ok=False,
        detail="does not answer; work goes on by polling, a little later",
        remedy="Check REDIS_URL, and whether Redis runs.",
    )


async def _disk(resources: Resources) -> Check:
    detail = f"{resources.staging.free_bytes() / 1e9:.1f} GB free in {resources.staging.root}"
    if not resources.staging.has_room():
        return Check(
            "disk",
            ok=False,
            detail=detail,
            remedy="Make room, or run: sonobridge purge; until then no exam is taken.",
        )
    return Check("disk", ok=True, detail=detail)


async def _proxies(resources: Resources) -> Check:
    """Behind a proxy that is not trusted all people have one address, and one throttle."""
    trusted = ", ".join(sorted(resources.settings.trusted_proxies)) or "nobody"
    async with resources.sessions() as session:
        seen = await last_run(session, UNTRUSTED_PROXY)
        lately = await clock(session) - timedelta(hours=UNTRUSTED_PROXY_HOURS)
    if seen is not None and seen.finished_at is not None and seen.finished_at > lately:
        peer = (seen.result or {}).get("peer")
        return Check(
            "proxies",
            ok=False,
            detail=f"{peer} forwards requests ({seen.finished_at:%Y-%m-%d %H:%M} UTC) and is not trusted; {trusted} is",
            remedy=f"If it is your proxy, add it to SONOBRIDGE_TRUSTED_PROXIES; if not, nobody but the proxy may "
            f"reach this port. It is forgotten after {UNTRUSTED_PROXY_HOURS} hours.",
        )
    return Check("proxies", ok=True, detail=f"X-Forwarded-For counts from {trusted}")


async def _sealing_keys(resources: Resources) -> Check:
    async with resources.sessions() as session:
        organizations = await list_organizations(session)
    try:
        await resources.lookup.read()
        await resources.clarius_key()
        for organization in organizations:
            resources.sealer.unseal(organization.pseudonym_key_sealed)
    except CannotUnseal:
        return Check(
            "sealing keys",
            ok=False,
            detail="none of the keys opens what is stored",
            remedy="Put the key that sealed it back into SONOBRIDGE_SECRET_KEYS (newest first).",
        )
    return Check("sealing keys", ok=True, detail="open what is stored")


async def _clarius(resources: Resources) -> list[Check]:
    """One call (C6) tells three things: whether the key works, what is registered, and what the time is there."""
    try:
        clarius = await resources.clarius()
        async with asking(resources, AccountKind.CLARIUS):
            answer = await _ask_settings(resources, clarius)
        registered = answer.object()
    except SonobridgeError as error:
        remedy = "Set CLARIUS_API_KEY to a valid key, or check CLARIUS_BASE_URL."
        return [Check("clarius key", ok=False, detail=error.message, remedy=remedy)]
    urls = Urls(
        str(registered.get("notification_url") or ""), str(registered.get("token_transfer_url") or "")
    )
    return [
        Check("clarius key", ok=True, detail="is accepted"),
        _registered(urls, our_urls(resources.settings)),
        _upstream_clock(answer),
    ]


async def _ask_settings(resources: Resources, clarius: ClariusClient) -> Answer:
    return await resources.http.request(
        Call(
            upstream="clarius",
            operation="read settings",
            method="GET",
            url=join(resources.settings.clarius_base_url, f"{API_PATH}/services/settings/"),
            account=AccountKind.CLARIUS,
            credentials=clarius.credentials,
        )
    )


def _registered(there: Urls, ours: Urls) -> Check:
    wrong = [
        f"{what} is {hide_secret(has) or 'not set'}"
        for what, has, want in (
            ("notification URL", there.notification_url, ours.notification_url),
            ("token transfer URL", there.token_transfer_url, ours.token_transfer_url),
        )
        if has != want
    ]
    if wrong:
        return Check(
            "clarius urls",
            ok=False,
            detail="; ".join(wrong),
            remedy="If SONOBRIDGE_PUBLIC_URL is right, run: sonobridge clarius register",
        )
    return Check("clarius urls", ok=True, detail="are ours")


def _upstream_clock(answer: Answer) -> Check:
    try:
        theirs = email.utils.parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return Check("clock", ok=True, detail="Clarius does not tell the time")
    away = abs((datetime.now(UTC) - theirs.astimezone(UTC)).total_seconds())
    if away > MOST_CLOCK_SECONDS:
        return Check(
            "clock",
            ok=False,
            detail=f"this host and Clarius differ by {away:.0f} s",
            remedy="Set up time synchronisation (NTP): signed uploads are refused by a wrong clock.",
        )
    return Check("clock", ok=True, detail=f"this host and Clarius differ by {away:.0f} s")


async def _paused(resources: Resources) -> Check:
    async with resources.sessions() as session:
        paused = (
            await session.scalars(
                select(Upstream).where(Upstream.refused_since.is_not(None)).order_by(Upstream.account)
            )
        ).all()
    if paused:
        detail = "; ".join(f"{account.account}: {account.refused_why}" for account in paused)
        return Check(
            "paused accounts",
            ok=False,
            detail=detail,
            remedy="Give new credentials; it goes on by itself then.",
        )
    return Check("paused accounts", ok=True, detail="none")


async def _workers(resources: Resources) -> Check:
    async with resources.sessions() as session:
        living = await living_workers(session)
    if not living:
        return Check(
            "workers",
            ok=False,
            detail="none has shown itself within half a minute",
            remedy="Start one: sonobridge worker (or everything: sonobridge up)",
        )
    return Check("workers", ok=True, detail=", ".join(worker.id.rpartition(":")[0] for worker in living))
