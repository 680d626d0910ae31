"""The process's own counters (Prometheus). Labels are few and fixed: no ids, nothing of a patient."""

from prometheus_client import Counter, Histogram

webhooks = Counter("sonobridge_webhook_requests_total", "Notifications by what became of them", ["outcome"])
steps = Histogram(
    "sonobridge_step_duration_seconds",
    "Time spent in one delivery step",
    ["step", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
attempts = Counter("sonobridge_attempts_total", "Attempts that did not succeed, by class of error", ["step", "error"])
transferred = Counter("sonobridge_bytes_total", "Bytes of captures and archives", ["direction"])
