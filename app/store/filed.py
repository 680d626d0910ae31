"""An exam with whatever belongs to it, read in one statement; and its passing from one step to the next, which reads it too."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
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

NOTHING: Mapping[str, Any] = MappingProxyType({})


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
    session: AsyncSession,
    exam_id: UUID,
    epoch: int,
    *,
    step: Step,
    to: Step,
    detail: str | None,
    sets: Mapping[str, Any] = NOTHING,
    kind: str | None = None,
) -> Row[Any] | None:
    """A leased exam's step is done and the next begins, with a line in its history.

    The exam as it is by then, with what `AS_FILED` reads; None when the lease is lost, and nothing is written. `sets`:
    what else is written of it. `kind`: whether its subject is a patient or a case, noted with the filing.
    """
    values = {
        "leased_id": exam_id,
        "leased_epoch": epoch,
        **{f"line_{name}": value for name, value in (("step", step), ("event", "done"), ("detail", detail))},
        **{f"new_{name}": value for name, value in {"step": to, **ANEW, **sets}.items()},
        "kind_": kind,
    }
    passed: Row[Any] | None = (
        await session.execute(_passing(tuple(sets), noted=kind is not None), values)
    ).one_or_none()
    return passed


@cache
def _passing(sets: tuple[str, ...], *, noted: bool) -> Select[Any]:
    """The statement; built once. No parameter has a column's name: SQLAlchemy would write it there too."""
    ours = is_held(
        HoldKind.EXAM, bindparam("leased_id", type_=Uuid()), bindparam("leased_epoch", type_=BigInteger)
    )
    passed = (
        update(Exam)
        .where(ours)
        .values({name: bindparam(f"new_{name}") for name in ("step", *ANEW, *sets)})
        .returning(*Exam.__table__.columns)
        .cte("passed")
    )
    line = select(
        passed.c.id,
        *(bindparam(f"line_{name}", type_=Text) for name in ("step", "event", "detail")),
    )
    history = insert(ExamEvent).from_select(["exam_id", "step", "event", "detail"], line).cte("history")
    statement = _as_filed(aliased(Exam, passed, name="Exam")).add_cte(history)
    if noted:
        which = and_(Filing.exam_id == passed.c.id, Filing.number == passed.c.filing)
        statement = statement.add_cte(
            update(Filing).where(which).values(kind=bindparam("kind_")).cte("noted")
        )
    return statement
