"""Workers killed at each point of each outside effect: the run time changes, the result does not."""

from pathlib import Path

import pytest

from app.config.settings import Settings
from app.faultpoints import EFFECTS, POINTS
from app.states import ExamState
from tests.faults.journeys import (
    BUNDLED,
    CASE,
    CORRECTED,
    LAGGING,
    PATIENT,
    POLLED,
    REFUSED,
    REPORTED,
    RESUBMITTED,
    STORED,
    UNCLEAR,
    UPLOADED,
    Journey,
    set_out,
)
from tests.support.processes import Zygote
from tests.support.rig import open_rig

CASES: dict[str, Journey] = {
    "verify:poll": PATIENT,
    "fetch:read_exam_data": PATIENT,
    "fetch:look_again": LAGGING,
    "download:read_capture": PATIENT,
    "download:request_dicom": BUNDLED,
    "match:search_subject": PATIENT,
    "match:create_patient": PATIENT,
    "match:create_case": CASE,
    "match:update_patient": CORRECTED,
    "study:read_subject": PATIENT,
    "study:read_study": RESUBMITTED,
    "study:search_study": PATIENT,
    "study:create_study": PATIENT,
    "send:announce_upload": UPLOADED,
    "send:start_upload": UPLOADED,
    "send:upload_archive": UPLOADED,
    "send:complete_upload": UPLOADED,
    "send:look_for_images": UNCLEAR,
    "send:fail_upload": REFUSED,
    "send:store_instances": STORED,
    "confirm:read_back": PATIENT,
    "confirm:search_instances": STORED,
    "report:upload_receipt": REPORTED,
    "reconcile:poll": POLLED,
    "link:confirm_customer": PATIENT,
}

# points that are not at one effect's side; `@N` is the Nth time that a worker comes by
BETWEEN: list[tuple[tuple[str, ...], Journey]] = [
    (("runner:after_claim", "download:between_captures"), PATIENT),
    # row 3: after the intent and before the POST, then after Aurabox accepted and before our record; each kind
    (("create:after_intent", "create:before_record"), PATIENT),
    (("create:after_intent@2", "create:before_record"), PATIENT),
    (("create:after_intent", "create:before_record"), CASE),
]
KILLED_ELSEWHERE = {
    "probe:before_ask_account",
    "probe:after_ask_account",
    "inbox:before_commit",
    "inbox:between_commit_and_ring",
    "close:before_end_upload",
    "close:after_end_upload",
}


def sides(effect: str) -> tuple[str, ...]:
    step, _, what = effect.partition(":")
    return f"{step}:before_{what}", f"{step}:after_{what}"


@pytest.mark.row(3)
def test_every_point_has_a_case() -> None:
    killed = {point for effect in CASES for point in sides(effect)}
    killed |= {point.partition("@")[0] for points, _ in BETWEEN for point in points} | KILLED_ELSEWHERE
    assert killed >= POINTS, f"add a case for {sorted(POINTS - killed)}"


def kills() -> list[tuple[tuple[str, ...], Journey]]:
    """Which points one exam's workers die at, one worker after the other."""
    chosen = [(sides(effect), CASES[effect]) for effect in EFFECTS if effect in CASES]
    # a receipt that may have arrived is left to a person: after one death nobody comes by again
    once = [((point,), REPORTED) for points, journey in chosen if journey is REPORTED for point in points]
    return [*((points, journey) for points, journey in chosen if journey is not REPORTED), *once, *BETWEEN]


@pytest.mark.row(3, 4)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("points", "journey"),
    kills(),
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
async def test_killed_workers_change_nothing(
    points: tuple[str, ...], journey: Journey, settings: Settings, zygote: Zygote, tmp_path: Path
) -> None:
    async with open_rig(settings, zygote, tmp_path, **journey.settings) as rig:
        worker, request = await set_out(rig, journey, points[0])
        await worker.dies_by_kill()
        for point in points[1:]:
            await rig.worker(point).dies_by_kill()
        rig.sandbox.faults.clear()
        rig.worker()
        await rig.reaches(request, ExamState.DELIVERED, timeout=90)
        await rig.ends_well()
        made = {kind: len(rig.sandbox.journal.effects_of(kind)) for kind in journey.made}
        assert made == journey.made
        subjects = rig.sandbox.journal.effects_of("aurabox.*.create")
        assert len(subjects) == sum(journey.made.values())
