"""Counts what calls to the outside come to (Prometheus); must not know a URL, a body or an account."""

from app.clients.http.call import Observation
from app.metrics import upstream_calls


def count_exchange(seen: Observation) -> None:
    """Note one exchange by upstream, operation (`C3`, `A11`) and outcome."""
    upstream_calls.labels(
        upstream=seen.upstream, operation=seen.operation, outcome=str(seen.outcome)
    ).observe(seen.seconds)
