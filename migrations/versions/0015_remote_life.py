"""When Aurabox last showed a patient, case or study of ours, and since when it answers 404."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | Sequence[str] | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("subjects", "studies")
COLUMNS = ("seen_at", "missing_since")


def upgrade() -> None:
    for table in TABLES:
        for name in COLUMNS:
            op.add_column(table, sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_studies_subject_id", "studies", ["subject_id"])


def downgrade() -> None:
    op.drop_index("ix_studies_subject_id", table_name="studies")
    for table in TABLES:
        for name in reversed(COLUMNS):
            op.drop_column(table, name)
