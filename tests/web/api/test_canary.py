"""Nothing of a patient shows where it has no business: an exam with canary data goes through, and everything is searched."""

import json

import pytest
import structlog
from redis import Redis
from sqlalchemy import select

from app.observing.logs import configure_logging
from app.states import ExamState, Reason
from app.store.alerts import Alert
from app.store.exams import Exam
from app.store.overview import read_overview
from app.store.upstreams import Upstream
from app.upkeep.alerts import conditions, note
from sandbox import faults
from tests.support.ops import Ops
from tests.support.wait import until

CANARIES = {
    "identifier": "CANARYID77310",
    "first_name": "Canaryfirst",
    "middle_name": "Canarymiddle",
    "last_name": "Canarylast",
    "date_of_birth": "1931-07-13",
    "gender": "male",
}
WORDS = ("CANARYID77310", "Canaryfirst", "Canarymiddle", "Canarylast", "1931-07-13")


async def test_no_canary_in_any_list_log_metric_event_alert_or_error(
    ops: Ops, capsys: pytest.CaptureFixture[str], redis_url: str
):
    configure_logging("production", "DEBUG")
    try:
        told = await journey(ops)
    finally:
        structlog.reset_defaults()
    captured = capsys.readouterr()
    told["log"] = captured.out + captured.err
    lines = [json.loads(line) for line in told["log"].splitlines() if line.startswith("{")]
    assert any(line["event"] == "exam_rests" for line in lines), "the log was not captured"
    taken = {line["request_id"] for line in lines if line.get("path") == "/webhooks/clarius"}
    delivered = {line["request_id"] for line in lines if line.get("state") == "delivered"}
    assert delivered
    assert delivered <= taken, "the request id did not follow the exam to its delivery"
    with (
        Redis.from_url(redis_url)
        if redis_url.startswith("redis")
        else Redis(unix_socket_path=redis_url.partition("://")[2].partition("?")[0]) as redis
    ):
        told["redis"] = str([(key, redis.dump(key)) for key in redis.scan_iter()])
    secrets = [ops.sandbox.clarius_key, ops.sandbox.team().key, ops.write.headers["authorization"].split()[1]]
    secrets += list(ops.sandbox.clarius.customers)
    for place, text in told.items():
        found = [word for word in (*WORDS, *secrets) if word.lower() in text.lower()]
        assert found == [], f"{place} holds {found}"


# the patient in spellings that we never sent, and somebody else altogether
ECHO = {
    "message": "Lí, Bo (13.07.1931) was refused, see also Neighbour, Nora.",
    "errors": {
        "date_of_birth": ["The 13.07.1931 of Lí must be a date after 1932-01-01."],
        "neighbour Nora": ["The record of O&#039;Nora has already been taken."],
    },
}
ECHOED = ("Lí", "Nora", "13.07.1931", "1932-01-01")


async def test_what_an_upstream_says_of_a_patient_is_told_to_nobody_but_with_the_patient(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("production", "DEBUG")
    try:
        told, exam = await refusals(ops)
    finally:
        structlog.reset_defaults()
    captured = capsys.readouterr()
    told["log"] = captured.out + captured.err
    for place, text in told.items():
        found = [word for word in ECHOED if word in text]
        assert found == [], f"{place} holds {found}: {text}"
    assert (
        "(date_of_birth is not a date in the range that is taken; another field is taken already)"
        in told["exams"]
    )
    words = ops.bridge.resources.unseal_text(exam.upstream_words_sealed)
    assert all(word in words for word in ECHOED), words


async def refusals(ops: Ops) -> tuple[dict[str, str], Exam]:
    """One exam refused by the patient's details (it is returned), one by the key; what was told, by place."""
    bridge, sandbox = ops.bridge, ops.sandbox
    customer = await bridge.customer(await bridge.organization())
    rule = sandbox.faults.arm(faults.answer(422, ECHO), server="aurabox", method="POST", path="*/patients")
    patient = CANARIES | {"first_name": "Bo", "last_name": "Lí"}
    refused = await sandbox.submit_exam(customer=customer, patient=patient)
    exam = await bridge.reaches(refused.request_uuid, ExamState.FAILED)
    assert rule.hits == 1
    sandbox.faults.arm(faults.answer(401, ECHO), server="aurabox", path="*", times=None)
    paused = await sandbox.submit_exam(customer=customer, patient=patient | {"identifier": "OTHER-1"})

    async def is_paused() -> bool:
        return (await bridge.exam(paused.request_uuid)).reason == Reason.PAUSED

    await until(is_paused)
    told = {}
    for path in ("exams", "events?limit=200", "overview", "links"):
        answer = await ops.read.get(path)
        assert answer.status_code == 200, answer.text
        told[path] = answer.text
    told["metrics"] = (await ops.nobody.get(f"{bridge.url}/metrics")).text
    async with bridge.resources.sessions.begin() as session:
        await note(session, conditions(await read_overview(session), bridge.resources.settings))
    async with bridge.resources.sessions() as session:
        alerts = (await session.scalars(select(Alert))).all()
        told["alerts"] = "".join(alert.message + alert.condition for alert in alerts)
        told["accounts"] = str([one.refused_why for one in await session.scalars(select(Upstream))])
    assert "answered 401" in told["alerts"]
    assert "answered 401" in told["accounts"]
    return told, exam


async def journey(ops: Ops) -> dict[str, str]:
    """Exams with the canary in every state that a list may show; everything that was told, by place."""
    bridge, sandbox = ops.bridge, ops.sandbox
    customer = await bridge.customer(await bridge.organization())
    good = await sandbox.submit_exam(customer=customer, patient=CANARIES)
    await bridge.reaches(good.request_uuid, ExamState.DELIVERED)
    conflict = await sandbox.submit_exam(customer=customer, patient=CANARIES | {"gender": "female"})
    await bridge.reaches(conflict.request_uuid, ExamState.REVIEW)
    held = await bridge.organization("Lakeside", team=sandbox.add_team("Two"), incomplete="hold")
    other = await bridge.customer(held)
    incomplete = await sandbox.submit_exam(customer=other, patient=CANARIES | {"date_of_birth": ""})
    await bridge.reaches(incomplete.request_uuid, ExamState.REVIEW)
    waiting = await sandbox.submit_exam(customer=await bridge.customer(), patient=CANARIES)
    await bridge.reaches(waiting.request_uuid, ExamState.WAITING)
    told = {}
    for path in ("exams", "events?limit=200", "overview", "links", "gaps", "users", "clarius/records"):
        answer = await ops.read.get(path)
        assert answer.status_code == 200, answer.text
        told[path] = answer.text
    told["metrics"] = (await ops.nobody.get(f"{bridge.url}/metrics")).text
    errors = [
        await ops.write.post(f"exams/{conflict.request_uuid}/release"),
        await ops.write.post(f"exams/{good.request_uuid}/cancel"),
        await ops.read.get(f"exams/{waiting.request_uuid}/captures/0"),
    ]
    assert all(error.status_code >= 400 for error in errors)
    told["errors"] = "".join(error.text for error in errors)
    async with bridge.resources.sessions.begin() as session:
        await note(session, conditions(await read_overview(session), bridge.resources.settings))
    async with bridge.resources.sessions() as session:
        alerts = (await session.scalars(select(Alert))).all()
    assert alerts
    told["alerts"] = "".join(alert.message + alert.condition for alert in alerts)
    return told
