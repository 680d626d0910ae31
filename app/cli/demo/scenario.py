"""What the demo submits and what must become of it; must not look at what became of it."""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.cli.demo.sandbox import Sandbox
from app.states import ExamState, Source
from app.store.subjects import SubjectKind

PATIENT = SubjectKind.PATIENT
CASE = SubjectKind.CASE

# each exam's invented person has a number of its own, by which faults find its requests
FIRST_NUMBER = 7000
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


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One request and what must become of it. Exams with the same `person` must meet in one patient or case."""

    about: str
    request_uuid: str
    exam_uuid: str
    state: ExamState = ExamState.DELIVERED
    kind: SubjectKind | None = None
    person: str = ""
    sha256: tuple[str, ...] = ()
    sources: frozenset[str] = frozenset({Source.WEBHOOK, Source.POLL})
    answers: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Scene:
    """One thing to show, and how many exams it submits."""

    submit: Callable[[], Awaitable[None]]
    exams: int = 1


@dataclass
class Scenario:
    """Submits exams one after the other; `expected` grows with what was submitted.

    `linked` is the token of the linked customer, `stranger` of one that is linked later.
    """

    sandbox: Sandbox
    linked: str
    stranger: str
    expected: list[Expected] = field(default_factory=list)
    _number: int = FIRST_NUMBER

    @property
    def later(self) -> Expected | None:
        """The exam of the customer that is linked later, once it is submitted."""
        return next((one for one in self.expected if one.person.startswith("stranger")), None)

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
        )

    async def _plain(self, shape: str, kind: SubjectKind) -> None:
        await self._one(ABOUT[shape], shape=shape, kind=kind)

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _one(
        self, about: str, *, shape: str = "complete", kind: SubjectKind = PATIENT, **arguments: Any
    ) -> dict[str, Any]:
        number = arguments.pop("number", None) or self._next()
        person = arguments.pop("person", f"person {number}")
        sources = arguments.pop("sources", frozenset({Source.WEBHOOK, Source.POLL}))
        made = await self.sandbox.submit(
            **{"customer": self.linked, "shape": shape, "number": number} | arguments
        )
        self._expect(made, about=about, kind=kind, person=person, sources=sources)
        return made

    def _expect(self, made: dict[str, Any], *, about: str, answers: Any = None, **more: Any) -> None:
        self.expected.append(
            Expected(
                about=about,
                request_uuid=made["request_uuid"],
                exam_uuid=made["exam_uuid"],
                sha256=tuple(capture["sha256"] for capture in made["captures"]),
                answers=tuple(made["answers"] if answers is None else answers),
                **more,
            )
        )

    async def _unknown_customer(self) -> None:
        await self._one("unknown customer, linked later", customer=self.stranger, person="stranger's patient")

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
        number = self._next()
        await self.sandbox.arm(
            {"kind": "cut_after"},
            server="aurabox",
            method="POST",
            path="/api/v1/patients",
            contains=f"-{number}",
        )
        await self._one("answer to a patient's create lost", number=number, shape="gender-capital")

    async def _lost_study(self) -> None:
        exam_uuid = str(uuid.uuid4())
        await self.sandbox.arm(
            {"kind": "cut_after"},
            server="aurabox",
            method="POST",
            path="/api/v1/patients/*/studies",
            contains=exam_uuid,
        )
        await self._one("answer to a study's create lost", exam_uuid=exam_uuid, shape="gender-other")

    async def _slow_down(self) -> None:
        number = self._next()
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
        await self._one("Aurabox answers 429 once", number=number, shape="gender-missing")

    async def _expiring(self) -> None:
        """Kept back until the fault is armed, because its link's name is known only then."""
        number = self._next()
        made = await self.sandbox.submit(
            customer=self.linked, number=number, captures=["jpeg", "png"], listed=False, notify_times=0
        )
        capture = made["captures"][0]["id"]
        await self.sandbox.arm({"kind": "expire"}, server="media", path=f"/captures/{capture}*")
        answers = await self.sandbox.list_and_notify(made["request_uuid"])
        self._expect(
            made, about="a capture's link expires", kind=PATIENT, person=f"person {number}", answers=answers
        )

    async def _one_exam_twice(self) -> None:
        number = self._next()
        first = await self._one("first submission of one exam", number=number)
        await self._one(
            "second submission of it", number=number, person=f"person {number}", again=first["request_uuid"]
        )

    async def _one_patient_twice(self) -> None:
        number = self._next()
        person = f"person {number}"
        await asyncio.gather(
            self._one("two exams of a new patient at once (1)", number=number, person=person),
            self._one("two exams of a new patient at once (2)", number=number, person=person),
        )

    async def _missed(self) -> None:
        await self._one(
            "notification missed, found by polling", notify_times=0, sources=frozenset({Source.POLL})
        )

    async def _five_times(self) -> None:
        await self._one(f"one notification {DUPLICATES} times at once", notify_times=DUPLICATES, at_once=True)
