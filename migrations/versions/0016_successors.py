"""Who stands for a subject whose record was archived in Aurabox."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | Sequence[str] | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("subjects", sa.Column("successor_id", sa.Uuid(), nullable=True))
    # nothing is there to be checked yet: the column is new, so the lock is short
    op.create_foreign_key("fk_subjects_successor_id", "subjects", "subjects", ["successor_id"], ["id"])


def downgrade() -> None:
    op.drop_constraint("fk_subjects_successor_id", "subjects", type_="foreignkey")
    op.drop_column("subjects", "successor_id")
