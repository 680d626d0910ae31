"""Opens, once and the same way for the API, the worker, the CLI and the tests, all that they work with."""

import os
import secrets as random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from math import inf

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from app.accounts import AccountKind
from app.clients.aurabox import AuraboxClient
from app.clients.aurabox.uploader import Integration, SignIns, UploaderClient
from app.clients.clarius import ClariusClient
from app.clients.dicomweb import DicomWebClient, authorization
from app.clients.http import Egress, Http
from app.clients.observing import count_exchange
from app.config.sealing import CannotUnseal, Sealer, keyed_hash, load_or_create_keys, new_lookup_key
from app.config.settings import Settings
from app.config.trust import http_tls
from app.errors import Blame, Misuse
from app.infrastructure.database import Watch, open_engine
from app.infrastructure.pool import Pool
from app.infrastructure.queue import Queue
from app.infrastructure.staging import Staging, open_staging
from app.infrastructure.writer import Writer
from app.store import tables  # noqa: F401 - a mapping finds the tables it refers to only once all are known
from app.store.arrivals import COMMIT_SECONDS, SESSION, Arrival, Fate, write_arrivals
from app.store.organizations import Organization
from app.store.secrets import CLARIUS_API_KEY, LOOKUP_KEY, keep_first_secret, read_secret
from app.store.unsettled import Room
from app.store.upstreams import Tally

# so long a process may go on with a key that another has replaced (`app.consoles.clarius_keys`)
KEY_SECONDS = 1.0


class LookupKey:
    """The installation's look-up key: made at first use, then kept, so that a start does not need the database."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], sealer: Sealer) -> None:
        self._sessions = sessions
        self._sealer = sealer
        self._key: bytes | None = None

    async def read(self) -> bytes:
        """The key. Raises CannotUnseal while no sealing key opens it."""
        if self._key is None:
            async with self._sessions.begin() as session:
                stored = await keep_first_secret(session, LOOKUP_KEY, self._sealer.seal(new_lookup_key()))
            self._key = self._sealer.unseal(stored)
        return self._key


class ClariusKey:
    """The service key that a rotation stored, as it was read at most `KEY_SECONDS` ago. One per process."""

    def __init__(self, statements: async_sessionmaker[AsyncSession]) -> None:
        self._statements = statements
        self._read_at = -inf
        self._sealed: bytes | None = None

    async def read(self) -> bytes | None:
        """The sealed key; None while none was stored."""
        now = time.monotonic()
        if now - self._read_at > KEY_SECONDS:
            async with self._statements() as session:
                self._sealed = await read_secret(session, CLARIUS_API_KEY)
            self._read_at = now
        return self._sealed

    def forget(self) -> None:
        """Read it anew for the next call: this process replaces it, or has to know it as it is."""
        self._read_at = -inf


@dataclass(frozen=True)
class Resources:
    """What everything is done with. Frozen: nothing is swapped while it is in use."""

    settings: Settings
    engine: AsyncEngine = field(repr=False)
    sessions: async_sessionmaker[AsyncSession] = field(repr=False)
    # each statement a transaction of its own: for what one statement does, and for what is only read
    statements: async_sessionmaker[AsyncSession] = field(repr=False)
    watch: Watch = field(repr=False)
    http: Http = field(repr=False)
    sealer: Sealer = field(repr=False)
    queue: Queue = field(repr=False)
    staging: Staging = field(repr=False)
    pool: Pool = field(repr=False)
    sign_ins: SignIns = field(repr=False)
    host: str
    worker_id: str
    lookup: LookupKey = field(repr=False)
    service_key: ClariusKey = field(repr=False)
    arrivals: Writer[Arrival, Fate] = field(repr=False)
    tally: Tally = field(default_factory=Tally, repr=False)

    async def hash_text(self, purpose: str, value: str) -> bytes:
        """A keyed hash for look-ups. Raises CannotUnseal while the sealing key of the look-up key is missing."""
        return keyed_hash(await self.lookup.read(), purpose, value)

    async def hash_customer(self, customer_id: str) -> bytes:
        """By which a Clarius customer (their token) is found again."""
        return await self.hash_text("customer", customer_id)

    def seal_text(self, plain: str) -> bytes:
        """Seal a text for the database."""
        return self.sealer.seal(plain.encode())

    def unseal_text(self, sealed: bytes) -> str:
        """The inverse of `seal_text`. Raises CannotUnseal."""
        return self.sealer.unseal(sealed).decode()

    def _credentials(self, account: str, sealed: bytes | None) -> str:
        """What an account signs in with, "" when it has nothing. Raises CannotUnseal, about these credentials."""
        try:
            return self.unseal_text(sealed) if sealed else ""
        except CannotUnseal:
            raise CannotUnseal(
                "no sealing key opens this account's credentials (SONOBRIDGE_SECRET_KEYS)",
                blame=Blame.CREDENTIAL,
                account=account,
            ) from None

    def pseudonym_key(self, organization: Organization) -> bytes:
        """With which an organisation's pseudonyms are made. Raises CannotUnseal, about this organisation."""
        try:
            return self.sealer.unseal(organization.pseudonym_key_sealed)
        except CannotUnseal:
            raise CannotUnseal(
                "no sealing key opens the organisation's key of pseudonyms (SONOBRIDGE_SECRET_KEYS)",
                blame=Blame.ORGANIZATION,
            ) from None

    async def clarius_key(self) -> SecretStr | None:
        """The service key in use: the one stored by a rotation, else CLARIUS_API_KEY."""
        sealed = await self.service_key.read()
        return (
            SecretStr(self._credentials(AccountKind.CLARIUS, sealed))
            if sealed
            else self.settings.clarius_api_key
        )

    async def clarius(self) -> ClariusClient:
        """A client of the Service API. Raises CannotUnseal."""
        return ClariusClient(
            self.http,
            base_url=self.settings.clarius_base_url,
            api_key=await self.clarius_key() or SecretStr(""),
        )

    def aurabox(self, organization: Organization) -> AuraboxClient:
        """A client of this organisation's Aurabox team. Raises CannotUnseal."""
        account = AccountKind.AURABOX.of(organization.id)
        key = self._credentials(account, organization.aurabox_key_sealed)
        return AuraboxClient(
            self.http,
            base_url=organization.aurabox_url or self.settings.aurabox_base_url,
            api_key=SecretStr(key),
            account=account,
        )

    def uploader(self, organization: Organization) -> UploaderClient:
        """Aurabox's uploader for this organisation; without a service key of its own, the Aurabox key serves.

        Raises CannotUnseal, and Misuse while AURA_APP_ID and AURA_APP_SECRET are not set.
        """
        if self.settings.aura_app_id is None or self.settings.aura_app_secret is None:
            raise Misuse("the uploader needs AURA_APP_ID and AURA_APP_SECRET", code="uploader_not_configured")
        sealed = organization.service_key_sealed or organization.aurabox_key_sealed
        account = AccountKind.UPLOADER.of(organization.id)
        key = self._credentials(account, sealed)
        return UploaderClient(
            self.http,
            base_url=organization.aurabox_url or self.settings.aurabox_base_url,
            integration=Integration(self.settings.aura_app_id, self.settings.aura_app_secret, SecretStr(key)),
            account=account,
            sign_ins=self.sign_ins,
        )

    def dicomweb(self, organization: Organization) -> DicomWebClient:
        """The organisation's DICOMweb server. Raises CannotUnseal, and Misuse without an address."""
        if not organization.dicomweb_url:
            raise Misuse("this organisation has no DICOMweb address", code="dicomweb_not_configured")
        sealed = organization.dicomweb_token_sealed
        account = AccountKind.DICOMWEB.of(organization.id)
        secret = SecretStr(self._credentials(account, sealed)) if sealed else None
        return DicomWebClient(
            self.http,
            base_url=organization.dicomweb_url,
            headers=authorization(user=organization.dicomweb_user, secret=secret),
            account=account,
        )


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Open everything for a process; both stores must be named in `settings` (see `app.embedded`)."""
    keys = settings.secret_keys or load_or_create_keys(settings.data_dir)
    sealer = Sealer(keys)
    tls = http_tls(settings.ca_file)
    engine = open_engine(settings)
    watch = Watch(settings)
    watch.over(engine)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    statements = async_sessionmaker(autocommit, expire_on_commit=False)
    queue = Queue(settings)
    pool = Pool()
    arrivals = Writer(
        partial(watch.connect, seconds=COMMIT_SECONDS, session=SESSION),
        partial(write_arrivals, room=Room(), limit=settings.max_unverified),
        seconds=COMMIT_SECONDS,
    )
    host = socket.gethostname()
    egress = Egress(production=settings.is_production, allowed=settings.allowed_upstreams)
    try:
        async with watch.running(), Http(egress=egress, observe=count_exchange, tls=tls) as http:
            yield Resources(
                settings=settings,
                engine=engine,
                sessions=sessions,
                statements=statements,
                watch=watch,
                http=http,
                sealer=sealer,
                queue=queue,
                staging=open_staging(settings),
                pool=pool,
                sign_ins=SignIns(),
                host=host,
                worker_id=f"{host}:{os.getpid()}:{random.token_hex(4)}",
                lookup=LookupKey(sessions, sealer),
                service_key=ClariusKey(statements),
                arrivals=arrivals,
            )
    finally:
        await arrivals.aclose()
        await pool.aclose()
        await queue.aclose()
        await watch.close(engine)


async def schema_revision(session: AsyncSession) -> str | None:
    """The migration that the database is at; None when it was never migrated."""
    try:
        return (await session.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
    except ProgrammingError:
        # no such table; a database that is away is another matter, and is raised
        await session.rollback()
        return None
