"""Every table, imported once, so that `Base.metadata` is whole for migrations and their check."""

from app.store import (  # noqa: F401 - imported for the tables they declare
    alerts,
    audit,
    browser_sessions,
    captures,
    claims,
    creates,
    exam_events,
    exams,
    filings,
    instances,
    links,
    oidc_attempts,
    one_time_links,
    organizations,
    pending_connects,
    process_metrics,
    retired,
    runs,
    secrets,
    studies,
    subjects,
    throttles,
    tokens,
    uploads,
    upstreams,
    users,
    workers,
)
from app.store.base import Base

metadata = Base.metadata
