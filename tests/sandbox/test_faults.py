"""Each kind of fault, seen by a real client on a real connection."""

import asyncio

import httpx
import pytest

from sandbox import faults
from tests.support.wait import until

PATIENT = {"given_names": "Ada", "family_name": "Ashgrove", "date_of_birth": "1980-01-02", "sex": "female"}
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


async def test_a_status_instead_of_the_answer_has_no_effect(sandbox, aurabox):
    rule = sandbox.faults.arm(faults.answer(500), server="aurabox", method="POST")
    assert (await aurabox.post("patients", json=PATIENT)).status_code == 500
    assert sandbox.journal.effects == []
    assert (await aurabox.post("patients", json=PATIENT)).status_code == 201
    assert (rule.hits, sandbox.faults.hits()) == (1, 1)
    assert [r.fault for r in sandbox.journal.requests] == ["status", None]


async def test_a_status_after_the_effect(sandbox, aurabox):
    sandbox.faults.arm(faults.answer(502, "bad gateway", after_effect=True), server="aurabox")
    answer = await aurabox.post("patients", json=PATIENT)
    assert (answer.status_code, answer.text) == (502, "bad gateway")
    assert len(sandbox.journal.effects_of("aurabox.patient.create")) == 1


@pytest.mark.parametrize("value", [7, "Wed, 21 Oct 2026 07:28:00 GMT", "soon", None])
async def test_429_with_each_kind_of_retry_after(sandbox, aurabox, value):
    sandbox.faults.arm(faults.too_many(value), server="aurabox")
    answer = await aurabox.get("patients")
    assert answer.status_code == 429
    assert answer.headers.get("retry-after") == (None if value is None else str(value))


async def test_cut_before_the_effect(sandbox, aurabox):
    sandbox.faults.arm(faults.cut_before(), method="POST")
    with pytest.raises(BROKEN):
        await aurabox.post("patients", json=PATIENT)
    assert sandbox.journal.effects == []
    assert sandbox.journal.requests[-1].status is None


async def test_cut_after_the_effect(sandbox, aurabox):
    sandbox.faults.arm(faults.cut_after(), method="POST")
    with pytest.raises(BROKEN):
        await aurabox.post("patients", json=PATIENT)
    assert len(sandbox.journal.effects_of("aurabox.patient.create")) == 1
    assert sandbox.journal.requests[-1].status is None


async def test_cut_in_the_middle_of_the_request(sandbox, aurabox):
    sandbox.faults.arm(faults.cut_request(20), method="POST")
    with pytest.raises(BROKEN):
        await aurabox.post("patients", json=PATIENT)
    assert sandbox.journal.effects == []
    assert sandbox.journal.requests[-1].request_bytes == 20


async def test_a_request_shorter_than_the_cut_passes(sandbox, aurabox):
    rule = sandbox.faults.arm(faults.cut_request(10_000), method="POST")
    assert (await aurabox.post("patients", json=PATIENT)).status_code == 201
    assert rule.hits == 1


async def test_a_truncated_body_breaks_its_promise(sandbox, clarius, stranger):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer())
    url = (await clarius.get(submitted.notification["download_url"])).json()["captures"][0]["url"]
    sandbox.faults.arm(faults.truncate(100), server="media")
    got = b""

    async def read() -> None:
        nonlocal got
        async with stranger.stream("GET", url) as answer:
            assert int(answer.headers["content-length"]) > 100
            async for chunk in answer.aiter_raw():
                got += chunk

    with pytest.raises(httpx.RemoteProtocolError):
        await read()
    assert len(got) == 100
    rest = await stranger.get(url, headers={"range": "bytes=100-"})
    assert len(got + rest.content) == submitted.captures[0].length


async def test_a_drip_arrives_in_pieces_and_whole(sandbox, clarius):
    sandbox.faults.arm(faults.drip(1, 0.0), server="clarius")
    async with clarius.stream("GET", "services/settings/") as answer:
        pieces = [chunk async for chunk in answer.aiter_raw()]
    assert b"".join(pieces) == b'{"notification_url":"","token_transfer_url":""}'


async def test_a_body_stalls_until_it_is_released_and_is_whole(sandbox, clarius):
    rule = sandbox.faults.arm(faults.stall(20), server="clarius")
    async with clarius.stream("GET", "services/settings/") as answer:
        pieces = answer.aiter_raw()
        first = await anext(pieces)
        rule.release()
        rest = [piece async for piece in pieces]
    assert len(first) == 20
    assert first + b"".join(rest) == b'{"notification_url":"","token_transfer_url":""}'


async def test_a_delay_is_waited_out(sandbox, clarius):
    rule = sandbox.faults.arm(faults.delay(0.3), server="clarius")
    late = asyncio.create_task(clarius.get("services/settings/"))
    await until(lambda: rule.hits == 1)
    assert (await clarius.get("services/settings/")).status_code == 200
    assert not late.done()
    assert (await late).status_code == 200


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_held_call_waits_for_its_release(sandbox, aurabox, after_effect):
    rule = sandbox.faults.arm(faults.hold(after_effect=after_effect), method="POST")
    call = asyncio.create_task(aurabox.post("patients", json=PATIENT))
    await until(lambda: rule.waiting == 1)
    assert len(sandbox.journal.effects) == int(after_effect)
    assert not call.done()
    rule.release()
    assert (await call).status_code == 201
    assert len(sandbox.journal.effects) == 1


async def test_clear_lets_go_of_what_is_held(sandbox, aurabox):
    rule = sandbox.faults.arm(faults.hold())
    call = asyncio.create_task(aurabox.get("patients"))
    await until(lambda: rule.waiting == 1)
    sandbox.faults.clear()
    assert (await call).status_code == 200
    assert sandbox.faults.rules == []


async def test_fields_of_the_answer_are_replaced(sandbox, clarius):
    await sandbox.submit_exam(customer=sandbox.add_customer(), shape="no-captures")
    sandbox.faults.arm(faults.replace(next="https://elsewhere.example/"), path="*/exams/accessible/")
    page = (await clarius.get("exams/accessible/")).json()
    assert page["next"] == "https://elsewhere.example/"
    assert page["count"] == 1


async def test_a_link_expires_when_it_is_first_used(sandbox, clarius, stranger):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer())
    captures = (await clarius.get(submitted.notification["download_url"])).json()["captures"]
    sandbox.faults.arm(faults.expire(), server="media")
    for _ in range(2):
        assert (await stranger.get(captures[0]["url"])).status_code == 403
    assert (await stranger.get(captures[1]["url"])).status_code == 200


async def test_what_is_hidden_is_readable_by_id_and_listed_after_release(sandbox, aurabox):
    rule = sandbox.faults.arm(faults.hide(), method="POST", path="*/patients")
    made = (await aurabox.post("patients", json=PATIENT)).json()["data"]["id"]
    assert (await aurabox.get("patients")).json()["data"] == []
    assert (await aurabox.get(f"patients/{made}")).status_code == 200
    rule.release()
    assert len((await aurabox.get("patients")).json()["data"]) == 1


async def test_what_is_hidden_for_a_time_shows_by_itself(sandbox, aurabox):
    sandbox.faults.arm(faults.hide(0.2), method="POST", path="*/studies")
    patient = (await aurabox.post("patients", json=PATIENT)).json()["data"]["id"]
    await aurabox.post(f"patients/{patient}/studies", json={"study_instance_uid": "2.25.1"})
    assert (await aurabox.get(f"patients/{patient}/studies")).json()["data"] == []

    async def listed():
        return (await aurabox.get(f"patients/{patient}/studies")).json()["data"]

    assert await until(listed)


async def test_rules_choose_by_time_team_and_text(sandbox, aurabox):
    other = sandbox.add_team("Other")
    sandbox.faults.arm(faults.answer(503), server="aurabox", nth=2, times=2)
    statuses = [(await aurabox.get("patients")).status_code for _ in range(4)]
    assert statuses == [200, 503, 503, 200]
    sandbox.faults.clear()
    sandbox.faults.arm(faults.answer(503), team="Other", times=None)
    assert (await aurabox.get("patients")).status_code == 200
    theirs = {"authorization": f"Bearer {other.key}"}
    for _ in range(2):
        assert (await aurabox.get("patients", headers=theirs)).status_code == 503
    sandbox.faults.clear()
    sandbox.faults.arm(faults.answer(503), contains="Birchwood")
    assert (await aurabox.post("patients", json=PATIENT)).status_code == 201
    other_name = {**PATIENT, "family_name": "Birchwood"}
    assert (await aurabox.post("patients", json=other_name)).status_code == 503
    assert (await aurabox.post("patients", json=other_name)).status_code == 201


async def test_a_predicate_sees_the_facts(sandbox, aurabox):
    seen = []
    sandbox.faults.arm(faults.answer(503), predicate=lambda facts: bool(seen.append(facts)))
    assert (await aurabox.get("patients", params={"search": "x"})).status_code == 200
    assert (seen[0].server, seen[0].method, seen[0].team) == ("aurabox", "GET", "Team One")
    assert "search=x" in seen[0].text


async def test_an_unknown_kind_from_json_is_refused(sandbox):
    with pytest.raises(ValueError, match="unknown fault kind"):
        sandbox.faults.arm_json({"fault": {"kind": "meteor"}})
