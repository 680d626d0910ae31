"""An exam's way behind the webhook, against the same calls made bare: when it begins, how long it takes, what it asks.

The vendors are the sandbox, in this process; API and worker are processes of their own. Exams have no captures here, so
that nothing but our own work stands between the calls.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx
import psutil
from sqlalchemy import event

from app.config.settings import Settings, asyncpg_dsn
from app.resources import open_resources
from app.store.organizations import Organization
from bench import programs
from bench.figures import Figure, ratio
from sandbox.server import Sandbox
from tests.support.bridge import Bridge, settings_for, working
from tests.support.wait import until

EXAMS = 9
PATIENCE_SECONDS = 120.0
# of an exam of a new patient without captures: those that `_bare` makes
CALLS = 8
AT_ONCE, ROUNDS = 20, 3
REST_SECONDS = 10.0
WORKERS, WORKERS_SECONDS = 4, 3.0
LIST = "/api/public/v0/exams/accessible/"
PATIENT = {"given_names": "Hana", "family_name": "Milo", "date_of_birth": "1980-02-03", "sex": "female"}


async def measure(plain: Settings, folder: Path) -> AsyncIterator[Figure]:
    """The rows of the line, one after the other."""
    async with Sandbox() as sandbox:
        settings = settings_for(plain, sandbox)
        async with open_resources(settings) as resources, programs.api(settings, folder) as (port, _):
            url = f"http://127.0.0.1:{port}"
            sandbox.clarius.settings["notification_url"] = f"{url}/webhooks/clarius"
            bridge = Bridge(resources=resources, sandbox=sandbox, url=url)
            async with programs.worker(settings, folder) as worker:
                organization = await bridge.organization(images="none", concurrency=100)
                async with Way(bridge, organization) as way:
                    for figure in await way.alone():
                        yield figure
                    yield await way.together()
                yield await _at_rest(worker)
            async with working(resources), Way(bridge, organization) as way:
                yield await way.statements()
            yield await _workers(bridge, organization, folder)


class Way:
    """Exams on their way through the bridge, and the same calls without it."""

    def __init__(self, bridge: Bridge, organization: Organization) -> None:
        self.bridge, self.sandbox, self.organization = bridge, bridge.sandbox, organization

    async def __aenter__(self) -> Self:
        dsn = asyncpg_dsn(self.bridge.resources.settings.database_url)
        self.connection = await asyncpg.connect(dsn)
        self.client = httpx.AsyncClient(trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
        await self.connection.close()

    async def alone(self) -> list[Figure]:
        """One exam at a time, each of a customer of its own, and after each the same calls."""
        begins, takes, bare = [], [], []
        for _ in range(EXAMS):
            customer = await self.bridge.customer(self.organization)
            await self._worker_rests()
            seen = len(self.sandbox.journal.requests)
            submitted = await self.sandbox.submit_exam(customer=customer, captures=())
            taken = time.time()
            await self._all_called(seen)
            await self._delivered([submitted.request_uuid])
            takes.append(time.time() - taken)
            calls = self.sandbox.journal.requests[seen:]
            begins.append(calls[0].at.timestamp() - taken)
            bare.append(await self._timed(self._bare))
        detail = f"{statistics.median(takes) * 1000:.0f} ms; bare {statistics.median(bare) * 1000:.0f} ms"
        return [
            Figure(
                "202 → first call, resting worker, p50: milliseconds", statistics.median(begins) * 1000, 5.0
            ),
            Figure(
                "one exam without captures, 202 → delivered / bare",
                ratio(takes, bare),
                2.0,
                3.0,
                detail=detail,
            ),
        ]

    async def together(self) -> Figure:
        """Twenty at a time, and twenty bare loops."""
        customers = [await self.bridge.customer(self.organization) for _ in range(AT_ONCE)]
        rates, bare = [], []
        for _ in range(ROUNDS):
            await self._worker_rests()
            rates.append(AT_ONCE / await self._timed(partial(self._all, customers)))
            bare.append(AT_ONCE / await self._timed(self._all_bare))
        detail = f"{statistics.median(rates):.1f}/s; bare {statistics.median(bare):.1f}/s"
        return Figure(
            "exams a second of one worker, 20 at a time / bare loops",
            ratio(rates, bare),
            0.6,
            least=True,
            detail=detail,
        )

    async def statements(self) -> Figure:
        """What a worker in this process sends the database for an exam, beyond what it sends at rest."""
        sent = 0

        def count(*_: object) -> None:
            nonlocal sent
            sent += 1

        customers = [await self.bridge.customer(self.organization) for _ in range(AT_ONCE)]
        await self._worker_rests()
        engine = self.bridge.resources.engine.sync_engine
        event.listen(engine, "before_cursor_execute", count)
        try:
            seconds = await self._timed(partial(self._all, customers))
            await self._worker_rests()
            exams, sent = sent, 0
            await asyncio.sleep(seconds)
        finally:
            event.remove(engine, "before_cursor_execute", count)
        return Figure("SQL statements per exam without captures", (exams - sent) / AT_ONCE, 25.0)

    async def per_cpu_second(self, workers: Sequence[int], customers: list[str]) -> float:
        """Exams, twenty at a time, for each second of processor time of these workers and PostgreSQL together."""
        there = "SELECT count(*) = $1 FROM workers"
        await until(lambda: self.connection.fetchval(there, len(workers)))
        backend = await self.connection.fetchval("SELECT pg_backend_pid()")
        busy = [psutil.Process(pid) for pid in (*workers, psutil.Process(backend).ppid())]
        await self._all(customers)
        before, began, exams = _used(busy), time.monotonic(), 0
        while time.monotonic() - began < WORKERS_SECONDS:
            await self._all(customers)
            exams += AT_ONCE
        return exams / (_used(busy) - before)

    async def _all(self, customers: list[str]) -> None:
        submitted = await asyncio.gather(
            *(self.sandbox.submit_exam(customer=customer, captures=()) for customer in customers)
        )
        await self._delivered([one.request_uuid for one in submitted])

    async def _all_bare(self) -> None:
        await asyncio.gather(*(self._bare() for _ in range(AT_ONCE)))

    async def _bare(self) -> None:
        """The calls that an exam of a new patient makes, one after the other, and nothing besides."""
        customer = self.sandbox.add_customer()
        await self.sandbox.submit_exam(notify_times=0, customer=customer, captures=())
        clarius = {"Authorization": f"Service-API-Key {self.sandbox.clarius_key}"}
        aurabox = {"Authorization": f"Bearer {self.sandbox.team().key}"}
        listed = await self._call(
            "GET",
            f"{self.sandbox.clarius_url}{LIST}",
            clarius,
            params={"customer_id": customer, "limit": 100},
        )
        await self._call("GET", listed["results"][0]["download_url"], clarius)
        patients = f"{self.sandbox.aurabox_url}/api/v1/patients"
        await self._call("GET", patients, aurabox, params={"search": customer, "per_page": 100})
        patient = f"{patients}/{await self._create(patients, aurabox, PATIENT)}"
        await self._call("GET", patient, aurabox)
        await self._call("GET", f"{patient}/studies", aurabox, params={"per_page": 100})
        study = await self._create(f"{patient}/studies", aurabox, {"description": "Ultrasound"})
        await self._call("GET", f"{patient}/studies/{study}", aurabox)

    async def _create(self, url: str, headers: dict[str, str], fields: dict[str, str]) -> str:
        made: str = (await self._call("POST", url, headers, json=fields))["data"]["id"]
        return made

    async def _call(self, method: str, url: str, headers: dict[str, str], **options: Any) -> Any:
        answer = await self.client.request(method, url, headers=headers, **options)
        answer.raise_for_status()
        return answer.json()

    async def _all_called(self, seen: int) -> None:
        """Until every call of an exam was made. The database is not asked before: who asks it serves the vendors too."""
        requests = self.sandbox.journal.requests
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(requests) - seen < CALLS:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.002)

    async def _delivered(self, requests: list[str]) -> None:
        query = (
            "SELECT count(*) FROM exams WHERE request_uuid = ANY($1::text[]::uuid[]) AND state = 'delivered'"
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.connection.fetchval(query, requests) < len(requests):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.002 if len(requests) == 1 else 0.01)

    async def _worker_rests(self) -> None:
        busy = "SELECT count(*) = 0 FROM exams WHERE lease_until IS NOT NULL OR due_at IS NOT NULL"
        await until(lambda: self.connection.fetchval(busy))

    async def _timed(self, work: Callable[[], Awaitable[None]]) -> float:
        began = time.perf_counter()
        await work()
        return time.perf_counter() - began


async def _at_rest(pid: int) -> Figure:
    process = psutil.Process(pid)
    before, began = process.cpu_times(), time.monotonic()
    await asyncio.sleep(REST_SECONDS)
    after, seconds = process.cpu_times(), time.monotonic() - began
    used = after.user + after.system - before.user - before.system
    return Figure("idle worker: % of a core", 100 * used / seconds, 1.0)


async def _workers(bridge: Bridge, organization: Organization, folder: Path) -> Figure:
    """What four workers make of the processors that one has to itself."""
    rates: list[float] = []
    customers: list[str] = []
    for count in (1, WORKERS):
        async with AsyncExitStack() as stack, Way(bridge, organization) as way:
            starting = [programs.worker(bridge.resources.settings, folder) for _ in range(count)]
            pids = [await stack.enter_async_context(worker) for worker in starting]
            missing = AT_ONCE - len(customers)
            customers += await asyncio.gather(*(bridge.customer(organization) for _ in range(missing)))
            rates.append(await way.per_cpu_second(pids, customers))
    detail = f"{rates[1]:.1f}; {rates[0]:.1f}; workers and PostgreSQL"
    return Figure(
        f"{WORKERS} workers / 1: exams per CPU second", rates[1] / rates[0], 0.9, least=True, detail=detail
    )


def _used(processes: Sequence[psutil.Process]) -> float:
    """Seconds of processor time of these and of all that they started, ended or not."""
    family = [*processes, *(child for one in processes for child in one.children(recursive=True))]
    return float(sum(sum(process.cpu_times()[:4]) for process in family))
