"""Who moved a link, and whether exams under way come along."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | Sequence[str] | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("links", sa.Column("moved_by", sa.Text(), nullable=True))
    op.add_column(
        "links", sa.Column("takes_along", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )


def downgrade() -> None:
    op.drop_column("links", "takes_along")
    op.drop_column("links", "moved_by")
