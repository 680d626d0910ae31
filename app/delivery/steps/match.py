"""Step match: the Aurabox patient or case of an exam's subject, recorded once per patient key (A1, A2, A4, A6, A7)."""

import json
from uuid import UUID

from app.accounts import AccountKind
from app.delivery.filing import PATIENT_CHANGED, Plan, planned
from app.delivery.identity import Who, day_of, facts_of, on_record, who_of
from app.delivery.mapping import PatientPlan, differs, merged
from app.delivery.new_subject import make_subject, patient_fields, plan_for
from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.remote import subject_stands
from app.delivery.work import Work
from app.store.audit import By, audit
from app.store.exam_events import record_event
from app.store.organizations import Corrections
from app.store.subjects import Mode, Subject, SubjectKind

# decisions after which a known patient's details stay as Aurabox has them
KEPT_AS_IT_IS = frozenset({"same", "as-case"})


async def match(work: Work) -> Outcome:
    """Done when the exam has its subject. Contradicting identities and several matches go to review."""
    async with planned(work) as (session, exam, plan):
        today = day_of(plan.at, plan.policy)
        decided = plan.named("subject")
        same = await session.get(Subject, UUID(decided)) if decided else None
    if exam.subject_id is not None:
        return Done()
    who = await who_of(work, exam, plan, today=today)
    subject = same or (await on_record(work, who)).subject
    how = "known"
    if subject is None:
        subject, how = await make_subject(work, who)
    if how == "known":
        await _correct(work, who, subject)
    await _remember_successor(work, plan, subject)
    return Done(how, sets={"subject_id": subject.id}, kind=subject.kind)


async def _remember_successor(work: Work, plan: Plan, subject: Subject) -> None:
    """A person wanted another record than the archived one: whoever is known as that is this one from now on."""
    archived = (plan.filing.decision or {}).get("archived")
    if archived is not None and archived != str(subject.id):
        async with work.tx() as (session, _):
            row = await session.get_one(Subject, UUID(archived), with_for_update=True)
            row.successor_id = subject.id


async def _correct(work: Work, who: Who, subject: Subject) -> None:
    """Details that this exam spells otherwise: updated in Aurabox (A4) by policy or a person's word, else asked about.

    What it says more of the same person is kept in our record for later comparison.
    """
    if any(map(who.plan.decided, KEPT_AS_IT_IS)):
        return
    facts_before = facts_of(work.resources, subject)
    changed = differs(facts_before, who.identity)
    by = who.plan.filing.decided_by
    named = who.plan.mode is Mode.IDENTIFIED and subject.kind == SubjectKind.PATIENT
    if changed and named:
        policy = who.plan.policy.corrections == Corrections.UPDATE
        if not who.plan.decided("update-patient") and not policy:
            async with work.tx() as (_, exam):
                exam.question = {"conflicts": [str(subject.id)]}
            fields = " and ".join(field.replace("_", " ") for field in changed)
            raise NeedsPerson(
                f"the patient is known, and this exam has another {fields}", code=PATIENT_CHANGED
            )
        await _update_patient(work, who, subject)
    facts = merged(facts_before, who.identity)
    if facts == facts_before:
        return
    async with work.tx() as (session, exam):
        row = await session.get_one(Subject, subject.id)
        row.facts_sealed = work.resources.seal_text(json.dumps(facts.facts()))
        if changed and named:
            detail = ", ".join(changed)
            await record_event(session, exam.id, step=exam.step, event="patient_updated", detail=detail)
            await audit(session, by=By(by), action="subject.update", subject=str(subject.id), detail=detail)


async def _update_patient(work: Work, who: Who, subject: Subject) -> None:
    plan = plan_for(work.resources, who)
    if not isinstance(plan, PatientPlan):
        raise NeedsPerson(
            "the patient is known, and this exam says too little to update it", code=PATIENT_CHANGED
        )
    # a correction of what is not there any more would be lost
    subject = await subject_stands(work, who.plan, subject)
    async with work.effect("match:update_patient", AccountKind.AURABOX.of(who.plan.organization.id)):
        await work.resources.aurabox(who.plan.organization).update_patient(
            subject.remote_id, patient_fields(plan)
        )
