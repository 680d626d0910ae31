"""Checks the invariants of a system at rest (docs/faults.md, "The invariants") over database, journal, logs and staging.

Each check is a function that yields one readable line for each violation; `violations` runs them all. I10 and I11 are in
`whose.py`, I12 and I13 in `trouble.py`.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import select

from app.resources import Resources
from app.states import FINAL, ExamState, Reason
from app.store.base import clock
from app.store.captures import captures_of
from app.store.creates import Create, CreateState
from app.store.exams import Exam
from app.store.links import Link
from app.store.organizations import CaptureSource, Organization
from app.store.studies import Study
from app.store.subjects import Subject
from sandbox.server import Sandbox
from tests.support import trouble, whose
from tests.support.at_rest import AtRest, Check
from tests.support.wait import NeverHappenedError, until

# states in which nothing of an exam has to lie in staging any more
STAGES_NOTHING = frozenset({ExamState.DELIVERED, ExamState.GONE, ExamState.UNVERIFIED, ExamState.CANCELLED})
LEASE_GRACE_SECONDS = 5.0
TIDY_SECONDS = 15.0


async def violations(system: AtRest) -> list[str]:
    """Every breach of I1 to I13, as lines that begin with the invariant's name."""
    await system.read()
    return [line for check in CHECKS async for line in check(system)]


async def every_acknowledged_notification_has_a_row(system: AtRest) -> AsyncIterator[str]:
    known = {str(exam.request_uuid) for exam in system.exams}
    answered = set(system.acknowledged)
    for record in system.sandbox.clarius.records:
        response = record["event"]["response"]
        if response is not None and 200 <= _status(response) < 300:
            answered.add(str(json.loads(record["event"]["request"]["content"])["request_uuid"]))
    for request_uuid in sorted(answered - known):
        yield f"I1: {request_uuid} was acknowledged and has no row"


async def every_exam_rests(system: AtRest) -> AsyncIterator[str]:
    for exam in system.exams:
        waits = exam.state == ExamState.WAITING and exam.reason in set(Reason)
        if exam.state not in FINAL and not waits:
            yield f"I2: {exam.request_uuid} rests in {exam.state}/{exam.reason} at {exam.step}"
        if exam.error_code == "internal":
            yield f"I2: {exam.request_uuid} met a mistake of ours: {exam.error_message}"
    for problem in await _undelivered(system):
        yield problem


async def _undelivered(system: AtRest) -> list[str]:
    """Exams that are called delivered, and whose study Aurabox does not have."""
    held = {study.id for team in system.sandbox.aurabox.teams.values() for study in _studies(team)}
    lines = []
    async with system.resources.sessions() as session:
        for exam in system.exams:
            if exam.state == ExamState.DELIVERED:
                study = await session.get(Study, exam.study_id) if exam.study_id else None
                if study is None or study.remote_id not in held:
                    lines.append(
                        f"I2: {exam.request_uuid} is called delivered, and Aurabox has no study of it"
                    )
    return lines


async def nothing_was_created_twice(system: AtRest) -> AsyncIterator[str]:
    for kind, who, natural_key in system.sandbox.journal.doubled_creates():
        yield f"I3: {kind} of {natural_key} was made again at {who}"


async def every_remote_id_is_in_the_journal(system: AtRest) -> AsyncIterator[str]:
    made = system.sandbox.journal.remote_ids()
    async with system.resources.sessions() as session:
        ours: list[tuple[str, str | None]] = [
            *[("subject", remote) for remote in await session.scalars(select(Subject.remote_id))],
            *[("study", remote) for remote in await session.scalars(select(Study.remote_id))],
            *[
                ("create", remote)
                for remote in await session.scalars(
                    select(Create.remote_id).where(Create.state == CreateState.DONE)
                )
            ],
        ]
    for kind, remote_id in ours:
        if remote_id not in made:
            yield f"I4: the {kind} {remote_id} is in no journal"


async def secrets_stay_at_home(system: AtRest) -> AsyncIterator[str]:
    for seen in system.sandbox.journal.misplaced_secrets():
        yield f"I5: {seen.method} {seen.server}{seen.path} carried {', '.join(seen.secrets)}"
    for seen in system.sandbox.journal.requests_to("media"):
        if seen.auth:
            yield f"I5: {seen.method} {seen.path} on the capture store carried {', '.join(seen.auth)}"


async def nothing_private_leaks(system: AtRest) -> AsyncIterator[str]:
    private = private_words(system)
    for log in system.logs:
        text = log.read_text("utf-8", "replace") if log.exists() else ""
        for word in private:
            if word in text:
                yield f"I6: {log.name} holds {word[:4]}…"
    stored = await _redis_bytes(system.resources.settings.redis_url)
    for word in private:
        if word.encode() in stored:
            yield f"I6: Redis holds {word[:4]}…"


def private_words(system: AtRest) -> set[str]:
    """Names, identifiers, tokens and keys of the sandbox, and the system's own canaries."""
    sandbox = system.sandbox
    words = {
        *system.canaries,
        *sandbox.clarius.customers,
        *(key.key for key in sandbox.clarius.keys.values()),
    }
    words |= {team.key for team in sandbox.aurabox.teams.values()}
    for team in sandbox.aurabox.teams.values():
        for person in team.people.values():
            words |= {str(person.fields.get(name) or "") for name in ("family_name", "label")}
    return {word for word in words if len(word) >= 8}


async def _redis_bytes(url: str) -> bytes:
    client = Redis.from_url(url)
    held = b""
    try:
        async for key in client.scan_iter():
            held += key + (await client.dump(key) or b"")
    finally:
        await client.aclose()
    return held


async def bytes_are_those_that_were_served(system: AtRest) -> AsyncIterator[str]:
    served = system.sandbox.clarius.captures
    async with system.resources.sessions() as session:
        for exam in system.exams:
            submitted = system.sandbox.clarius.exams.get(str(exam.request_uuid))
            if exam.state != ExamState.DELIVERED or submitted is None or submitted.has_data:
                continue
            organization = await session.get(Organization, exam.organization_id)
            if organization is None or organization.source != CaptureSource.CAPTURES:
                continue
            for capture in await captures_of(session, exam.id):
                if capture.sha256 is None or capture.index >= len(submitted.capture_ids):
                    continue
                source = served[submitted.capture_ids[capture.index]]
                if capture.sha256 != source.sha256 or capture.bytes != source.length:
                    yield f"I7: capture {capture.index} of {exam.request_uuid} differs from what was served"


async def staging_is_empty(system: AtRest) -> AsyncIterator[str]:
    state_of: dict[UUID, str] = {exam.id: exam.state for exam in system.exams}

    def left() -> list[UUID]:
        held = system.resources.staging.held()
        return [one for one in held if state_of.get(one) is None or state_of[one] in STAGES_NOTHING]

    # an exam is recorded as over first, and its files go right after
    with contextlib.suppress(NeverHappenedError):
        await until(lambda: not left(), timeout=TIDY_SECONDS)
    for exam_id in left():
        yield f"I8: staging still holds {exam_id}, which is {state_of.get(exam_id, 'unknown')}"


async def no_lease_outlives_its_term(system: AtRest) -> AsyncIterator[str]:
    settings = system.resources.settings
    async with system.resources.sessions() as session:
        late = await clock(session) - timedelta(seconds=settings.sweep_seconds + LEASE_GRACE_SECONDS)
        links = list(await session.scalars(select(Link).where(Link.lease_until.is_not(None))))
    rows: list[Exam | Link] = [*system.exams, *links]
    for row in rows:
        if row.lease_until is not None and row.lease_until < late:
            yield f"I9: {type(row).__name__.lower()} {row.id} is leased although its term ended {row.lease_until}"


CHECKS: tuple[Check, ...] = (
    every_acknowledged_notification_has_a_row,
    every_exam_rests,
    nothing_was_created_twice,
    every_remote_id_is_in_the_journal,
    secrets_stay_at_home,
    nothing_private_leaks,
    bytes_are_those_that_were_served,
    staging_is_empty,
    no_lease_outlives_its_term,
    *whose.CHECKS,
    *trouble.CHECKS,
)


def _status(response: Any) -> int:
    return int(response["status_code"] if isinstance(response, dict) else response)


def _studies(team: Any) -> list[Any]:
    return [study for person in team.people.values() for study in person.studies.values()]


async def ends(system: AtRest, rests: Callable[[], Awaitable[object]]) -> None:
    """Faults stop, the system comes to rest, the checks run."""
    system.sandbox.faults.clear()
    await rests()
    found = await violations(system)
    assert found == [], "\n".join(found)


async def summary(resources: Resources, sandbox: Sandbox) -> dict[str, Any]:
    """What came of everything, without ids and times: the same whatever was killed on the way."""
    async with resources.sessions() as session:
        exams = [
            (exam.state, exam.step, len(await captures_of(session, exam.id)), exam.error_code)
            for exam in await session.scalars(select(Exam))
        ]
        organizations = len(list(await session.scalars(select(Organization.id))))
    created = sorted((effect.kind, effect.who) for effect in sandbox.journal.effects_of("*.create"))
    return {"exams": sorted(exams), "created": created, "organizations": organizations}
