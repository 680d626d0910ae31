"""Indexes for two million exams: lists, counts and purges read no history, and a notification is in fewer of them.

Built beside the work that goes on, each by itself. An old index goes only once its successor is there; what an interrupted
build left is dropped and built again.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0021"
down_revision: str | Sequence[str] | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# nobody waits for these, and they wait for the longest transaction
PATIENCE = "10min"
# as migrations/env.py sets it
LOCK_TIMEOUT = "5s"
STATISTICS = "st_exams_step_state"
NEW = {
    "ix_exams_delivered": "exams (delivered_at) WHERE state = 'delivered'",
    "ix_exams_resting": "exams (state, received_at, id) INCLUDE (error_code) "
    "WHERE state IN ('review', 'unverified', 'failed', 'cancelled', 'gone')",
    "ix_exams_at_step": "exams (step, received_at, id) WHERE step <> 'verify'",
    "ix_exams_data": "exams (exam_data_at) WHERE exam_data_sealed IS NOT NULL",
    # by the id, which never changes: an indexed time of the last change would put each change into every index
    "ix_exams_words": "exams (id) WHERE upstream_words_sealed IS NOT NULL AND exam_data_sealed IS NULL",
    "ix_captures_held": "captures (exam_id) WHERE purged_at IS NULL AND downloaded_at IS NOT NULL",
}
NARROWER = {
    "ix_exams_due": "exams (due_at) "
    "WHERE due_at IS NOT NULL AND state IN ('queued', 'waiting', 'running', 'delivered')",
    "ix_exams_state": "exams (state, reason, step) WHERE state <> 'delivered'",
    "ix_exams_organization_id": "exams (organization_id, received_at, id) WHERE organization_id IS NOT NULL",
    "ix_exams_customer_hash": "exams (customer_hash) WHERE customer_hash IS NOT NULL AND state <> 'delivered'",
    "ix_exams_study_id": "exams (study_id) WHERE study_id IS NOT NULL",
    "ix_claims_customer_hash": "claims (customer_hash) WHERE ended_at IS NULL",
}
WIDER = {
    "ix_exams_due": "exams (due_at) WHERE state IN ('queued', 'waiting', 'running', 'delivered')",
    "ix_exams_state": "exams (state, reason)",
    "ix_exams_organization_id": "exams (organization_id)",
    "ix_exams_customer_hash": "exams (customer_hash)",
    "ix_exams_study_id": "exams (study_id)",
    "ix_claims_customer_hash": "claims (customer_hash)",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"SET lock_timeout = '{PATIENCE}'")
        for name, what in NEW.items():
            _build(name, what)
        _replace(NARROWER)
        # at verify no exam is delivered, nearly all others are: who takes these for independent reads the wrong index
        op.execute(f"CREATE STATISTICS IF NOT EXISTS {STATISTICS} (mcv) ON step, state FROM exams")
        op.execute("ANALYZE exams")
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"SET lock_timeout = '{PATIENCE}'")
        op.execute(f"DROP STATISTICS IF EXISTS {STATISTICS}")
        _replace(WIDER)
        for name in NEW:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")


def _replace(indexes: dict[str, str]) -> None:
    for name, what in indexes.items():
        _build(f"{name}_next", what)
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"ALTER INDEX {name}_next RENAME TO {name}")


def _build(name: str, what: str) -> None:
    op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {what}")
