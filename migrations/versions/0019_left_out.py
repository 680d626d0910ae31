"""How many files of a bundle became no image: a capture can be delivered in part."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | Sequence[str] | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("captures", sa.Column("left_out", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("captures", "left_out")
