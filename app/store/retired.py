"""Tables of the version before the outbox, which alone reads and writes them: nothing here may.

Its workers go on with them while an upgrade is under way. The release after this one drops them and this file.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

from app.store.base import Base

Table(
    "instances",
    Base.metadata,
    Column("id", Uuid, primary_key=True),
    Column("exam_id", Uuid, ForeignKey("exams.id", ondelete="CASCADE"), nullable=False),
    Column("capture_id", Uuid, ForeignKey("captures.id", ondelete="CASCADE"), nullable=False, index=True),
    *[
        Column(name, Text, nullable=False)
        for name in ("sop_class_uid", "sop_instance_uid", "series_uid", "transfer_syntax")
    ],
    *[Column(name, BigInteger, nullable=False) for name in ("frames", "bytes")],
    Column("sha256", Text, nullable=False),
    *[Column(name, DateTime(timezone=True)) for name in ("stored_at", "confirmed_at")],
    UniqueConstraint("exam_id", "sop_instance_uid"),
)
Table(
    "uploads",
    Base.metadata,
    Column("exam_id", Uuid, ForeignKey("exams.id", ondelete="CASCADE"), primary_key=True),
    Column("upload_id", Uuid, nullable=False),
    Column("state", Text, nullable=False),
    Column("url_sealed", LargeBinary),
    Column("bytes", BigInteger),
    Column("sha256", Text),
)
Table(
    "study_contents",
    Base.metadata,
    Column("study_id", Uuid, ForeignKey("studies.id"), primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("sop_instance_uid", Text, nullable=False),
    Column("exam_id", Uuid, ForeignKey("exams.id"), nullable=False),
)
