"""The dashboard and the alert rules name metrics and labels that exist, and the page of metrics can be read."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.config.settings import Settings
from app.observing.metrics import (
    attempts,
    http_requests,
    own_samples,
    steps,
    transferred,
    upstream_calls,
    webhooks,
)
from app.resources import open_resources
from app.store.base import now
from app.store.process_metrics import ProcessMetrics
from app.store.runs import Run
from app.store.upstreams import refuse
from app.web.gauges import render_metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = re.compile(r"\bsonobridge_[a-z_]+")
SELECTOR = re.compile(r"(sonobridge_[a-z_]+)\{([^}]*)\}")


def expressions() -> list[str]:
    """Every query of the dashboard and of the rules."""
    board = json.loads((DEPLOY / "grafana" / "sonobridge.json").read_text("utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = (DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8")
    return queries + re.findall(r"^\s+expr: (.+)$", rules, re.MULTILINE)


@pytest.fixture
async def samples(settings: Settings) -> dict[str, set[str]]:
    """The labels of every sample on the page, by name, once every metric was counted at least once."""
    webhooks.labels(outcome="accepted").inc()
    steps.labels(step="verify", outcome="done").observe(0.1)
    attempts.labels(step="verify", error="TryLater").inc()
    transferred.labels(direction="in").inc(5)
    http_requests.labels(area="api", method="GET", status="200").observe(0.1)
    upstream_calls.labels(upstream="clarius", operation="list exams", outcome="200").observe(0.1)
    async with open_resources(settings) as resources:
        async with resources.sessions.begin() as session:
            await refuse(session, "clarius", why="invented", probe_seconds=60)
            session.add(Run(name="reconcile", finished_at=now()))
            session.add(ProcessMetrics(worker_id="host:1:ab", samples=own_samples()))
        page = (await render_metrics(resources)).decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_every_query_names_metrics_and_labels_that_exist(samples: dict[str, set[str]]):
    # appears with the first notification, and is told by its age from then on
    known = samples | {"sonobridge_webhook_age_seconds": set()}
    queries = expressions()
    assert len(queries) > 25
    for query in queries:
        for name in NAME.findall(query):
            assert name in known, f"{name} is no metric: {query}"
        for name, labels in SELECTOR.findall(query):
            for label in re.findall(r"(\w+)\s*[=!]", labels):
                assert label in known[name], f"{name} has no label {label}: {query}"
        for label in re.findall(r"by \(([^)]*)\)", query):
            used = {part.strip() for part in label.split(",")}
            names = NAME.findall(query)
            assert used <= set.union(*(known[name] for name in names)), query


async def test_workers_counters_stand_beside_the_apis(samples: dict[str, set[str]]):
    assert "worker" in samples["sonobridge_step_duration_seconds_bucket"]
    assert "worker" not in samples["sonobridge_exams"]


async def test_the_page_is_served_without_a_database(settings: Settings):
    away = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/none"})
    async with open_resources(away) as resources:
        page = (await render_metrics(resources)).decode()
    assert "sonobridge_database_up 0.0" in page
    assert "sonobridge_webhook_requests_total" in page
