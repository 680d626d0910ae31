"""How many looks at a customer's list were taken lately: a few may follow each other at once, and not for ever."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0020"
down_revision: str | Sequence[str] | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("links", sa.Column("look_budget_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("links", "look_budget_at")
