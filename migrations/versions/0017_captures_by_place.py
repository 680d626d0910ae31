"""Captures by what they are: a keyed hash of their address's path in place of their number in the list.

The hash can't be made in SQL: rows of before get theirs when their list is read again, by the address that they hold.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | Sequence[str] | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("captures", sa.Column("place_hash", sa.LargeBinary(), nullable=True))
    op.add_column(
        "captures", sa.Column("bundle", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("captures", sa.Column("missing_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("captures", sa.Column("unlisted_at", sa.DateTime(timezone=True), nullable=True))
    # Clarius's own DICOM was told by a missing address, which a purge takes from the others too
    op.execute(
        """
        UPDATE captures c SET bundle = true
        FROM exams e
        JOIN organizations o ON o.id = e.organization_id
        LEFT JOIN filings f ON f.exam_id = e.id AND f.number = e.filing
        LEFT JOIN policies p ON p.organization_id = f.organization_id AND p.version = f.policy_version
        WHERE e.id = c.exam_id AND c.url_sealed IS NULL AND c.index = 0
          AND coalesce(p.source, o.source) = 'clarius-dicom'
          AND c.problem_code IS DISTINCT FROM 'capture_without_url'
        """
    )
    op.drop_constraint("uq_captures_exam_id_index", "captures", type_="unique")
    op.create_unique_constraint("uq_captures_exam_id_place_hash", "captures", ["exam_id", "place_hash"])


def downgrade() -> None:
    op.drop_constraint("uq_captures_exam_id_place_hash", "captures", type_="unique")
    op.create_unique_constraint("uq_captures_exam_id_index", "captures", ["exam_id", "index"])
    op.drop_column("captures", "unlisted_at")
    op.drop_column("captures", "missing_since")
    op.drop_column("captures", "bundle")
    op.drop_column("captures", "place_hash")
