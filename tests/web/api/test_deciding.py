"""Deciding over the admin API: what an exam in review can come to is said, done and audited; links move with their exams."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import update

from app.config.settings import Settings
from app.states import ExamState
from app.store.exams import Exam
from tests.support.bridge import open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.ops import Ops, open_ops
from tests.support.rig import SHORT
from tests.support.wait import until

ANN = {
    "identifier": "P-1",
    "first_name": "Ann",
    "last_name": "Ash",
    "date_of_birth": "1980-01-02",
    "gender": "F",
}
BOB = ANN | {"first_name": "Bob", "last_name": "Birch", "gender": "M"}


async def in_review(ops: Ops, customer: str, patient: dict[str, Any]) -> str:
    submitted = await ops.sandbox.submit_exam(customer=customer, patient=patient, captures=())
    await ops.bridge.reaches(submitted.request_uuid, ExamState.REVIEW)
    return submitted.request_uuid


async def delivered(ops: Ops, customer: str, patient: dict[str, Any]) -> str:
    submitted = await ops.sandbox.submit_exam(customer=customer, patient=patient, captures=())
    await ops.bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
    return submitted.request_uuid


async def decide(ops: Ops, request_uuid: str, decision: str, **more: str) -> httpx.Response:
    return await ops.write.post(f"exams/{request_uuid}/decide", json={"decision": decision, **more})


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_what_can_be_decided_is_said_before_and_in_the_audit_trail_after(ops: Ops) -> None:
    organization = await ops.bridge.organization(images="none")
    customer = await ops.bridge.customer(organization)
    first = (await ops.read.get(f"exams/{await delivered(ops, customer, ANN)}")).json()
    (link,) = (await ops.read.get("links")).json()["items"]
    assert first["filing"] == {
        "organization": {"id": str(organization.id), "name": "Harbour Clinic"},
        "policy_version": 1,
        "link": link["id"],
        "customer_hint": customer[-4:],
        "kind": "patient",
        "mode": "identified",
        "decided_by": "rules",
        "decision": None,
    }
    assert (first["ways"], first["mend"], first["claims"]) == ([], None, [])
    request = await in_review(ops, customer, BOB)
    shown = (await ops.read.get(f"exams/{request}")).json()
    assert {way["decision"] for way in shown["ways"]} == {"separate", "same"}
    assert all(way["says"] and way["subjects"] == [] for way in shown["ways"])
    assert told(await ops.write.post(f"exams/{request}/release")) == (409, "decision_needed")
    assert told(await decide(ops, request, "as-case")) == (409, "stale_move")
    assert told(await decide(ops, request, "perhaps")) == (422, "invalid")
    assert told(await decide(ops, str(uuid4()), "same")) == (404, "no_such_exam")
    answer = await decide(ops, request, "separate")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["filing"]["decision"], answer.json()["filing"]["decided_by"]) == (
        "separate",
        "token:write token",
    )
    assert (await decide(ops, request, "separate")).status_code == 200, "twice is once"
    await ops.bridge.reaches(request, ExamState.DELIVERED)
    events = (await ops.read.get("events", params={"action": "exam.decide"})).json()["items"]
    ((event,),) = (events,)
    assert (event["action"], event["actor"], event["subject"]) == (
        "exam.decide.separate",
        "token:write token",
        request,
    )
    assert event["detail"] == (
        "was review (identity_conflict) at match, filing 1; "
        f"now filing 2: separate for organisation {organization.id}"
    )


async def test_one_of_several_known_people_has_to_be_named(ops: Ops) -> None:
    customer = await ops.bridge.customer(await ops.bridge.organization(images="none"))
    await delivered(ops, customer, ANN)
    second = await in_review(ops, customer, BOB)
    await decide(ops, second, "separate")
    await ops.bridge.reaches(second, ExamState.DELIVERED)
    third = await in_review(ops, customer, ANN | {"first_name": "Cleo", "last_name": "Cole", "gender": "O"})
    people = [person.id for person in ops.sandbox.team().people.values()]
    ways = {way["decision"]: way for way in (await ops.read.get(f"exams/{third}")).json()["ways"]}
    assert sorted(ways["same"]["subjects"]) == sorted(people)
    assert told(await decide(ops, third, "same")) == (422, "which_one")
    assert told(await decide(ops, third, "same", subject="somebody")) == (422, "which_one")
    assert (await decide(ops, third, "same", subject=people[1])).status_code == 200
    await ops.bridge.reaches(third, ExamState.DELIVERED)
    studies = {person.id: len(person.studies) for person in ops.sandbox.team().people.values()}
    assert (studies[people[0]], studies[people[1]]) == (1, 2)


async def test_what_is_no_longer_kept_is_read_anew_first(ops: Ops) -> None:
    organization = await ops.bridge.organization(images="none", incomplete="hold")
    request = await in_review(ops, await ops.bridge.customer(organization), {"identifier": "P-5"})
    async with ops.bridge.resources.sessions.begin() as session:
        await session.execute(
            update(Exam).where(Exam.request_uuid == UUID(request)).values(exam_data_sealed=None)
        )
    shown = (await ops.read.get(f"exams/{request}")).json()
    assert shown["ways"] == []
    assert "reads it anew" in shown["mend"]
    assert told(await decide(ops, request, "as-case")) == (409, "no_exam_data")


async def test_an_exam_whose_account_is_linked_to_nobody_can_not_be_filed_again(ops: Ops) -> None:
    organization = await ops.bridge.organization(images="none", incomplete="hold")
    request = await in_review(ops, await ops.bridge.customer(organization), {"identifier": "P-5"})
    (link,) = (await ops.read.get("links")).json()["items"]
    assert link["exams_under_way"] == 1
    assert (await ops.write.delete(f"links/{link['id']}")).status_code == 204
    await ops.write.post(f"exams/{request}/retry")

    async def held() -> dict[str, Any]:
        shown: dict[str, Any] = (await ops.read.get(f"exams/{request}")).json()
        assert (shown["state"], (shown["error"] or {}).get("code")) == ("review", "link_changed")
        return shown

    shown = await until(held)
    assert shown["ways"] == []
    assert "once it is linked" in shown["mend"]
    assert told(await decide(ops, request, "refile")) == (409, "not_linked")


@pytest.mark.parametrize("under_way", [None, "refile", "cancel"])
async def test_a_link_moves_and_says_how_many_exams_that_concerns(ops: Ops, under_way: str | None) -> None:
    organization = await ops.bridge.organization(images="none", incomplete="hold")
    await ops.bridge.organization("Lakeside Clinic", images="none", incomplete="hold")
    request = await in_review(ops, await ops.bridge.customer(organization), {"identifier": "P-5"})
    (link,) = (await ops.read.get("links")).json()["items"]
    assert link["exams_under_way"] == 1
    path = f"links/{link['id']}/move"
    wrong = await ops.write.post(path, json={"organization": "Lakeside Clinic", "under_way": "burn"})
    assert told(wrong) == (422, "invalid")
    body = {"organization": "Lakeside Clinic"} | ({"under_way": under_way} if under_way else {})
    moved = await ops.write.post(path, json=body)
    assert moved.status_code == 200, moved.text
    assert (moved.json()["organization"]["name"], moved.json()["state"]) == ("Lakeside Clinic", "confirmed")
    (event,) = (await ops.read.get("events", params={"action": "link.move"})).json()["items"]
    assert event["detail"].endswith(f"1 exams under way: {under_way or 'hold'}")
    if under_way == "cancel":
        assert (await ops.read.get(f"exams/{request}")).json()["state"] == "cancelled"
        return
    # one that waits for a decision already waits for this one too: it is looked at when it goes on
    await decide(ops, request, "as-case")

    async def held() -> dict[str, Any]:
        shown: dict[str, Any] = (await ops.read.get(f"exams/{request}")).json()
        wanted = "patient_incomplete" if under_way == "refile" else "link_changed"
        assert (shown["state"], (shown["error"] or {}).get("code")) == ("review", wanted)
        return shown

    shown = await until(held)
    if under_way == "refile":
        assert shown["filing"]["organization"]["name"] == "Lakeside Clinic"
        return
    (way,) = shown["ways"]
    assert way["decision"] == "refile"
    assert way["says"].endswith("That is Lakeside Clinic.")
    assert (await decide(ops, request, "refile")).json()["organization"]["name"] == "Lakeside Clinic"


async def test_an_unverified_exam_says_who_announced_it_from_where_and_whose_it_would_be(
    settings: Settings,
) -> None:
    wanted = {**SHORT, "clarius_verify_window": 1}
    async with (
        Sandbox() as sandbox,
        open_bridge(settings_for(settings, sandbox, **wanted), sandbox) as bridge,
        open_ops(bridge) as ops,
    ):
        organization = await bridge.organization(images="none")
        customer = await bridge.customer(organization)
        forged, theirs = str(uuid4()), str(uuid4())
        stranger = sandbox.add_customer()
        for whose, named in ((stranger, forged), (customer, theirs)):
            await sandbox.notify_raw(
                {
                    "request_uuid": forged,
                    "exam_uuid": str(uuid4()),
                    "customer_id": whose,
                    "download_url": f"https://me:secret@clarius.example/exams/{named}/data/?sign=secret",
                    "submitted_at": "2026-01-01T00:00:00Z",
                }
            )

        async def both_refuted() -> list[dict[str, Any]]:
            shown = (await ops.read.get(f"exams/{forged}")).json()
            if shown["state"] == "waiting" and shown["reason"] == "link":
                await bridge.link(stranger, organization)
            assert shown["state"] == "unverified"
            claims: list[dict[str, Any]] = shown["claims"]
            return claims

        claims = await until(both_refuted, timeout=60)
        assert "secret" not in str(claims)
        (one,) = [claim for claim in claims if claim["customer_hint"] == customer[-4:]]
        assert one | {"received_at": None} == {
            "customer_hint": customer[-4:],
            "organization": {"id": str(organization.id), "name": "Harbour Clinic"},
            "host": "clarius.example",
            "path": f"/exams/{theirs}/data/",
            "names_this_request": False,
            "received_at": None,
        }
        shown = (await ops.read.get("exams", params={"state": "unverified"})).json()["items"]
        assert [item["claims"] for item in shown] == [claims]
        done = await ops.write.post("exams/retry", json={"dry_run": True})
        assert done.json() == {"matched": 0, "retried": 0}, "vouched for one by one, or by name of the state"
