"""The process's own counters (Prometheus). Labels are few and fixed: no ids, nothing of a patient."""

from typing import Any

from prometheus_client import REGISTRY, Counter, Histogram, Metric

webhooks = Counter("sonobridge_webhook_requests_total", "Notifications by what became of them", ["outcome"])
steps = Histogram(
    "sonobridge_step_duration_seconds",
    "Time spent in one delivery step",
    ["step", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
attempts = Counter(
    "sonobridge_attempts_total", "Attempts that did not succeed, by class of error", ["step", "error"]
)
transferred = Counter("sonobridge_bytes_total", "Bytes of captures and archives", ["direction"])
http_requests = Histogram(
    "sonobridge_http_request_duration_seconds",
    "Requests answered, by part of the web application",
    ["area", "method", "status"],
    buckets=(0.005, 0.025, 0.1, 0.25, 1, 2.5, 10, 60),
)
upstream_calls = Histogram(
    "sonobridge_upstream_call_duration_seconds",
    "Calls to the outside, by what they came to",
    ["upstream", "operation", "outcome"],
    buckets=(0.05, 0.25, 1, 2.5, 10, 30, 120),
)

PREFIX = "sonobridge_"


def own_families() -> list[Metric]:
    """What this process has counted so far: our metrics only, not the interpreter's."""
    return [family for family in REGISTRY.collect() if family.name.startswith(PREFIX)]


def own_samples() -> list[dict[str, Any]]:
    """The same as plain values, to be kept where another process can show them."""
    return [
        {"family": family.name, "name": sample.name, "labels": dict(sample.labels), "value": sample.value}
        for family in own_families()
        for sample in family.samples
        # when a series was made is of no use to anybody
        if not sample.name.endswith("_created")
    ]
