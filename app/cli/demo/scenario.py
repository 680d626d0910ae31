"""What the demo submits and what must become of it; must not look at what became of it."""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from app.cli.demo.changes import CHANGES, waits_for_link
from app.cli.demo.submitting import CASE, PATIENT, Expected, Submitting
from app.states import ExamState, Source
from app.store.subjects import SubjectKind

DUPLICATES = 5

# (shape of the exam data, what it becomes)
PLAIN_SHAPES: tuple[tuple[str, SubjectKind], ...] = (
    ("complete", PATIENT),
    ("minimal", CASE),
    ("animal", CASE),
    ("empty-patient", CASE),
    ("no-captures", PATIENT),
    ("extra-fields", PATIENT),
    ("animal-no-owner", CASE),
    ("patient-null", CASE),
    ("no-identifier", PATIENT),
    ("long-names", CASE),
    ("numeric-identifier", PATIENT),
    ("gender-short", PATIENT),
    ("odd-names", PATIENT),
)
ABOUT = {
    "complete": "complete patient, two stills and a clip",
    "minimal": "identifier and birth date only",
    "animal": "animal",
    "empty-patient": "empty patient",
    "no-captures": "no captures",
    "extra-fields": "fields nobody knows",
    "animal-no-owner": "animal without an owner",
    "patient-null": "patient is null",
    "no-identifier": "no identifier",
    "long-names": "names over 255 characters",
    "numeric-identifier": "identifier is a number",
    "gender-short": "gender is M",
    "odd-names": "accents and carets in names",
}


@dataclass(frozen=True)
class Scene:
    """One thing to show, and how many exams it submits."""

    submit: Callable[[], Awaitable[None]]
    exams: int = 1


class Scenario(Submitting):
    """All that the demo submits, in its order."""

    async def submit_all(self, count: int) -> None:
        """Submit `count` exams: a plain one, every special one that there is room for, then all shapes in turn.

        A scene that no longer fits is left out and the next ones are tried, so that it is `count` exactly.
        """
        for scene in self._special():
            if len(self.expected) + scene.exams <= count:
                await scene.submit()
        shapes = itertools.cycle(PLAIN_SHAPES[1:] + PLAIN_SHAPES[:1])
        for shape, kind in itertools.islice(shapes, count - len(self.expected)):
            await self._plain(shape, kind)

    def _special(self) -> tuple[Scene, ...]:
        """What even the shortest run begins with, then what goes wrong in the vendors' worlds."""
        return (
            Scene(partial(self._plain, *PLAIN_SHAPES[0])),
            Scene(self._unknown_customer),
            Scene(self._forged),
            Scene(self._lost_patient),
            Scene(self._lost_study),
            Scene(self._expiring),
            Scene(self._slow_down),
            Scene(self._one_exam_twice, exams=2),
            Scene(self._one_patient_twice, exams=2),
            Scene(self._missed),
            Scene(self._five_times),
            *(Scene(partial(scene, self), exams=exams) for scene, exams in CHANGES),
        )

    async def _plain(self, shape: str, kind: SubjectKind) -> None:
        await self.submit(ABOUT[shape], shape=shape, kind=kind)

    async def _unknown_customer(self) -> None:
        submitted = await self.submit(
            "unknown customer, linked later", customer=self.stranger, person="stranger's patient"
        )
        self.on(submitted, waits_for_link, partial(self.clinics.link, self.stranger))

    async def _forged(self) -> None:
        """A notification that Clarius never sent, under the linked customer's own name."""
        request_uuid, exam_uuid = str(uuid.uuid4()), str(uuid.uuid4())
        answers = await self.sandbox.forge(
            {
                "request_uuid": request_uuid,
                "exam_uuid": exam_uuid,
                "customer_id": self.linked,
                "download_url": f"{self.sandbox.environment['CLARIUS_BASE_URL']}/forged/data/",
                "submitted_at": "2026-01-01T00:00:00Z",
            }
        )
        self.expected.append(
            Expected(
                about="forged notification",
                request_uuid=request_uuid,
                exam_uuid=exam_uuid,
                state=ExamState.UNVERIFIED,
                answers=tuple(answers),
            )
        )

    async def _lost_patient(self) -> None:
        number = self.next_number()
        await self.sandbox.arm(
            {"kind": "cut_after"},
            server="aurabox",
            method="POST",
            path="/api/v1/patients",
            contains=f"-{number}",
        )
        await self.submit("answer to a patient's create lost", number=number, shape="gender-capital")

    async def _lost_study(self) -> None:
        exam_uuid = str(uuid.uuid4())
        await self.sandbox.arm(
            {"kind": "cut_after"},
            server="aurabox",
            method="POST",
            path="/api/v1/patients/*/studies",
            contains=exam_uuid,
        )
        await self.submit("answer to a study's create lost", exam_uuid=exam_uuid, shape="gender-other")

    async def _slow_down(self) -> None:
        number = self.next_number()
        await self.sandbox.arm(
            {
                "kind": "status",
                "status": 429,
                "headers": {"Retry-After": "1"},
                "body": {"message": "Slow down"},
            },
            server="aurabox",
            path="/api/v1/patients",
            contains=f"-{number}",
        )
        await self.submit("Aurabox answers 429 once", number=number, shape="gender-missing")

    async def _expiring(self) -> None:
        """Kept back until the fault is armed, because its link's name is known only then."""
        number = self.next_number()
        submitted = await self.sandbox.submit(
            customer=self.linked, number=number, captures=["jpeg", "png"], listed=False, notify_times=0
        )
        capture = submitted["captures"][0]["id"]
        await self.sandbox.arm({"kind": "expire"}, server="media", path=f"/captures/{capture}*")
        answers = await self.sandbox.list_and_notify(submitted["request_uuid"])
        self.expect(
            submitted,
            about="a capture's link expires",
            kind=PATIENT,
            person=f"person {number}",
            answers=answers,
        )

    async def _one_exam_twice(self) -> None:
        number = self.next_number()
        first = await self.submit("first submission of one exam", number=number)
        await self.submit(
            "second submission of it", number=number, person=f"person {number}", again=first["request_uuid"]
        )

    async def _one_patient_twice(self) -> None:
        number = self.next_number()
        person = f"person {number}"
        await asyncio.gather(
            self.submit("two exams of a new patient at once (1)", number=number, person=person),
            self.submit("two exams of a new patient at once (2)", number=number, person=person),
        )

    async def _missed(self) -> None:
        await self.submit(
            "notification missed, found by polling", notify_times=0, sources=frozenset({Source.POLL})
        )

    async def _five_times(self) -> None:
        await self.submit(
            f"one notification {DUPLICATES} times at once", notify_times=DUPLICATES, at_once=True
        )
