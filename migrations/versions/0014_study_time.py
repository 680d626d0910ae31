"""The date and time of a study, so that what a later submission adds to it carries the same."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | Sequence[str] | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("studies", sa.Column("studied_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        """
        UPDATE studies s
        SET studied_at = (
            SELECT min(coalesce(e.submitted_at, e.received_at)) FROM exams e WHERE e.study_id = s.id
        )
        """
    )


def downgrade() -> None:
    op.drop_column("studies", "studied_at")
