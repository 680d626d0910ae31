"""What a person may decide of an exam in review, what will come of it, and the filing that records it.

Each reason of a review has its ways out here, and none is offered elsewhere. A decision is a new filing; it calls
nothing outside, and the exam goes on from the step that the decision concerns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.delivery.filing import (
    LINK_CHANGED,
    PATIENT_CHANGED,
    POLICY_CHANGED,
    WRONG_ANSWER,
    file,
    in_force,
    refile,
    start_over,
)
from app.errors import Misuse
from app.resources import Resources
from app.states import ExamState, Step, earlier
from app.store.exams import Exam, StaleMove
from app.store.filings import Choice, filing_of
from app.store.organizations import Organization
from app.store.studies import studies_of_exam
from app.store.subjects import Mode, Subject

LABELS: Mapping[Choice, str] = {
    Choice.SEPARATE: "keep separate",
    Choice.SAME: "same patient",
    Choice.AS_CASE: "file as a case",
    Choice.REFILE: "file again",
    Choice.UPDATE_PATIENT: "update the patient",
    Choice.WITHOUT_CAPTURES: "deliver without them",
}


@dataclass(frozen=True)
class Way:
    """One way out: where the exam goes on, and what will happen, said before it is chosen."""

    step: Step
    says: str


SEVERAL_MATCHES = "several_matches"
S, SEPARATE_PERSON = Step, "They are two people. This exam gets a patient or case of its own."

WAYS: Mapping[str, Mapping[Choice, Way]] = {
    "identity_conflict": {
        Choice.SEPARATE: Way(S.MATCH, SEPARATE_PERSON),
        Choice.SAME: Way(
            S.MATCH,
            "It is one person. The exam is filed under the known one, whose details stay as they are.",
        ),
    },
    PATIENT_CHANGED: {
        Choice.UPDATE_PATIENT: Way(
            S.MATCH, "It is one person, and this exam is right. The patient's details are changed in Aurabox."
        ),
        Choice.SAME: Way(
            S.MATCH, "It is one person. The exam is filed under it, and the details stay as Aurabox has them."
        ),
        Choice.SEPARATE: Way(S.MATCH, SEPARATE_PERSON),
        Choice.REFILE: Way(
            S.FETCH,
            "The exam is read again and filed under whom it names now. What was sent before stays there.",
        ),
    },
    "patient_incomplete": {
        Choice.AS_CASE: Way(S.MATCH, "The exam is filed as a case with a label instead of a patient.")
    },
    LINK_CHANGED: {
        Choice.REFILE: Way(
            S.MATCH,
            "The exam is filed for the organisation that the Clarius account is linked to now. "
            "What was sent before stays there.",
        )
    },
    POLICY_CHANGED: {
        Choice.REFILE: Way(
            S.MATCH, "The exam is filed again under the policy in force. What was sent before stays there."
        )
    },
    "patient_archived": {
        Choice.SEPARATE: Way(S.MATCH, "A new patient or case is made beside the archived one."),
    },
    SEVERAL_MATCHES: {
        Choice.SEPARATE: Way(S.MATCH, "None of them is taken: the exam gets a patient or case of its own."),
        Choice.SAME: Way(S.MATCH, "The exam is filed under the one that you name."),
    },
    "study_of_other_subject": {
        Choice.REFILE: Way(
            S.STUDY,
            "A second study is made, under whom this submission names. The earlier one stays where it is, "
            "and whoever keeps the records removes it in Aurabox.",
        ),
        Choice.SAME: Way(S.STUDY, "The images go into the earlier study, under whom that lies."),
    },
    "captures_missing": {
        Choice.WITHOUT_CAPTURES: Way(
            S.CONFIRM, "The exam is delivered without the captures that are missing."
        )
    },
    "images_not_listed": {
        Choice.WITHOUT_CAPTURES: Way(S.CONFIRM, "The exam is delivered although not every image is listed.")
    },
    "study_uid_differs": {
        Choice.WITHOUT_CAPTURES: Way(S.CONFIRM, "The exam is delivered in the study as Aurabox shows it.")
    },
}

# reviews because the account's link, or the policy of its organisation, is another one than the exam was filed by
OF_THE_LINK = frozenset({LINK_CHANGED, POLICY_CHANGED})

# what "release" means where a person need not say more
RELEASES: Mapping[str, Choice] = {
    "patient_incomplete": Choice.AS_CASE,
    "study_of_other_subject": Choice.REFILE,
    "captures_missing": Choice.WITHOUT_CAPTURES,
    "images_not_listed": Choice.WITHOUT_CAPTURES,
    "study_uid_differs": Choice.WITHOUT_CAPTURES,
}

# reviews that end by mending what they tell of, and trying again
MENDED: Mapping[str, str] = {
    WRONG_ANSWER: "Trying again asks Clarius anew; a forged notification is cancelled.",
    "burned_in_unknown": "Say of the organisation (`org set --burned-in`) what Clarius burns in; trying again goes on.",
    "study_not_searchable": "Name the fields of a study (AURABOX_STUDY_FIELDS); trying again goes on.",
}


# of several studies that carry our UID; all else that is several is people
OF_STUDIES: Mapping[Choice, Way] = {
    Choice.SAME: Way(S.STUDY, "The exam goes into the study that you name. The others stay as they are.")
}

# words on one question, of which the last holds; a word on another holds beside it
ABOUT_WHOM = frozenset({Choice.SEPARATE, Choice.SAME, Choice.UPDATE_PATIENT})


def needs_data(way: Way) -> bool:
    """Whether the exam is filed by its data once this is chosen, so that they have to be there."""
    return way.step is Step.MATCH


def ways_of(exam: Exam) -> Mapping[Choice, Way]:
    """What may be decided of this exam now, with what will happen; nothing unless it is in review."""
    if exam.state != ExamState.REVIEW:
        return {}
    if exam.error_code == SEVERAL_MATCHES and (exam.question or {}).get("of") == "study":
        return OF_STUDIES
    ways = WAYS.get(exam.error_code or "", {})
    if exam.error_code == PATIENT_CHANGED:
        # asked about a known patient, or about data that names somebody else than before
        about_subject = bool((exam.question or {}).get("conflicts"))
        return {choice: way for choice, way in ways.items() if (choice is not Choice.REFILE) == about_subject}
    return ways


async def apply_choice(
    resources: Resources, session: AsyncSession, exam: Exam, choice: Choice, *, by: str, subject: str | None
) -> Step:
    """Write the filing that the choice makes; where the exam goes on. The exam's row is locked.

    `subject`: whom "same" means, where there are several: one of ours, or an id of Aurabox. Raises Misuse for a
    choice that needs what is not there, StaleMove for one that this exam does not wait for.
    """
    ways = ways_of(exam)
    if choice not in ways:
        words = ", ".join(ways) or "nothing"
        raise StaleMove(f"this exam does not wait for that decision; it can be decided: {words}")
    step = ways[choice].step
    if needs_data(ways[choice]) and exam.exam_data_sealed is None:
        raise Misuse(
            "the exam data are no longer kept, so nobody can be filed by them: try again, which reads them anew",
            code="no_exam_data",
        )
    if exam.filing is None:
        organization = await session.get_one(Organization, exam.organization_id)
        file(session, exam, organization, identity_hash=None)
        await session.flush()
    decision: dict[str, Any] = {"choice": choice, "asked": exam.error_code, **(exam.question or {})}
    decision |= await _held_before(session, exam, choice, begun_anew=step is Step.FETCH)
    if choice is Choice.SAME:
        decision |= await _whom(session, exam, subject)
    exam.question = None
    changes: dict[str, Any] = {"decision": decision, "decided_by": by}
    if exam.error_code in OF_THE_LINK:
        changes |= {**await in_force(session, exam), "decided_by": by}
    if step is Step.FETCH:
        changes |= {"identity_hash": None, "kind": None}
        exam.exam_data_sealed = None
    filing = await refile(session, exam, **changes)
    exam.organization_id = filing.organization_id
    if step in {Step.MATCH, Step.FETCH}:
        await start_over(resources, session, exam)
    if choice is Choice.SAME and exam.error_code == "study_of_other_subject":
        exam.subject_id = UUID(decision["subject"])
    # a decision is no reason to leave out what was not done yet
    return earlier(step, Step(exam.step))


async def _held_before(
    session: AsyncSession, exam: Exam, choice: Choice, *, begun_anew: bool
) -> dict[str, Any]:
    """What of earlier decisions holds beside this one: who settles one question is not asked the one before again."""
    filing = await filing_of(session, exam.id, exam.filing)
    earlier = (filing.decision or {}) if filing is not None else {}
    if not earlier or begun_anew or exam.error_code in OF_THE_LINK:
        return {}
    about_whom = choice in ABOUT_WHOM and ways_of(exam) is not OF_STUDIES
    words = [earlier["choice"], *earlier.get("before", ())]
    held = [word for word in words if word != choice and not (about_whom and word in ABOUT_WHOM)]
    names = ("study",) if about_whom else ("subject", "remote", "study")
    return {"before": held, **{name: earlier[name] for name in names if name in earlier}}


async def _whom(session: AsyncSession, exam: Exam, named: str | None) -> dict[str, Any]:
    """Whom "same" means: the one that was asked about, or the one that was named of several."""
    question = exam.question or {}
    if exam.error_code == "study_of_other_subject":
        return {"subject": str((await _other_study(session, exam)).subject_id)}
    if candidates := question.get("candidates", []):
        if named not in candidates:
            raise Misuse(f"name one of these ids of Aurabox: {', '.join(candidates)}", code="which_one")
        return {"study" if question.get("of") == "study" else "remote": named}
    conflicts = question.get("conflicts", [])
    if named is None and len(conflicts) == 1:
        return {"subject": conflicts[0]}
    by_name = {
        name: subject_id
        for subject_id in conflicts
        if (row := await session.get(Subject, UUID(subject_id))) is not None
        for name in (subject_id, row.remote_id)
    }
    if named not in by_name:
        ids = ", ".join(sorted(name for name, subject_id in by_name.items() if name != subject_id))
        raise Misuse(f"name one of these patients or cases: {ids}", code="which_one")
    return {"subject": by_name[named]}


async def _other_study(session: AsyncSession, exam: Exam) -> Any:
    filing = await filing_of(session, exam.id, exam.filing)
    mode = filing.mode if filing is not None else Mode.IDENTIFIED
    for study, its_mode in await studies_of_exam(
        session, exam.organization_id or UUID(int=0), exam.exam_uuid
    ):
        if its_mode == mode:
            return study
    raise Misuse("the earlier study is not on record any more: try again", code="changed")
