"""Submitting exams the way a clinician's scanner does: captures, exam data, then one notification.

Part of `Sandbox`, kept apart because it is what most tests use.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool

from sandbox.clarius.captures import keep_capture
from sandbox.clarius.exams import notification_of
from sandbox.clarius.state import Capture, ExamRequest, ResearchExam, new_uuid
from sandbox.clarius.webhook import notify, notify_raw
from sandbox.exam_shapes import MISSING, shape_named
from sandbox.media import make_capture
from sandbox.world import World


@dataclass(frozen=True, slots=True)
class Submitted:
    """What was submitted, and how each of its notifications was answered (None: no answer)."""

    request_uuid: str
    exam_uuid: str
    customer_id: str
    submitted_at: str
    number: int
    shape: str
    captures: tuple[Capture, ...]
    notification: dict[str, Any]
    answers: tuple[int | None, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for the control API."""
        return asdict(self)


class Submitting(World):
    """The part of the sandbox that plays scanner and webhook sender."""

    async def submit_exam(  # noqa: PLR0913 -- one name for each thing a test may want otherwise
        self,
        *,
        customer: str,
        shape: str = "complete",
        patient: Any = MISSING,
        captures: Sequence[str] | None = None,
        data: Any = MISSING,
        number: int | None = None,
        exam_uuid: str | None = None,
        again: str | None = None,
        capture_bytes: int | None = None,
        canary: str = "",
        at_clarius: bool = False,
        listed: bool = True,
        busy_answers: int = 0,
        notify_times: int = 1,
        at_once: bool = False,
    ) -> Submitted:
        """Submits one exam and notifies (`notify_times=0`: the webhook is missed).

        `captures` are media kinds, `kind#seed` for a chosen seed (seeds are unique per exam otherwise);
        `patient` and `data` replace what the shape would say; `number` chooses the invented person;
        `again` is an earlier request_uuid whose exam and captures this one repeats (new `captures` are added);
        `listed=False` keeps it out of C1 until `list_exam`; `busy_answers`: C18/C19 answer 400 that often first.
        """
        state = self.clarius
        if customer not in state.customers:
            raise ValueError("unknown customer; make it known with add_customer")
        state.exam_count += 1
        earlier = state.exams[again] if again is not None else None
        exam_number = state.exam_count if number is None else number
        kinds = tuple(captures) if captures is not None else None
        chosen = shape_named(earlier.shape.name if earlier else shape, patient=patient, captures=kinds)
        serial = state.exam_count
        if earlier is not None and captures is None:
            made = []
        else:
            made = await run_in_threadpool(
                self._make_captures, chosen.captures, serial=serial, size_bytes=capture_bytes, canary=canary
            )
        exam = ExamRequest(
            request_uuid=new_uuid(),
            exam_uuid=exam_uuid or (earlier.exam_uuid if earlier else new_uuid()),
            customer_id=customer,
            submitted_at=state.now(),
            number=earlier.number if earlier else exam_number,
            shape=chosen if patient is not MISSING or earlier is None else earlier.shape,
            capture_ids=[*(earlier.capture_ids if earlier else []), *made],
            data=None if data is MISSING else data,
            has_data=data is not MISSING,
            listed=listed,
            captures_at_clarius=at_clarius,
        )
        state.exams[exam.request_uuid] = exam
        research = ResearchExam(exam.exam_uuid, busy_answers=busy_answers)
        state.research_exams[exam.exam_uuid] = state.research_exams[str(serial)] = research
        answers = await notify(self, exam, times=notify_times, at_once=at_once)
        return self._submitted(exam, answers)

    async def notify(self, request_uuid: str, *, times: int = 1, at_once: bool = False) -> list[int | None]:
        """Posts the notification of a submitted exam (again); each answer's status, or None."""
        return await notify(self, self.clarius.exams[request_uuid], times=times, at_once=at_once)

    async def notify_raw(
        self,
        body: bytes | dict[str, Any],
        *,
        times: int = 1,
        at_once: bool = False,
        headers: dict[str, str] | None = None,
    ) -> list[int | None]:
        """Posts a body that Clarius never sent: a forgery, so C8 does not know it."""
        return await notify_raw(self, body, times=times, at_once=at_once, headers=headers, recorded=False)

    def acknowledged(self) -> set[str]:
        """The request_uuids whose notification was answered 2xx: each must have a row (I1)."""
        known: set[str] = set()
        for record in self.clarius.records:
            event = record["event"]
            if event["response"] is not None and 200 <= event["response"]["status_code"] < 300:
                known.add(str(json.loads(event["request"]["content"])["request_uuid"]))
        return known

    def delete_exam(self, request_uuid: str) -> None:
        """The clinician deletes the exam at Clarius: C1 no longer lists it, C2 answers 404."""
        self.clarius.exams[request_uuid].deleted = True

    def list_exam(self, request_uuid: str) -> None:
        """C1 lists it from now on."""
        self.clarius.exams[request_uuid].listed = True

    async def change_capture(self, capture_id: str, *, seed: int) -> Capture:
        """From now on the capture's links serve other bytes of the same kind, under another ETag."""
        kind = self.clarius.captures[capture_id].kind
        made = await run_in_threadpool(make_capture, kind, seed=seed)
        return keep_capture(self, made, capture_id=capture_id)

    def submitted(self, request_uuid: str) -> Submitted:
        """What was submitted under this request, without its notifications' answers."""
        return self._submitted(self.clarius.exams[request_uuid], [])

    def _submitted(self, exam: ExamRequest, answers: list[int | None]) -> Submitted:
        return Submitted(
            request_uuid=exam.request_uuid,
            exam_uuid=exam.exam_uuid,
            customer_id=exam.customer_id,
            submitted_at=exam.submitted_at,
            number=exam.number,
            shape=exam.shape.name,
            captures=tuple(self.clarius.captures[c] for c in exam.capture_ids),
            notification=notification_of(self, exam, polled=False),
            answers=tuple(answers),
        )

    def _make_captures(
        self, kinds: tuple[str, ...], *, serial: int, size_bytes: int | None, canary: str
    ) -> list[str]:
        ids = []
        for index, named in enumerate(kinds):
            kind, _, seed = named.partition("#")
            # `kind#0` repeats the exam's first seed, so that two links can serve the same bytes.
            chosen = serial * 1000 + (int(seed) if seed else index)
            made = make_capture(kind, seed=chosen, size_bytes=size_bytes, canary=canary)
            ids.append(keep_capture(self, made).id)
        return ids
