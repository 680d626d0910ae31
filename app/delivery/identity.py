"""Whom one exam is of, and how that compares with who is on record; must not call anything outside.

Nothing that contradicts is filed without a person's word, and a decision is remembered by what it made: an exam that
agrees with a subject of its identifier in everything both say goes there, whatever the others say.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.delivery.filing import Plan
from app.delivery.mapping import (
    Identity,
    contradicts,
    differs,
    former_key_text,
    key_text,
    read_identity,
)
from app.delivery.outcome import NeedsPerson
from app.delivery.work import Work
from app.resources import Resources
from app.store.exams import Exam
from app.store.organizations import PolicyFields
from app.store.subjects import (
    Keys,
    Subject,
    SubjectKind,
    akin,
    find_subject,
    successor_of,
)

IDENTITY_CONFLICT = "identity_conflict"


@dataclass(frozen=True)
class Who:
    """Whom one exam is of, and by which plan it is filed."""

    exam: Exam
    plan: Plan
    identity: Identity
    words: str = field(repr=False)
    keys: Keys
    former: Keys | None

    @property
    def separate(self) -> bool:
        """A person said that this is nobody who is known."""
        return self.plan.decided("separate")


def day_of(at: datetime, policy: PolicyFields) -> date:
    """The organisation's day at that moment: what "before today" means for a date of birth."""
    return at.astimezone(ZoneInfo(policy.timezone)).date()


def exam_identity(resources: Resources, exam: Exam, policy: PolicyFields, *, today: date) -> Identity:
    """Who the stored exam data says this is. Raises CannotUnseal."""
    from_data = json.loads(resources.unseal_text(exam.exam_data_sealed)) if exam.exam_data_sealed else {}
    return read_identity(
        from_data.get("patient"),
        today=today,
        zone=ZoneInfo(policy.timezone),
        placeholders=resources.settings.placeholder_identifiers,
    )


async def who_of(work: Work, exam: Exam, plan: Plan, *, today: date) -> Who:
    """With the plain key; a separated one only where a person said so and the plain key is somebody else's."""
    identity = exam_identity(work.resources, exam, plan.policy, today=today)
    words = key_text(identity, exam.exam_uuid)
    keys = await _keys(work.resources, plan, words, identity)
    if plan.decided("separate"):
        async with work.resources.statements() as session:
            namesake = await find_subject(session, keys)
        if namesake is not None:
            words = key_text(identity, exam.exam_uuid, separate=exam.exam_uuid)
            keys = await _keys(work.resources, plan, words, identity)
    former = former_key_text(identity)
    return Who(
        exam=exam,
        plan=plan,
        identity=identity,
        words=words,
        keys=keys,
        former=await _keys(work.resources, plan, former, identity) if former else None,
    )


async def _keys(resources: Resources, plan: Plan, words: str, identity: Identity) -> Keys:
    # the organisation is in the hash, so that two organisations' rows can't be joined
    scope = f"{plan.organization.id}|"
    identifier = (
        await resources.hash_text("identifier", scope + identity.identifier) if identity.identifier else None
    )
    return Keys(
        plan.organization.id, plan.mode, await resources.hash_text("patient", scope + words), identifier
    )


@dataclass(frozen=True)
class Comparison:
    """Whom the record names, and whom it contradicts; never both. `shared`: others came with this identifier."""

    subject: Subject | None
    conflicts: Sequence[Subject] = ()
    shared: bool = False


async def on_record(work: Work, who: Who) -> Comparison:
    """Who is on record. Raises NeedsPerson when the identifier is somebody else's."""
    async with work.resources.statements() as session:
        rows = await akin(session, who.keys, who.former)
        comparison = await compare(work.resources, session, who, rows)
    if comparison.conflicts:
        async with work.tx() as (_, exam):
            exam.question = {"conflicts": [str(conflict.id) for conflict in comparison.conflicts]}
        why = _why(work.resources, comparison.conflicts[0], who.identity)
        raise NeedsPerson(f"the identifier is known, but {why}", code=IDENTITY_CONFLICT)
    return comparison


async def compare(
    resources: Resources, session: AsyncSession, who: Who, rows: Sequence[Subject]
) -> Comparison:
    """Compare with everybody who could be meant (`akin`).

    Exact agreement with the subject of the exact key is no conflict, whatever others of this identifier say; nor is
    it with another of them that agrees in everything both say, which is how an earlier "separate" is remembered. Who
    was archived is who stands for them.
    """
    rows = [row for row in rows if row.mode == who.keys.mode]
    of_identifier = [
        row for row in rows if who.keys.identifier and row.identifier_hash == who.keys.identifier
    ]
    named = partial(Comparison, shared=bool(of_identifier))
    exact = _of_key(rows, who.keys)
    if who.separate:
        return named(exact)
    exact = exact or _of_key(rows, who.former)
    if exact is not None:
        exact = await successor_of(session, exact)
    if exact is not None and contradicts(facts_of(resources, exact), who.identity) is None:
        return named(exact)
    others = [other for other in of_identifier if exact is None or other.id != exact.id]
    conflicts = [
        subject
        for subject in (*((exact,) if exact else ()), *others)
        if contradicts(facts_of(resources, subject), who.identity) is not None
    ]
    agreeing = [
        other for other in others if other not in conflicts and _agrees(resources, other, who.identity)
    ]
    if conflicts and len(agreeing) == 1:
        return named(agreeing[0])
    return named(None, conflicts)


def _of_key(rows: Sequence[Subject], keys: Keys | None) -> Subject | None:
    return next((row for row in rows if keys is not None and row.patient_key == keys.patient), None)


def _agrees(resources: Resources, subject: Subject, identity: Identity) -> bool:
    recorded = facts_of(resources, subject)
    return recorded.birth_date == identity.birth_date and not differs(recorded, identity)


def facts_of(resources: Resources, subject: Subject) -> Identity:
    """Who a subject was said to be when it was recorded, or last updated. Raises CannotUnseal."""
    return Identity.from_facts(json.loads(resources.unseal_text(subject.facts_sealed)))


def _why(resources: Resources, subject: Subject, identity: Identity) -> str:
    return contradicts(facts_of(resources, subject), identity) or "the details differ"


def foreign_owners(
    resources: Resources, who: Who, owners: Sequence[Subject]
) -> tuple[set[str], list[Subject]]:
    """Which patients and cases of Aurabox stand for other subjects of ours than this, and whom of them this contradicts.

    A case is a label's, and a label one subject's. A patient on record without an identifier that agrees in all else may
    be this one too; under another identifier it is somebody else, or the same person with two.
    """
    foreign_ids: set[str] = set()
    against: list[Subject] = []
    for owner in owners:
        if (owner.mode, owner.patient_key) == (who.keys.mode, who.keys.patient):
            continue
        if (
            owner.kind == SubjectKind.CASE
            or who.separate
            or not (owner.identifier_hash or who.keys.identifier)
        ):
            # without an identifier on either side nothing says that they are one, or their keys would be
            foreign_ids.add(owner.remote_id)
        elif contradicts(facts_of(resources, owner), who.identity) is not None:
            foreign_ids.add(owner.remote_id)
            against.append(owner)
    return foreign_ids, against
