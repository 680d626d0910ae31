"""Users count their credentials, and a session holds the number it was begun under."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | Sequence[str] | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # with a constant default neither table is rewritten; sessions of today go on
    for table in ("users", "browser_sessions"):
        op.add_column(
            table,
            sa.Column("credentials_epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        )


def downgrade() -> None:
    for table in ("browser_sessions", "users"):
        op.drop_column(table, "credentials_epoch")
