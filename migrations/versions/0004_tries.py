"""What is tried, counted apart: a clock of the retry budget that can stand, and counters by name."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | Sequence[str] | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # both with constant defaults: no row is written anew
    op.add_column("exams", sa.Column("tried_seconds", sa.Float(), server_default="0", nullable=False))
    op.add_column(
        "exams",
        sa.Column(
            "counts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
    )
    # what waits for a pause to end was not being tried, however long ago its first trouble was
    op.execute(
        "UPDATE exams SET trying_since = NULL WHERE state = 'waiting' AND trying_since IS NOT NULL"
        " AND reason IN ('paused', 'throttled', 'settling', 'link')"
    )


def downgrade() -> None:
    op.drop_column("exams", "counts")
    op.drop_column("exams", "tried_seconds")
