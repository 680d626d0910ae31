"""Makes the patient or case that an exam's subject is in Aurabox, or takes over the one that is there (A1, A2, A6, A7).

Who it is gets compared again once no other exam creates for this identifier, and in the transaction that records what
was made, under a lock on the identifier and on the remote id.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import AccountKind
from app.clients.aurabox import CaseFields, Patient, PatientFields
from app.delivery.create import LOOK_AGAIN_SECONDS, Creation, Made, create_once
from app.delivery.filing import Plan
from app.delivery.holds import Hold
from app.delivery.identity import (
    IDENTITY_CONFLICT,
    Who,
    compare,
    facts_of,
    foreign_owners,
    on_record,
)
from app.delivery.labels import keyed_digest
from app.delivery.mapping import CasePlan, HoldPlan, PatientPlan, key_text, plan_subject
from app.delivery.mapping import Plan as SubjectPlan
from app.delivery.names import normal
from app.delivery.outcome import NeedsPerson, listed_but_absent
from app.delivery.work import Work
from app.resources import Resources
from app.states import Reason, Step
from app.store.audit import SYSTEM, audit
from app.store.base import clock, now
from app.store.creates import Create, drop_create, take_create
from app.store.exam_events import record_event
from app.store.holds import HoldKind
from app.store.organizations import Animals, Incomplete, MatchExisting
from app.store.studies import subject_replaced
from app.store.subjects import (
    Keys,
    Mode,
    Subject,
    SubjectKind,
    akin,
    find_subject,
    keep_subject,
    lock_identity,
    owners,
)
from app.upstreams.gate import Held

MAX_SEARCH_CHARACTERS = 255

Sex = Literal["male", "female", "other", "unknown"]


async def make_subject(work: Work, who: Who) -> tuple[Subject, str]:
    """The subject on record for this exam's person, and how it came to be there: known, adopted or created.

    Raises NeedsPerson (`identity_conflict`, `patient_incomplete`, `several_matches`), and as `create_once` does.
    """
    held = await _hold_identifier(work, who)
    making = Making(held)
    try:
        with work.holds.also(Hold(HoldKind.CREATE, held.id, held.epoch)):
            return await _look_or_make(work, who, making)
    finally:
        if making.subject is None:
            async with work.resources.statements() as session:
                await drop_create(session, held)


@dataclass
class Making:
    """A subject that is made while its identifier is held: the hold ends with the record."""

    held: Create
    subject: Subject | None = None


async def _look_or_make(work: Work, who: Who, making: Making) -> tuple[Subject, str]:
    # whoever held the identifier before may have recorded somebody of it meanwhile
    known = await on_record(work, who)
    if known.subject is not None:
        return known.subject, "known"
    distinct = who.separate or known.shared
    plan = plan_for(work.resources, who, distinct=distinct)
    if isinstance(plan, HoldPlan):
        raise NeedsPerson(plan.why, code="patient_incomplete")
    outcome = await create_once(work, _creation(work, who, plan, distinct=distinct, making=making))
    subject = making.subject
    if subject is None:
        # an earlier turn made it
        async with work.resources.statements() as session:
            subject = await find_subject(session, who.keys)
    if subject is None:
        raise RuntimeError("a create ended without a record of its subject")
    return subject, f"{subject.kind} {'adopted' if outcome.adopted else 'created'}"


async def replace_subject(work: Work, plan: Plan, subject: Subject) -> Subject:
    """The subject once another record stands for it: one found as a new subject's is, else one made anew.

    It is made as it was: a case under its label, a patient of what is known of it. Raises as `make_subject` does.
    """
    facts = facts_of(work.resources, subject)
    exam = await work.read()
    who = Who(
        exam=exam,
        plan=plan,
        identity=facts,
        words=key_text(facts, exam.exam_uuid),
        keys=Keys(subject.organization_id, Mode(subject.mode), subject.patient_key, subject.identifier_hash),
        former=None,
    )
    again = _plan_again(work.resources, who, subject)
    await create_once(work, _creation(work, who, again, distinct=subject.distinct, replaces=subject))
    async with work.tx() as (session, _):
        return await session.get_one(Subject, subject.id)


def _plan_again(resources: Resources, who: Who, subject: Subject) -> PatientPlan | CasePlan:
    facts, policy = who.identity, who.plan.policy
    if subject.kind == SubjectKind.CASE and subject.label_sealed is not None:
        born = facts.birth_date if subject.mode == Mode.IDENTIFIED or policy.keep_birth_date else None
        return CasePlan(resources.unseal_text(subject.label_sealed), born, facts.sex)
    plan = plan_for(resources, who, distinct=subject.distinct)
    if isinstance(plan, HoldPlan):
        raise NeedsPerson(plan.why, code="patient_incomplete")
    return plan


async def _hold_identifier(work: Work, who: Who) -> Create:
    """Let no other exam create for this identifier meanwhile: two that contradict must not both find nobody."""
    key = (who.keys.identifier or who.keys.patient).hex()
    async with work.resources.statements() as session:
        hold = await take_create(
            session,
            organization_id=who.plan.organization.id,
            kind="identifier",
            natural_key=f"{who.keys.mode}|{key}",
            holder=work.exam_id,
            seconds=max(work.resources.settings.lease_seconds, work.resources.settings.request_seconds),
        )
    if hold is None:
        raise Held(
            Reason.SETTLING, LOOK_AGAIN_SECONDS / 2, "another exam of this identifier is just being filed"
        )
    return hold


def plan_for(resources: Resources, who: Who, *, distinct: bool = False) -> SubjectPlan:
    """Patient, case or a person's decision for this exam by the policy it is filed under. Raises CannotUnseal."""
    policy = who.plan.policy
    return plan_subject(
        who.identity,
        key=who.words,
        distinct=distinct,
        deidentified=who.plan.mode is Mode.PSEUDONYMOUS,
        hold_incomplete=policy.incomplete == Incomplete.HOLD and not who.plan.decided("as-case"),
        animals_as_patients=policy.animals == Animals.PATIENT,
        keep_birth_date=policy.keep_birth_date,
        digest=keyed_digest(resources.pseudonym_key(who.plan.organization)),
    )


def patient_fields(plan: PatientPlan) -> PatientFields:
    """As A2 and A4 take them."""
    return PatientFields(
        given_names=plan.given_names,
        family_name=plan.family_name,
        date_of_birth=plan.birth_date,
        sex=cast("Sex", plan.sex),
    )


def _creation(
    work: Work,
    who: Who,
    plan: PatientPlan | CasePlan,
    *,
    distinct: bool,
    making: Making | None = None,
    replaces: Subject | None = None,
) -> Creation:
    """Of a new subject, or of another record for one whose own is missing."""
    organization, keys = who.plan.organization, who.keys
    exact = who.plan.policy.match_existing == MatchExisting.NEVER
    account = AccountKind.AURABOX.of(organization.id)
    limit = work.resources.settings.request_seconds
    kind = SubjectKind.PATIENT if isinstance(plan, PatientPlan) else SubjectKind.CASE

    chosen = who.plan.named("remote")

    async def search() -> Sequence[str]:
        if chosen is not None and (replaces is None or chosen != replaces.remote_id):
            return [chosen]
        async with work.effect("match:search_subject", account):
            if isinstance(plan, PatientPlan):
                matches = await _search_patients(work, who, plan, exact=exact)
            else:
                matches = await _search_cases(work, who, plan)
        if replaces is not None and replaces.remote_id in matches:
            raise listed_but_absent(kind)
        return await _nobody_elses(work, who, matches, of=kind)

    async def send() -> str:
        client = work.resources.aurabox(organization)
        if isinstance(plan, PatientPlan):
            async with work.effect("match:create_patient", account, seconds=limit):
                return (await client.create_patient(patient_fields(plan))).id
        case: dict[str, object] = {"label": plan.label, "sex": plan.sex}
        if plan.birth_date is not None:
            case["date_of_birth"] = plan.birth_date
        async with work.effect("match:create_case", account, seconds=limit):
            return (await client.create_case(CaseFields.model_validate(case))).id

    async def keep(session: AsyncSession, outcome: Made) -> None:
        await lock_identity(session, keys, outcome.remote_id)
        await _compare_at_the_write(work.resources, session, who, outcome.remote_id)
        values = {
            "kind": kind,
            "remote_id": outcome.remote_id,
            "label_sealed": work.resources.seal_text(plan.label) if isinstance(plan, CasePlan) else None,
            "adopted": outcome.adopted,
        }
        if replaces is not None:
            await _record_replacement(work, session, replaces, values)
            return
        facts = work.resources.seal_text(json.dumps(who.identity.facts()))
        subject = await keep_subject(
            session, keys, distinct=distinct, facts_sealed=facts, seen_at=now(), **values
        )
        if making is not None:
            await drop_create(session, making.held)
            making.subject = subject

    instead = f"|instead of {replaces.remote_id}" if replaces is not None else ""
    return Creation(
        organization_id=organization.id,
        kind=kind,
        natural_key=f"{keys.mode}|{keys.patient.hex()}{instead}",
        search=search,
        send=send,
        keep=keep,
        # what is missing may have been merged into another, or be another team's
        look_first=not exact or chosen is not None or replaces is not None,
    )


async def _record_replacement(
    work: Work, session: AsyncSession, subject: Subject, values: dict[str, Any]
) -> None:
    """From now on another record stands for the subject, and nothing is known of the studies that it had."""
    row = await session.get_one(Subject, subject.id, with_for_update=True)
    former, since = row.remote_id, row.missing_since
    for name, value in values.items():
        setattr(row, name, value)
    row.seen_at, row.missing_since = await clock(session), None
    await subject_replaced(session, row.id, since or row.seen_at)
    how = "taken over" if row.adopted else "made"
    detail = f"{former} is not there any more; {row.kind} {row.remote_id} was {how}"
    await record_event(session, work.exam_id, step=Step.STUDY, event="subject_replaced", detail=detail)
    await audit(session, by=SYSTEM, action="subject.replace", subject=str(row.id), detail=detail)


async def _compare_at_the_write(
    resources: Resources, session: AsyncSession, who: Who, remote_id: str
) -> None:
    """The last look, under the lock on identifier and remote id. Raises NeedsPerson: nothing is recorded then."""
    rows = await akin(session, who.keys, who.former, remote_id=remote_id)
    comparison = await compare(resources, session, who, rows)
    foreign_ids, _ = foreign_owners(resources, who, [row for row in rows if row.remote_id == remote_id])
    if comparison.conflicts or foreign_ids:
        raise NeedsPerson(
            "somebody else with this identifier was recorded at the same moment", code=IDENTITY_CONFLICT
        )


async def _nobody_elses(work: Work, who: Who, matches: Sequence[str], *, of: SubjectKind) -> Sequence[str]:
    """The matches that may be taken over: none that stands for another subject of ours. Raises NeedsPerson."""
    if not matches:
        return matches
    async with work.tx() as (session, exam):
        ours = await owners(session, who.plan.organization.id, matches)
        foreign_ids, against = foreign_owners(work.resources, who, ours)
        left = [remote_id for remote_id in matches if remote_id not in foreign_ids]
        if against:
            exam.question = {"conflicts": [str(owner.id) for owner in against]}
        elif len(left) > 1:
            exam.question = {"candidates": left, "of": of}
    if against:
        raise NeedsPerson(
            "a patient of this name, date of birth and sex is known under another identifier",
            code=IDENTITY_CONFLICT,
        )
    # to be kept apart, and nobody can say from which: it gets a record of its own
    return [] if len(left) > 1 and who.separate else left


async def _search_patients(work: Work, who: Who, plan: PatientPlan, *, exact: bool) -> Sequence[str]:
    """Active patients that agree in every field; `exact` to the letter, else whatever the spelling's case."""
    spelled = str if exact else normal
    fields = (spelled(plan.given_names), spelled(plan.family_name), plan.birth_date.isoformat(), plan.sex)
    client = work.resources.aurabox(who.plan.organization)

    def agrees(patient: Patient) -> bool:
        listed = (
            spelled(patient.given_names or ""),
            spelled(patient.family_name or ""),
            str(patient.date_of_birth),
            patient.sex,
        )
        return not patient.archived and (patient.status or "active") == "active" and listed == fields

    search = plan.family_name[:MAX_SEARCH_CHARACTERS]
    listing = client.patients(search=search, archived=False, sort="created_at", direction="asc")
    return await listing.find(agrees)


async def _search_cases(work: Work, who: Who, plan: CasePlan) -> Sequence[str]:
    client = work.resources.aurabox(who.plan.organization)
    search = plan.label[:MAX_SEARCH_CHARACTERS]
    listing = client.cases(search=search, archived=False, sort="created_at", direction="asc")
    return await listing.find(lambda case: case.label == plan.label and not case.archived)
