"""An exam with whatever belongs to it, read in one statement; and its passing from one step to the next, which reads it too."""

from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Row,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlalchemy.orm.util import AliasedClass

from app.states import LinkState, Step
from app.store.exam_events import ExamEvent
from app.store.exams import ANEW, Exam
from app.store.filings import Filing
from app.store.holds import HoldKind, is_held
from app.store.links import Link
from app.store.organizations import Organization, Policy
from app.store.studies import Study
from app.store.subjects import Subject


def _as_filed(exam: type[Exam] | AliasedClass[Exam]) -> Select[Any]:
    statement: Select[Any] = (
        select(exam, Filing, Organization, Policy, Link, Subject, Study, func.clock_timestamp().label("at"))
        .outerjoin(Filing, and_(Filing.exam_id == exam.id, Filing.number == exam.filing))
        .outerjoin(Organization, Organization.id == exam.organization_id)
        .outerjoin(
            Policy,
            and_(Policy.organization_id == Filing.organization_id, Policy.version == Filing.policy_version),
        )
        .outerjoin(Subject, Subject.id == exam.subject_id)
        .outerjoin(Study, Study.id == exam.study_id)
        .outerjoin(Link, and_(Link.customer_hash == exam.customer_hash, Link.state == LinkState.CONFIRMED))
    )
    return statement


AS_FILED = _as_filed(Exam)
"""An exam, its filing, its organisation of today, the policy that it is filed under, its customer's link in force, its
subject, its study, and the database's clock (`at`). What there is not yet is None."""


async def pass_on(
    session: AsyncSession, exam_id: UUID, epoch: int, *, step: Step, to: Step, detail: str | None
) -> Row[Any] | None:
    """A leased exam's step is done and the next begins, with a line in its history.

    The exam as it is by then, with what `AS_FILED` reads; None when the lease is lost, and nothing is written.
    """
    values = {"exam_id": exam_id, "epoch": epoch, "done": step, "to": to, "detail": detail}
    passed: Row[Any] | None = (await session.execute(_passing(), values)).one_or_none()
    return passed


@cache
def _passing() -> Select[Any]:
    ours = is_held(HoldKind.EXAM, bindparam("exam_id", type_=Uuid()), bindparam("epoch", type_=BigInteger))
    passed = (
        update(Exam)
        .where(ours)
        .values(step=bindparam("to", type_=Text), **ANEW)
        .returning(*Exam.__table__.columns)
        .cte("passed")
    )
    line = select(
        passed.c.id, bindparam("done", type_=Text), literal("done", Text), bindparam("detail", type_=Text)
    )
    noted = insert(ExamEvent).from_select(["exam_id", "step", "event", "detail"], line).cte("noted")
    return _as_filed(aliased(Exam, passed, name="Exam")).add_cte(noted)
