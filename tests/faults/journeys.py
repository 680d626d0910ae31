"""The journeys on which a process is killed: what is set up and submitted, and what must have come of it at the end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.linking.links import start_link
from app.states import ExamState
from app.store.audit import By
from app.store.runs import last_run
from sandbox import faults
from tests.support.clarius import Sandbox
from tests.support.processes import Running
from tests.support.rig import Rig
from tests.support.wait import until


@dataclass(frozen=True)
class Journey:
    """One way for exams to go. `options` are the organisation's, `settings` the bridge's.

    `missed`: no webhook comes, so that the poll must find them. `made`: how much of each kind the vendors hold at
    the end. `arm`: what goes wrong at a vendor until the last worker starts. `known`: the patient of an exam that was
    delivered before, of whom this one says `patient`; with `again` it is that exam once more.
    """

    shape: str = "complete"
    captures: tuple[str, ...] = ("jpeg", "png")
    options: Callable[[Sandbox], Mapping[str, Any]] = lambda _: {}
    settings: Mapping[str, Any] = field(default_factory=dict)
    missed: bool = False
    made: Mapping[str, int] = field(default_factory=dict)
    arm: Callable[[Sandbox], object] = lambda _: None
    known: Mapping[str, Any] | None = None
    patient: Mapping[str, Any] | None = None
    again: bool = False


MADE = {"aurabox.patient.create": 1, "aurabox.study.create": 1}
PATIENT = Journey(made=MADE)
CASE = Journey(shape="empty-patient", made={"aurabox.case.create": 1, "aurabox.study.create": 1})
POLLED = Journey(missed=True, settings={"clarius_poll_interval": 0.5}, made=MADE)
UPLOADED = Journey(options=lambda _: {"images": "uploader"}, made={**MADE, "aurabox.instance.create": 2})
STORED = Journey(
    options=lambda sandbox: {
        "images": "dicomweb",
        "dicomweb_url": sandbox.dicomweb_url,
        "dicomweb_token": sandbox.team().key,
    },
    made=UPLOADED.made,
)
REFUSED = Journey(
    options=UPLOADED.options,
    made=UPLOADED.made,
    arm=lambda sandbox: sandbox.faults.arm(
        faults.answer(422, {"message": "refused"}), path="*/uploader/upload/complete", times=None
    ),
)


def _lose_complete(sandbox: Sandbox) -> None:
    """`complete` is accepted and its answer lost, and then Aurabox knows nothing of the upload; it counts images."""
    sandbox.aurabox.image_count_field = "images_held"
    path = "*/uploader/upload/complete"
    sandbox.faults.arm(faults.cut_after(), path=path)
    sandbox.faults.arm(faults.answer(404, {"message": "Not found"}), path=path, nth=2, times=None)


UNCLEAR = Journey(
    options=UPLOADED.options,
    settings={"aurabox_image_count_field": "images_held"},
    made=UPLOADED.made,
    arm=_lose_complete,
)
BUNDLED = Journey(
    options=lambda _: {"images": "uploader", "source": "clarius-dicom"},
    made={**MADE, "aurabox.instance.create": 2},
)
MISSPELT = {
    "identifier": "P-31",
    "date_of_birth": "1980-01-02",
    "gender": "F",
    "first_name": "Ann",
    "last_name": "Ashgrov",
}
CORRECTED = Journey(
    options=lambda _: {"corrections": "update"},
    made={"aurabox.patient.create": 1, "aurabox.study.create": 2},
    known=MISSPELT,
    patient={**MISSPELT, "last_name": "Ashgrove"},
)
RESUBMITTED = Journey(made=MADE, known=MISSPELT, again=True)
REPORTED = Journey(options=lambda _: {"report": True}, made=MADE)
LAGGING = Journey(
    made=MADE,
    # Clarius lists it and does not give its data, as long as workers die; the last one gets it
    arm=lambda sandbox: sandbox.faults.arm(
        faults.answer(404, {"detail": "Not found."}),
        server="clarius",
        path="*/download-requests/*",
        times=None,
    ),
)


async def set_out(rig: Rig, journey: Journey, point: str) -> tuple[Running, str]:
    """Start everything, a worker armed at `point`, and submit; the worker and the request's UUID."""
    organization = await rig.organization(**journey.options(rig.sandbox))
    token = rig.sandbox.add_customer()
    journey.arm(rig.sandbox)
    await rig.api()
    ready = journey.missed or journey.known is not None
    said: dict[str, Any] = {"shape": journey.shape, "captures": journey.captures}
    if journey.patient is not None:
        said["patient"] = dict(journey.patient)
    if ready:
        # linked before the armed worker's first poll, which is at its start
        helper = rig.worker()
        await rig.link(token, organization)
        if journey.known is not None:
            first = await rig.sandbox.submit_exam(customer=token, patient=dict(journey.known), captures=())
            await rig.reaches(first.request_uuid, ExamState.DELIVERED, timeout=60)
            if journey.again:
                said = {"again": first.request_uuid}
        await helper.kill()
    else:
        worker = rig.worker(point)
        await _first_poll_is_over(rig)
    submitted = await rig.sandbox.submit_exam(customer=token, notify_times=0 if journey.missed else 1, **said)
    if ready:
        worker = rig.worker(point)
    else:
        # only now, so that the exam waits for the link and is released by it
        await start_link(
            rig.resources, token=token, organization_id=organization.id, user_id=None, by=By("test")
        )
    return worker, submitted.request_uuid


async def _first_poll_is_over(rig: Rig) -> None:
    async def polled() -> bool:
        async with rig.resources.sessions() as session:
            run = await last_run(session, "reconcile")
        return run is not None and run.finished_at is not None

    await until(polled, timeout=60)
