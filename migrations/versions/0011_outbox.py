"""One outbox per study: each object once, with its state and its upload, and what each capture became.

What exists is carried over: the same object of two submissions becomes one row, which keeps the furthest that either
came. The tables it comes from stay for workers of the version before (`app/store/retired.py`).
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | Sequence[str] | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

UNDER_WAY = "('announced', 'started', 'sent')"


def upgrade() -> None:
    op.add_column("studies", sa.Column("turn_exam_id", sa.Uuid(), nullable=True))
    _make_tables()
    _carry_uploads()
    _carry_instances()
    _carry_links()


def _make_tables() -> None:
    op.create_table(
        "study_uploads",
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("exam_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("url_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_study_uploads_study_id")),
        sa.ForeignKeyConstraint(["exam_id"], ["exams.id"], name=op.f("fk_study_uploads_exam_id")),
        sa.PrimaryKeyConstraint("upload_id", name=op.f("pk_study_uploads")),
    )
    op.create_index(
        "ix_study_uploads_open",
        "study_uploads",
        ["study_id", "exam_id"],
        postgresql_where=sa.text("state <> 'complete'"),
    )
    op.create_table(
        "study_instances",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("exam_id", sa.Uuid(), nullable=False),
        sa.Column("upload_id", sa.Uuid(), nullable=True),
        sa.Column("policy_version", sa.BigInteger(), nullable=True),
        *[
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("sop_class_uid", "series_uid", "transfer_syntax")
        ],
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_study_instances_study_id")),
        sa.ForeignKeyConstraint(["exam_id"], ["exams.id"], name=op.f("fk_study_instances_exam_id")),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["study_uploads.upload_id"],
            name=op.f("fk_study_instances_upload_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_instances")),
        sa.UniqueConstraint(
            "study_id", "sop_instance_uid", name=op.f("uq_study_instances_study_id_sop_instance_uid")
        ),
    )
    op.create_index(op.f("ix_study_instances_exam_id"), "study_instances", ["exam_id"])
    op.create_index(op.f("ix_study_instances_upload_id"), "study_instances", ["upload_id"])
    op.create_table(
        "capture_instances",
        sa.Column("capture_id", sa.Uuid(), nullable=False),
        sa.Column("instance_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["captures.id"], name=op.f("fk_capture_instances_capture_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["instance_id"],
            ["study_instances.id"],
            name=op.f("fk_capture_instances_instance_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("capture_id", "instance_id", name=op.f("pk_capture_instances")),
    )
    op.create_index(op.f("ix_capture_instances_instance_id"), "capture_instances", ["instance_id"])


def _carry_uploads() -> None:
    """Those that Aurabox knows of; one that was only planned is planned again."""
    op.execute(
        """
        INSERT INTO study_uploads (upload_id, study_id, exam_id, state, url_sealed, bytes, sha256)
        SELECT u.upload_id, e.study_id, u.exam_id, u.state, u.url_sealed, u.bytes, u.sha256
        FROM uploads u JOIN exams e ON e.id = u.exam_id
        WHERE u.state <> 'planned' AND e.study_id IS NOT NULL
        """
    )


def _carry_instances() -> None:
    """Counted was only what an image server listed (`seen_count`); what the uploader confirmed was accepted."""
    op.execute(
        f"""
        INSERT INTO study_instances (id, study_id, sop_instance_uid, state, exam_id, upload_id, sop_class_uid,
                                     series_uid, transfer_syntax, frames, bytes, sha256, stored_at, seen_at)
        SELECT DISTINCT ON (study_id, sop_instance_uid)
               id, study_id, sop_instance_uid,
               CASE rank WHEN 3 THEN 'seen' WHEN 2 THEN 'stored' WHEN 1 THEN 'in_upload' ELSE 'planned' END,
               exam_id,
               CASE WHEN rank = 1 THEN upload_id END,
               sop_class_uid, series_uid, transfer_syntax, frames, bytes, sha256, stored_at,
               CASE WHEN rank = 3 THEN confirmed_at END
        FROM (
            SELECT i.*, e.study_id, u.upload_id,
                   CASE WHEN i.confirmed_at IS NOT NULL AND e.seen_count IS NOT NULL THEN 3
                        WHEN coalesce(i.stored_at, i.confirmed_at) IS NOT NULL THEN 2
                        WHEN u.state IN {UNDER_WAY} THEN 1
                        ELSE 0 END AS rank
            FROM instances i
            JOIN exams e ON e.id = i.exam_id
            LEFT JOIN uploads u ON u.exam_id = i.exam_id
            WHERE e.study_id IS NOT NULL
        ) AS made
        ORDER BY study_id, sop_instance_uid, rank DESC, id
        """  # noqa: S608 - fixed names
    )


def _carry_links() -> None:
    """What each capture became; and what an earlier submission had delivered, for captures of the same content."""
    op.execute(
        """
        INSERT INTO capture_instances (capture_id, instance_id)
        SELECT i.capture_id, s.id
        FROM instances i
        JOIN exams e ON e.id = i.exam_id
        JOIN study_instances s ON s.study_id = e.study_id AND s.sop_instance_uid = i.sop_instance_uid
        ON CONFLICT DO NOTHING
        """
    )
    op.execute(
        """
        INSERT INTO capture_instances (capture_id, instance_id)
        SELECT c.id, s.id
        FROM study_contents k
        JOIN exams e ON e.study_id = k.study_id
        JOIN captures c ON c.exam_id = e.id AND c.sha256 = k.sha256
        JOIN captures first ON first.exam_id = k.exam_id AND first.sha256 = k.sha256
        JOIN instances i ON i.capture_id = first.id
        JOIN study_instances s ON s.study_id = k.study_id AND s.sop_instance_uid = i.sop_instance_uid
        ON CONFLICT DO NOTHING
        """
    )


def downgrade() -> None:
    op.drop_table("capture_instances")
    op.drop_table("study_instances")
    op.drop_table("study_uploads")
    op.drop_column("studies", "turn_exam_id")
