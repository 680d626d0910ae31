"""The sweep finds leases, and a study its exams, without reading all exams."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | Sequence[str] | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "ix_exams_leased", "exams", ["lease_until"], postgresql_where=sa.text("lease_until IS NOT NULL")
    )
    op.create_index("ix_exams_study_id", "exams", ["study_id"])


def downgrade() -> None:
    op.drop_index("ix_exams_study_id", table_name="exams")
    op.drop_index("ix_exams_leased", table_name="exams")
