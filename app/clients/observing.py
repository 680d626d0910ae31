"""Counts and traces the outcomes of outgoing calls; must not know a URL, a body or an account."""

from app.clients.http.call import Observation
from app.observing.metrics import upstream_calls
from app.observing.tracing import note_span


def count_exchange(seen: Observation) -> None:
    """Note one exchange by upstream, operation (`upload report`) and outcome."""
    upstream_calls.labels(
        upstream=seen.upstream, operation=seen.operation, outcome=str(seen.outcome)
    ).observe(seen.seconds)
    note_span(
        f"{seen.upstream} {seen.operation}", seen.seconds, upstream=seen.upstream, outcome=str(seen.outcome)
    )
