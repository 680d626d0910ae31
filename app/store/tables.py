"""Every table, imported once, so that `Base.metadata` is whole for migrations and their check."""

from app.store import (
    audit,
    browser_sessions,
    captures,
    claims,
    creates,
    exam_events,
    exams,
    links,
    oidc_attempts,
    one_time_links,
    organizations,
    pending_connects,
    runs,
    secrets,
    studies,
    subjects,
    throttles,
    upstreams,
    users,
    workers,
)
from app.store.base import Base

metadata = Base.metadata

MODULES = (
    audit,
    browser_sessions,
    captures,
    claims,
    creates,
    exam_events,
    exams,
    links,
    oidc_attempts,
    one_time_links,
    organizations,
    pending_connects,
    runs,
    secrets,
    studies,
    subjects,
    throttles,
    upstreams,
    users,
    workers,
)
