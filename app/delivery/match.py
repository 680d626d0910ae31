"""Step match: the Aurabox patient or case of an exam's subject; recorded once per patient key (A1, A2, A6, A7)."""

import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.clients.aurabox import CaseFields, Patient, PatientFields
from app.delivery.create import Creation, Made, create_once
from app.delivery.filing import mode_of, plan_of
from app.delivery.mapping import (
    CasePlan,
    HoldPlan,
    Identity,
    PatientPlan,
    Plan,
    contradicts,
    key_text,
    keyed_digest,
    plan_subject,
    read_identity,
)
from app.delivery.names import normal
from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.work import Work
from app.resources import Resources
from app.store.base import clock
from app.store.exams import Exam
from app.store.filings import filing_of
from app.store.organizations import Animals, Incomplete, MatchExisting, Organization, PolicyFields
from app.store.organizations import Identity as IdentityPolicy
from app.store.subjects import Keys, Subject, SubjectKind, find_subject, keep_subject, same_identifier

MAX_SEARCH_CHARACTERS = 255

Sex = Literal["male", "female", "other", "unknown"]


async def match(work: Work) -> Outcome:
    """Done when the exam has its subject. Contradicting identities and several matches go to review."""
    async with work.tx() as (session, exam):
        if exam.subject_id is not None:
            return Done()
        plan = await plan_of(session, exam)
        organization = plan.organization
        today = day_of(await clock(session), plan.policy)
    identity = exam_identity(work.resources, exam, today=today)
    if plan.choice == "same":
        return await _take_subject(work, UUID((plan.filing.decision or {})["subject"]))
    keys = await _keys(work.resources, organization, exam, identity, separate=plan.choice == "separate")
    known = await _known_subject(work, keys, identity)
    if known is not None:
        return await _take_subject(work, known.id)
    return await _create(work, organization, exam, identity, keys)


def day_of(at: datetime, policy: PolicyFields) -> date:
    """The organisation's day at that moment: what "before today" means for a date of birth."""
    return at.astimezone(ZoneInfo(policy.timezone)).date()


def exam_identity(resources: Resources, exam: Exam, *, today: date) -> Identity:
    """Who the stored exam data says this is. Raises CannotUnseal."""
    from_data = json.loads(resources.unseal_text(exam.exam_data_sealed)) if exam.exam_data_sealed else {}
    return read_identity(from_data.get("patient"), today=today)


async def _keys(
    resources: Resources, organization: Organization, exam: Exam, identity: Identity, *, separate: bool
) -> Keys:
    # in the hash, so that two organisations' rows can't be joined
    scope = f"{organization.id}|"
    words = key_text(identity, exam.exam_uuid) + (f"|separate|{exam.exam_uuid}" if separate else "")
    identifier = (
        await resources.hash_text("identifier", scope + identity.identifier) if identity.identifier else None
    )
    return Keys(
        organization.id,
        mode_of(organization),
        await resources.hash_text("patient", scope + words),
        identifier,
    )


async def _known_subject(work: Work, keys: Keys, identity: Identity) -> Subject | None:
    """The subject recorded for this key. Raises NeedsPerson when the identifier was somebody else's."""
    async with work.tx() as (session, exam):
        known = await find_subject(session, keys)
        filing = await filing_of(session, exam.id, exam.filing)
        decided = filing is not None and filing.decision is not None
        others: Sequence[Subject] = [] if decided else await same_identifier(session, keys)
        for other in others:
            facts = Identity.from_facts(json.loads(work.resources.unseal_text(other.facts_sealed)))
            why = contradicts(facts, identity)
            if why is not None:
                exam.question = {"conflicts": [str(other.id)]}
                break
        else:
            return known
    raise NeedsPerson(f"the identifier is known, but {why}", code="identity_conflict")


async def _take_subject(work: Work, subject_id: UUID) -> Outcome:
    async with work.tx() as (_, exam):
        exam.subject_id = subject_id
    return Done("known")


async def _create(
    work: Work, organization: Organization, exam: Exam, identity: Identity, keys: Keys
) -> Outcome:
    plan = plan_for(work.resources, organization, exam, identity)
    if isinstance(plan, HoldPlan):
        raise NeedsPerson(plan.why, code="patient_incomplete")
    creation = _creation(work, organization, plan, keys, identity)
    made = await create_once(work, creation)
    async with work.tx() as (session, row):
        known = await find_subject(session, keys)
        if known is None:
            raise RuntimeError("a create ended without a record of its subject")
        row.subject_id = known.id
    return Done(f"{creation.kind} {'adopted' if made.adopted else 'created'}")


def plan_for(resources: Resources, organization: Organization, exam: Exam, identity: Identity) -> Plan:
    """Patient, case or a person's decision for this exam by its organisation's policy. Raises CannotUnseal."""
    return plan_subject(
        identity,
        key=key_text(identity, exam.exam_uuid),
        deidentified=organization.identity == IdentityPolicy.DEIDENTIFIED,
        hold_incomplete=organization.incomplete == Incomplete.HOLD,
        animals_as_patients=organization.animals == Animals.PATIENT,
        keep_birth_date=organization.keep_birth_date,
        digest=keyed_digest(resources.sealer.unseal(organization.pseudonym_key_sealed)),
    )


def _creation(
    work: Work, organization: Organization, plan: PatientPlan | CasePlan, keys: Keys, identity: Identity
) -> Creation:
    exact = organization.match_existing == MatchExisting.NEVER
    account = f"aurabox:{organization.id}"
    limit = work.resources.settings.request_seconds
    kind = SubjectKind.PATIENT if isinstance(plan, PatientPlan) else SubjectKind.CASE

    async def search() -> Sequence[str]:
        async with work.effect("match:search_subject", account):
            if isinstance(plan, PatientPlan):
                return await _search_patients(work, organization, plan, exact=exact)
            return await _search_cases(work, organization, plan)

    async def send() -> str:
        client = work.resources.aurabox(organization)
        if isinstance(plan, PatientPlan):
            fields = PatientFields(
                given_names=plan.given_names,
                family_name=plan.family_name,
                date_of_birth=plan.birth_date,
                sex=cast("Sex", plan.sex),
            )
            async with work.effect("match:create_patient", account, seconds=limit):
                return (await client.create_patient(fields)).id
        case: dict[str, object] = {"label": plan.label, "sex": plan.sex}
        if plan.birth_date is not None:
            case["date_of_birth"] = plan.birth_date
        async with work.effect("match:create_case", account, seconds=limit):
            return (await client.create_case(CaseFields.model_validate(case))).id

    async def keep(session: AsyncSession, made: Made) -> None:
        label = work.resources.seal_text(plan.label) if isinstance(plan, CasePlan) else None
        await keep_subject(
            session,
            organization_id=organization.id,
            mode=keys.mode,
            patient_key=keys.patient,
            identifier_hash=keys.identifier,
            kind=kind,
            remote_id=made.remote_id,
            facts_sealed=work.resources.seal_text(json.dumps(identity.facts())),
            label_sealed=label,
            adopted=made.adopted,
        )

    return Creation(
        organization_id=organization.id,
        kind=kind,
        natural_key=f"{keys.mode}|{keys.patient.hex()}",
        search=search,
        send=send,
        keep=keep,
        look_first=not exact,
    )


async def _search_patients(
    work: Work, organization: Organization, plan: PatientPlan, *, exact: bool
) -> Sequence[str]:
    """Active patients that agree in every field; `exact` to the letter, else whatever the spelling's case."""
    spelled = str if exact else normal
    wanted = (spelled(plan.given_names), spelled(plan.family_name), plan.birth_date.isoformat(), plan.sex)
    client = work.resources.aurabox(organization)

    def agrees(patient: Patient) -> bool:
        told = (
            spelled(patient.given_names or ""),
            spelled(patient.family_name or ""),
            str(patient.date_of_birth),
            patient.sex,
        )
        return not patient.archived and (patient.status or "active") == "active" and told == wanted

    search = plan.family_name[:MAX_SEARCH_CHARACTERS]
    listing = client.patients(search=search, archived=False, sort="created_at", direction="asc")
    return await listing.find(agrees)


async def _search_cases(work: Work, organization: Organization, plan: CasePlan) -> Sequence[str]:
    client = work.resources.aurabox(organization)
    search = plan.label[:MAX_SEARCH_CHARACTERS]
    listing = client.cases(search=search, archived=False, sort="created_at", direction="asc")
    return await listing.find(lambda case: case.label == plan.label and not case.archived)
