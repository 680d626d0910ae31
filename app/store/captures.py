"""Captures: the images and clips of an exam request, as Clarius serves them."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base

INCOMPLETE = "capture_incomplete"
"""The problem of a bundle of which some files became no image; the others are delivered."""


class Capture(Base):
    """One capture. `bytes` and `sha256` are those of the file as served; `index` is only the order shown.

    `place_hash` is by what it is known when Clarius's list is read again (`app.delivery.capture_list`); None for
    one without an address, and for rows from before it, until their list is read. `problem_code` says why this
    capture can't be delivered; the others of the exam still are. With `capture_incomplete` it is delivered in part:
    `left_out` files of the bundle became no image.
    """

    __tablename__ = "captures"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exams.id", ondelete="CASCADE"))
    index: Mapped[int]
    place_hash: Mapped[bytes | None]
    # all of Clarius's own DICOM of the exam, in one file; its address is asked for at each download
    bundle: Mapped[bool] = mapped_column(default=False, server_default="false")
    # None also when it was purged, or is to be read anew: the list gives a fresh one
    url_sealed: Mapped[bytes | None]
    kind: Mapped[str | None]
    bytes: Mapped[int | None]
    sha256: Mapped[str | None]
    etag: Mapped[str | None]
    downloaded_at: Mapped[datetime | None]
    # since when its fresh links lead nowhere
    missing_since: Mapped[datetime | None]
    # since when the list does not name it any more; kept, because images of it are in the study
    unlisted_at: Mapped[datetime | None]
    sop_instance_uid: Mapped[str | None]
    # delivered by an earlier submission of the same exam: not sent again
    already_delivered: Mapped[bool] = mapped_column(default=False)
    problem_code: Mapped[str | None]
    problem_message: Mapped[str | None]
    left_out: Mapped[int] = mapped_column(default=0, server_default="0")
    # the file is gone from our store (retention)
    purged_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("exam_id", "place_hash"),
        # whose files are in our store
        Index(
            "ix_captures_held",
            "exam_id",
            postgresql_where=text("purged_at IS NULL AND downloaded_at IS NOT NULL"),
        ),
    )

    @property
    def becomes_images(self) -> bool:
        """Whether images are, or are to be, made of it: its file was read, is of a kind that can be, and is listed."""
        return not self.is_lost and self.sha256 is not None and self.unlisted_at is None

    @property
    def is_lost(self) -> bool:
        """Whether a problem keeps all of it from being delivered, and not only a part."""
        return self.problem_code not in (None, INCOMPLETE)

    @property
    def lost_images(self) -> int:
        """How many images are missing for its problem, as far as is known: a capture that can't be read is one."""
        if self.problem_code is None:
            return 0
        return self.left_out if self.problem_code == INCOMPLETE else 1


async def captures_of(session: AsyncSession, exam_id: UUID) -> Sequence[Capture]:
    """The captures of an exam request in Clarius's order."""
    return (
        await session.scalars(select(Capture).where(Capture.exam_id == exam_id).order_by(Capture.index))
    ).all()
