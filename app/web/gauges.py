"""The Prometheus page: this process's counters, those of every worker, and gauges read from the database at the scrape.

Must not hold an id of an exam, a name, or anything of a patient. A database that is away makes the gauges fail to
appear and `sonobridge_database_up` 0; the page itself is always served.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime

import structlog
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from app.observing.metrics import own_families
from app.resources import Resources
from app.store.overview import Overview, read_overview
from app.store.process_metrics import ProcessMetrics, all_samples

LOOK_SECONDS = 5.0

log = structlog.get_logger(__name__)


async def render_metrics(resources: Resources) -> bytes:
    """The page, in Prometheus's text format."""
    families = own_families()
    up = 1.0
    try:
        async with asyncio.timeout(LOOK_SECONDS), resources.sessions() as session:
            add_workers(families, await all_samples(session), but=resources.worker_id)
            families += gauges(await read_overview(session))
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        log.warning("gauges_not_read", error_type=type(error).__name__)
        up = 0.0
    families.append(gauge("sonobridge_database_up", "Whether the gauges could be read from the database", up))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(families))
    return generate_latest(registry)


def add_workers(families: Sequence[Metric], processes: Sequence[ProcessMetrics], *, but: str) -> None:
    """Put the workers' samples beside this process's own, told apart by the label `worker`."""
    by_name = {family.name: family for family in families}
    for process in processes:
        if process.worker_id == but:
            continue
        for sample in process.samples:
            family = by_name.get(sample["family"])
            if family is not None:
                family.add_sample(
                    sample["name"], sample["labels"] | {"worker": process.worker_id}, sample["value"]
                )


def gauges(seen: Overview) -> list[Metric]:
    """What stands in the database, as gauges."""
    states = GaugeMetricFamily("sonobridge_exams", "Exam requests by state", labels=["state"])
    for state, count in seen.states.items():
        states.add_metric([state], count)
    waiting = GaugeMetricFamily("sonobridge_exams_waiting", "Waiting exams by reason", labels=["reason"])
    for reason, count in seen.waiting.items():
        waiting.add_metric([reason], count)
    paused = GaugeMetricFamily(
        "sonobridge_account_paused", "1 while an account's credentials are refused", labels=["account"]
    )
    broken = GaugeMetricFamily(
        "sonobridge_account_breaker_open", "1 while an account is broken off", labels=["account"]
    )
    throttled = GaugeMetricFamily(
        "sonobridge_account_throttled", "1 while an account was told to slow down", labels=["account"]
    )
    held = set(map(id, seen.throttled))
    for account in seen.upstreams:
        paused.add_metric([account.account], float(account.refused_since is not None))
        broken.add_metric([account.account], float(account.open_since is not None))
        throttled.add_metric([account.account], float(id(account) in held))
    single = [
        gauge("sonobridge_queue_due", "Rows that are due and free", seen.due),
        gauge(
            "sonobridge_queue_oldest_due_seconds",
            "How long the oldest due row has been due",
            seen.oldest_due_seconds or 0.0,
        ),
        gauge("sonobridge_workers", "Workers heard of within half a minute", len(seen.workers)),
        gauge("sonobridge_gaps", "Exams that Clarius sent and Aurabox does not have", seen.gaps),
        gauge("sonobridge_alerts", "Conditions in force", len(seen.alerts)),
    ]
    ages = [
        (
            "sonobridge_reconcile_age_seconds",
            "Since the poll API was last read to the end",
            seen.last_reconcile_at,
        ),
        ("sonobridge_webhook_age_seconds", "Since the last notification was taken", seen.last_webhook_at),
    ]
    return [states, waiting, paused, broken, throttled, *single, *_ages(ages, seen.at)]


def _ages(rows: Iterable[tuple[str, str, datetime | None]], at: datetime) -> list[Metric]:
    """Ages in seconds; what never happened has none."""
    return [gauge(name, about, (at - then).total_seconds()) for name, about, then in rows if then is not None]


def gauge(name: str, about: str, value: float) -> Metric:
    """One gauge without labels."""
    family = GaugeMetricFamily(name, about)
    family.add_metric([], value)
    return family


class _Once(Collector):
    """Hands out families that were made already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self._families
