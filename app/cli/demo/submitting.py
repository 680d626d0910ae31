"""Submits exams for the demo and notes what must become of each; must not look at what became of it.

What follows on something that is seen in the bridge is a `Turn`: when, and what is done then. Whoever watches takes it.
"""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from uuid import UUID

from app.cli.demo.sandbox import Sandbox
from app.errors import SonobridgeError
from app.states import ExamState, Source
from app.store.exams import Exam
from app.store.subjects import SubjectKind

PATIENT = SubjectKind.PATIENT
CASE = SubjectKind.CASE

# each exam's invented person has a number of its own, by which faults find its requests
FIRST_NUMBER = 7000


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One request and what must become of it. Exams with the same `person` must meet in one patient or case.

    `code`: why it is in review; `filed`: it has its study all the same. `team`: where alone it may be (None: the first).
    `images`: how many of it must be there (None: as many as it has captures of different content). `unnamed`: words
    that nothing of it may hold. `leaves`: what was made for it and stays, because something changed afterwards.
    `renamed`: the family name that its patient must end with.
    """

    about: str
    request_uuid: str
    exam_uuid: str
    state: ExamState = ExamState.DELIVERED
    kind: SubjectKind | None = None
    person: str = ""
    sha256: tuple[str, ...] = ()
    sources: frozenset[str] = frozenset({Source.WEBHOOK, Source.POLL})
    answers: tuple[int | None, ...] = ()
    code: str | None = None
    filed: bool = False
    team: str | None = None
    images: int | None = None
    unnamed: tuple[str, ...] = ()
    leaves: SubjectKind | None = None
    renamed: str | None = None

    @property
    def has_study(self) -> bool:
        """Whether Aurabox must have a study of it."""
        return self.state == ExamState.DELIVERED or self.filed


@dataclass(frozen=True)
class Clinic:
    """An organisation of its own for one scene, its team in Aurabox, and a Clarius account that is linked to it."""

    name: str
    team: str
    customer: str


class Clinics(Protocol):
    """What people at the bridge do in the demo."""

    async def open(self, name: str, *, linked: bool = True) -> Clinic:
        """A new organisation; `linked`: with an account of its own."""
        ...

    async def link(self, customer: str) -> None:
        """Link an account to the first organisation."""
        ...

    async def hide_names(self, clinic: Clinic) -> None:
        """Change the organisation's policy to de-identified."""
        ...

    async def move(self, clinic: Clinic, *, to: Clinic, under_way: str) -> None:
        """Move the clinic's account to another organisation, and say what becomes of exams under way."""
        ...

    async def decide(self, request_uuid: UUID, choice: str) -> None:
        """Decide an exam in review."""
        ...


@dataclass(frozen=True)
class Turn:
    """Once the exam is `ready`, `act`, once."""

    request_uuid: str
    ready: Callable[[Exam], bool]
    act: Callable[[], Awaitable[None]]

    def is_due(self, exam: Exam | None) -> bool:
        """Whether it is this exam's turn now."""
        return exam is not None and self.ready(exam)


@dataclass
class Submitting:
    """Submits exams one after the other; `expected` grows with what was submitted.

    `linked` is the token of the linked customer, `stranger` of one that is linked later.
    """

    sandbox: Sandbox
    linked: str
    stranger: str
    clinics: Clinics
    expected: list[Expected] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(FIRST_NUMBER + 1))

    def next_number(self) -> int:
        """Of a person that nobody else is."""
        return next(self._numbers)

    async def submit(
        self, about: str, *, shape: str = "complete", kind: SubjectKind | None = PATIENT, **arguments: Any
    ) -> dict[str, Any]:
        """Submit one exam and expect what `arguments` say, of which the sandbox is told what is not ours."""
        number = arguments.pop("number", None) or self.next_number()
        ours = {name: arguments.pop(name) for name in OURS if name in arguments}
        submitted = await self.sandbox.submit(
            **{"customer": self.linked, "shape": shape, "number": number} | arguments
        )
        self.expect(submitted, about=about, kind=kind, **{"person": f"person {number}"} | ours)
        return submitted

    def expect(self, submitted: dict[str, Any], *, about: str, answers: Any = None, **more: Any) -> None:
        """Note what must become of what was submitted."""
        self.expected.append(
            Expected(
                about=about,
                request_uuid=submitted["request_uuid"],
                exam_uuid=submitted["exam_uuid"],
                sha256=tuple(capture["sha256"] for capture in submitted["captures"]),
                answers=tuple(submitted["answers"] if answers is None else answers),
                **more,
            )
        )

    def on(
        self, submitted: dict[str, Any], ready: Callable[[Exam], bool], act: Callable[[], Awaitable[None]]
    ) -> None:
        """Do something once this exam is ready for it."""
        self.turns.append(Turn(submitted["request_uuid"], ready, act))

    async def tell(self, submitted: dict[str, Any]) -> None:
        """Let Clarius list an exam that was kept back, and notify."""
        answers = await self.sandbox.list_and_notify(submitted["request_uuid"])
        place = next(
            (at for at, exam in enumerate(self.expected) if exam.request_uuid == submitted["request_uuid"]),
            None,
        )
        if place is None:
            raise SonobridgeError("an exam was told of that nobody submitted", code="sandbox")
        self.expected[place] = replace(self.expected[place], answers=tuple(answers))


OURS = frozenset(Expected.__dataclass_fields__) - {"about", "request_uuid", "exam_uuid", "kind", "sha256"}
