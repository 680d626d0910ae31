"""Step match: the Aurabox patient or case of an exam's subject, recorded once per patient key (A1, A2, A4, A6, A7)."""

import json
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import AccountKind
from app.delivery.filing import PATIENT_CHANGED, Plan, plan_of
from app.delivery.identity import Wanted, day_of, facts_of, known_subject, wanted_by
from app.delivery.mapping import PatientPlan, differs, merged
from app.delivery.new_subject import make_subject, patient_fields, plan_for
from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.remote import subject_stands
from app.delivery.work import Work
from app.store.audit import By, audit
from app.store.base import clock
from app.store.exam_events import record_event
from app.store.filings import filing_of
from app.store.organizations import Corrections
from app.store.subjects import Mode, Subject, SubjectKind

# decisions after which a known patient's details stay as Aurabox has them
KEPT_AS_IT_IS = frozenset({"same", "as-case"})


async def match(work: Work) -> Outcome:
    """Done when the exam has its subject. Contradicting identities and several matches go to review."""
    async with work.tx() as (session, exam):
        plan = await plan_of(session, exam)
        today = day_of(await clock(session), plan.policy)
        decided = plan.named("subject")
        same = await session.get(Subject, UUID(decided)) if decided else None
    if exam.subject_id is not None:
        return Done()
    wanted = await wanted_by(work, exam, plan, today=today)
    known = same or await known_subject(work, wanted)
    how = "known"
    if known is None:
        known, how = await make_subject(work, wanted)
    if how == "known":
        await _correct(work, wanted, known)
    async with work.tx() as (session, exam):
        await _remember_successor(session, plan, known)
        exam.subject_id = known.id
        filing = await filing_of(session, exam.id, exam.filing)
        if filing is not None:
            filing.kind = known.kind
    return Done(how)


async def _remember_successor(session: AsyncSession, plan: Plan, subject: Subject) -> None:
    """A person wanted another record than the archived one: whoever is known as that is this one from now on."""
    archived = (plan.filing.decision or {}).get("archived")
    if archived is not None and archived != str(subject.id):
        row = await session.get_one(Subject, UUID(archived), with_for_update=True)
        row.successor_id = subject.id


async def _correct(work: Work, wanted: Wanted, subject: Subject) -> None:
    """Details that this exam spells otherwise: updated in Aurabox (A4) by policy or a person's word, else asked about.

    What it says more of the same person is kept in our record for later comparison.
    """
    if any(map(wanted.plan.decided, KEPT_AS_IT_IS)):
        return
    known = facts_of(work.resources, subject)
    changed = differs(known, wanted.identity)
    by = wanted.plan.filing.decided_by
    named = wanted.plan.mode is Mode.IDENTIFIED and subject.kind == SubjectKind.PATIENT
    if changed and named:
        policy = wanted.plan.policy.corrections == Corrections.UPDATE
        if not wanted.plan.decided("update-patient") and not policy:
            async with work.tx() as (_, exam):
                exam.question = {"conflicts": [str(subject.id)]}
            fields = " and ".join(one.replace("_", " ") for one in changed)
            raise NeedsPerson(
                f"the patient is known, and this exam has another {fields}", code=PATIENT_CHANGED
            )
        await _update_patient(work, wanted, subject)
    facts = merged(known, wanted.identity)
    if facts == known:
        return
    async with work.tx() as (session, exam):
        row = await session.get_one(Subject, subject.id)
        row.facts_sealed = work.resources.seal_text(json.dumps(facts.facts()))
        if changed and named:
            told = ", ".join(changed)
            await record_event(session, exam.id, step=exam.step, event="patient_updated", detail=told)
            await audit(session, by=By(by), action="subject.update", subject=str(subject.id), detail=told)


async def _update_patient(work: Work, wanted: Wanted, subject: Subject) -> None:
    plan = plan_for(work.resources, wanted)
    if not isinstance(plan, PatientPlan):
        raise NeedsPerson(
            "the patient is known, and this exam says too little to update it", code=PATIENT_CHANGED
        )
    # a correction of what is not there any more would be lost
    subject = await subject_stands(work, wanted.plan, subject)
    async with work.effect("match:update_patient", AccountKind.AURABOX.of(wanted.plan.organization.id)):
        await work.resources.aurabox(wanted.plan.organization).update_patient(
            subject.remote_id, patient_fields(plan)
        )
