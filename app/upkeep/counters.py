"""Keeps a worker's own counters where the API's Prometheus page finds them; must not count anything itself."""

from app.observing.metrics import own_samples
from app.resources import Resources
from app.store.process_metrics import keep_samples


async def keep_own_samples(resources: Resources) -> None:
    """Write this process's totals, at most every few seconds; every worker does it for itself."""
    async with resources.sessions.begin() as session:
        await keep_samples(session, resources.worker_id, own_samples())
