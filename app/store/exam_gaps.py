"""Which of many requests are known here, and which of those are not delivered; reads only."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Uuid

from app.states import ExamState
from app.store.exams import Exam
from app.store.organizations import Organization

Missing = dict[UUID, tuple[Exam, Organization | None]]


async def known_requests(session: AsyncSession, uuids: Sequence[UUID]) -> tuple[Missing, set[UUID]]:
    """Of these requests: our rows that are not delivered, each with its organisation, and all that we know."""
    wanted = bindparam("wanted", list(uuids), type_=ARRAY(Uuid()))
    states = await session.execute(
        select(Exam.id, Exam.request_uuid, Exam.state).where(Exam.request_uuid == any_(wanted))
    )
    found = states.all()
    # the delivered are many, and nothing of them is wanted but that they are there
    undelivered = [row.id for row in found if row.state != ExamState.DELIVERED]
    rows = await session.execute(
        select(Exam, Organization)
        .outerjoin(Organization, Organization.id == Exam.organization_id)
        .where(Exam.id.in_(undelivered))
    )
    missing: Missing = {row[0].request_uuid: (row[0], row[1]) for row in rows}
    return missing, {row.request_uuid for row in found}
