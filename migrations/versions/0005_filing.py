"""Policies by version, filings, and subjects that know whether they name a person.

What exists is carried over. A subject whose organisation was switched between identified and de-identified since it
was recorded is of no known mode and is never found again: its person is looked for anew instead of being guessed.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | Sequence[str] | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

POLICY = (
    "identity",
    "incomplete",
    "animals",
    "match_existing",
    "keep_birth_date",
    "source",
    "images",
    "video",
    "burned_in",
    "masks",
    "report",
    "timezone",
    "corrections",
)
UNDER_WAY = "e.state IN ('queued', 'running', 'waiting', 'review', 'failed')"


def upgrade() -> None:
    _policies()
    _subjects()
    _studies()
    _filings()


def _policies() -> None:
    op.add_column(
        "organizations",
        sa.Column("policy_version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
    )
    op.add_column(
        "organizations",
        sa.Column("corrections", sa.Text(), server_default=sa.text("'review'"), nullable=False),
    )
    op.create_table(
        "policies",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        *[
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("identity", "incomplete", "animals", "match_existing")
        ],
        sa.Column("keep_birth_date", sa.Boolean(), nullable=False),
        *[
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("source", "images", "video", "burned_in", "timezone")
        ],
        sa.Column("corrections", sa.Text(), server_default=sa.text("'review'"), nullable=False),
        sa.Column("masks", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("report", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_policies_organization_id")
        ),
        sa.PrimaryKeyConstraint("organization_id", "version", name=op.f("pk_policies")),
    )
    names = ", ".join(POLICY)
    op.execute(
        f"INSERT INTO policies (organization_id, version, created_by, {names}) "  # noqa: S608 - fixed names
        f"SELECT id, 1, 'migration', {names} FROM organizations"
    )


def _subjects() -> None:
    op.add_column(
        "subjects", sa.Column("mode", sa.Text(), server_default=sa.text("'identified'"), nullable=False)
    )
    op.add_column(
        "subjects", sa.Column("distinct", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.execute(
        """
        UPDATE subjects s
        SET mode = CASE
            WHEN EXISTS (
                SELECT FROM audit_events a
                WHERE a.action = 'organization.change' AND a.subject = o.id::text
                  AND a.detail ~ '(^|, )identity(,|$)' AND a.at > s.created_at
            ) THEN 'unknown'
            ELSE CASE o.identity WHEN 'deidentified' THEN 'pseudonymous' ELSE 'identified' END
        END
        FROM organizations o
        WHERE o.id = s.organization_id AND s.kind = 'case'
        """
    )
    # a create of one mode must not answer for the other
    op.execute(
        """
        UPDATE creates c
        SET natural_key = coalesce(
                (SELECT s.mode FROM subjects s
                 WHERE s.organization_id = c.organization_id AND encode(s.patient_key, 'hex') = c.natural_key),
                CASE WHEN c.kind = 'case' AND o.identity = 'deidentified' THEN 'pseudonymous' ELSE 'identified' END
            ) || '|' || c.natural_key
        FROM organizations o
        WHERE o.id = c.organization_id AND c.kind IN ('patient', 'case')
        """
    )
    op.execute(
        """
        UPDATE creates c SET natural_key = 'pseudonymous|' || c.natural_key
        FROM organizations o
        WHERE o.id = c.organization_id AND c.kind = 'study' AND o.identity = 'deidentified'
        """
    )
    op.execute(
        """
        UPDATE creates c SET natural_key = 'identified|' || c.natural_key
        FROM organizations o
        WHERE o.id = c.organization_id AND c.kind = 'study' AND o.identity <> 'deidentified'
        """
    )
    op.drop_constraint("uq_subjects_organization_id_patient_key", "subjects", type_="unique")
    op.create_unique_constraint(
        "uq_subjects_organization_id_mode_patient_key", "subjects", ["organization_id", "mode", "patient_key"]
    )
    op.create_index("ix_subjects_organization_id_remote_id", "subjects", ["organization_id", "remote_id"])


def _studies() -> None:
    op.drop_constraint("uq_studies_organization_id_exam_uuid", "studies", type_="unique")
    op.create_unique_constraint(
        "uq_studies_organization_id_exam_uuid_subject_id",
        "studies",
        ["organization_id", "exam_uuid", "subject_id"],
    )


def _filings() -> None:
    op.add_column("exams", sa.Column("filing", sa.BigInteger(), nullable=True))
    op.add_column("exams", sa.Column("question", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_table(
        "filings",
        sa.Column("exam_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("link_id", sa.Uuid(), nullable=True),
        sa.Column("policy_version", sa.BigInteger(), nullable=False),
        sa.Column("identity_hash", sa.LargeBinary(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decision", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["exam_id"], ["exams.id"], name=op.f("fk_filings_exam_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_filings_organization_id")
        ),
        sa.ForeignKeyConstraint(["link_id"], ["links.id"], name=op.f("fk_filings_link_id")),
        sa.PrimaryKeyConstraint("exam_id", "number", name=op.f("pk_filings")),
    )
    # exams that are over need none: one that is taken up again is filed by the rules of that day
    op.execute(
        f"""
        INSERT INTO filings (exam_id, number, organization_id, link_id, policy_version, kind, mode, decided_by, decision)
        SELECT e.id, 1, e.organization_id,
               (SELECT l.id FROM links l
                WHERE l.customer_hash = e.customer_hash AND l.organization_id = e.organization_id
                ORDER BY l.created_at DESC LIMIT 1),
               1, s.kind,
               coalesce(s.mode, CASE o.identity WHEN 'deidentified' THEN 'pseudonymous' ELSE 'identified' END),
               CASE WHEN e.identity_decision ? 'choice' THEN 'person' ELSE 'rules' END,
               CASE WHEN e.identity_decision ? 'choice' THEN e.identity_decision END
        FROM exams e
        JOIN organizations o ON o.id = e.organization_id
        LEFT JOIN subjects s ON s.id = e.subject_id
        WHERE {UNDER_WAY} AND e.exam_data_at IS NOT NULL
        """  # noqa: S608 - fixed names
    )
    op.execute(
        f"""
        UPDATE exams e
        SET filing = 1,
            question = CASE WHEN e.identity_decision ? 'conflict'
                       THEN jsonb_build_object('conflicts', jsonb_build_array(e.identity_decision -> 'conflict')) END
        WHERE {UNDER_WAY} AND EXISTS (SELECT FROM filings f WHERE f.exam_id = e.id)
        """  # noqa: S608 - fixed names
    )


def downgrade() -> None:
    op.drop_table("filings")
    op.drop_column("exams", "question")
    op.drop_column("exams", "filing")
    op.drop_constraint("uq_studies_organization_id_exam_uuid_subject_id", "studies", type_="unique")
    op.create_unique_constraint(
        "uq_studies_organization_id_exam_uuid", "studies", ["organization_id", "exam_uuid"]
    )
    op.drop_index("ix_subjects_organization_id_remote_id", table_name="subjects")
    op.drop_constraint("uq_subjects_organization_id_mode_patient_key", "subjects", type_="unique")
    op.create_unique_constraint(
        "uq_subjects_organization_id_patient_key", "subjects", ["organization_id", "patient_key"]
    )
    op.execute("UPDATE creates SET natural_key = split_part(natural_key, '|', 2)")
    op.drop_column("subjects", "distinct")
    op.drop_column("subjects", "mode")
    op.drop_table("policies")
    op.drop_column("organizations", "corrections")
    op.drop_column("organizations", "policy_version")
