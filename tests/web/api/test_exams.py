"""Exams over the admin API: the shape, the filters, the acts, captures and reports."""

import base64
import json
import uuid

from app.states import ExamState
from tests.support.ops import Ops


async def delivered(ops: Ops, **shape):
    """One exam, delivered."""
    customer = await ops.bridge.customer(await ops.bridge.organization())
    submitted = await ops.sandbox.submit_exam(customer=customer, **shape)
    await ops.bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
    return submitted


async def test_a_delivered_exam_has_the_published_shape(ops: Ops):
    submitted = await delivered(ops)
    exam = (await ops.read.get(f"exams/{submitted.request_uuid}")).json()
    assert exam["state"] == "delivered"
    assert exam["source"] == "webhook"
    assert exam["error"] is None
    assert exam["organization"]["name"] == "Harbour Clinic"
    assert exam["aurabox"]["kind"] == "patient"
    assert exam["aurabox"]["study_id"]
    assert [one["sha256"] for one in exam["captures"]] == [one.sha256 for one in submitted.captures]
    assert [one["bytes"] for one in exam["captures"]] == [one.length for one in submitted.captures]
    assert exam["submitted_at"].endswith("Z")
    assert exam["delivered_at"].endswith("Z")
    assert {"verify", "fetch", "download", "match", "study", "confirm"} <= {
        one["step"] for one in exam["timeline"]
    }
    listed = (await ops.read.get("exams")).json()
    assert listed == {"items": [exam], "next_cursor": None}


async def test_pages_are_whole_and_in_order(ops: Ops):
    organization = await ops.bridge.organization()
    customer = await ops.bridge.customer(organization)
    wanted = [(await ops.sandbox.submit_exam(customer=customer, captures=[])).request_uuid for _ in range(5)]
    await ops.bridge.rests()
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await ops.read.get("exams", params=params)).json()
        seen += [one["request_uuid"] for one in page["items"]]
        assert len(page["items"]) <= 2
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == wanted[::-1]


async def test_filters(ops: Ops):
    submitted = await delivered(ops)
    waiting = await ops.sandbox.submit_exam(customer=await ops.bridge.customer())
    await ops.bridge.reaches(waiting.request_uuid, ExamState.WAITING)

    async def found(**params: str) -> set[str]:
        answer = await ops.read.get("exams", params=params)
        assert answer.status_code == 200, answer.text
        return {one["request_uuid"] for one in answer.json()["items"]}

    assert await found(state="delivered") == {submitted.request_uuid}
    assert await found(reason="link", state="waiting") == {waiting.request_uuid}
    assert await found(organization="Harbour Clinic") == {submitted.request_uuid}
    assert await found(q=submitted.request_uuid[:13]) == {submitted.request_uuid}
    assert await found(q=submitted.exam_uuid) == {submitted.request_uuid}
    assert await found(q="harbour") == {submitted.request_uuid}
    assert await found(since="2999-01-01T00:00:00Z") == set()
    assert await found(step="verify") == {waiting.request_uuid}


NONSENSE = (
    "limit=0",
    "limit=201",
    "limit=many",
    "state=asleep",
    "step=dance",
    "reason=none",
    "since=yesterday",
    "cursor=nonsense",
    "cursor=" + base64.urlsafe_b64encode(json.dumps(["x", "y"]).encode()).decode().rstrip("="),
    "q=%00",
)


async def test_nonsense_is_a_422_problem(ops: Ops):
    for query in NONSENSE:
        answer = await ops.read.get(f"exams?{query}")
        assert answer.status_code == 422, (query, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"]


async def test_cancel_and_retry_a_waiting_exam(ops: Ops):
    customer = await ops.bridge.customer()
    submitted = await ops.sandbox.submit_exam(customer=customer)
    await ops.bridge.reaches(submitted.request_uuid, ExamState.WAITING)
    path = f"exams/{submitted.request_uuid}"
    cancelled = await ops.write.post(f"{path}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["state"] == "cancelled"
    assert (await ops.write.post(f"{path}/cancel")).json()["state"] == "cancelled"
    release = await ops.write.post(f"{path}/release")
    assert release.status_code == 409
    assert release.json()["code"] == "stale_move"
    await ops.bridge.link(customer, await ops.bridge.organization())
    assert (await ops.write.post(f"{path}/retry")).status_code == 200
    await ops.bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
    # a retry of what is delivered changes nothing
    assert (await ops.write.post(f"{path}/retry")).json()["state"] == "delivered"
    assert len(ops.sandbox.journal.effects_of("aurabox.study.create")) == 1
    events = (await ops.read.get("events", params={"subject": submitted.request_uuid})).json()["items"]
    acts = [(one["action"], one["actor"]) for one in events if one["actor"] != "system"]
    assert acts == [("exam.retry", "token:write token"), ("exam.cancel", "token:write token")]
    assert all(one["address"] == "127.0.0.1" for one in events if one["actor"] != "system")


async def test_bulk_retry_counts_first(ops: Ops):
    customer = await ops.bridge.customer(await ops.bridge.organization())
    submitted = [await ops.sandbox.submit_exam(customer=customer, shape="list") for _ in range(3)]
    for one in submitted:
        await ops.bridge.reaches(one.request_uuid, ExamState.FAILED)
    counted = await ops.write.post("exams/retry", json={"state": "failed", "dry_run": True})
    assert counted.json() == {"matched": 3, "retried": 0}
    assert (await ops.write.post("exams/retry", json={"state": "failed"})).json() == {
        "matched": 3,
        "retried": 3,
    }


async def test_unknown_exams_are_404_on_every_route(ops: Ops):
    strange = uuid.uuid4()
    for method, path, body in (
        ("GET", "", None),
        ("POST", "/retry", None),
        ("POST", "/release", None),
        ("POST", "/cancel", None),
        ("POST", "/identity", {"choice": "same"}),
        ("GET", "/captures/0", None),
    ):
        answer = await ops.write.request(method, f"exams/{strange}{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_exam"), path
    answer = await ops.write.post(
        f"exams/{strange}/reports", data={"name": "x"}, files={"file": ("a.pdf", b"%PDF", "application/pdf")}
    )
    assert answer.status_code == 404
    assert ops.sandbox.clarius.reports == []


async def test_an_exam_that_no_webhook_told_is_imported(ops: Ops):
    customer = await ops.bridge.customer(await ops.bridge.organization())
    submitted = await ops.sandbox.submit_exam(customer=customer, notify_times=0)
    answer = await ops.write.post("exams/import", json={"request_uuid": submitted.request_uuid})
    assert answer.status_code == 201, answer.text
    await ops.bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
    missing = await ops.write.post("exams/import", json={"request_uuid": str(uuid.uuid4())})
    assert (missing.status_code, missing.json()["code"]) == (404, "not_listed")


async def test_a_capture_is_served_as_it_came_and_the_look_is_audited(ops: Ops):
    submitted = await delivered(ops)
    first = submitted.captures[0]
    answer = await ops.read.get(f"exams/{submitted.request_uuid}/captures/0")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == first.content_type
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.content) == first.length
    assert (await ops.read.get(f"exams/{submitted.request_uuid}/captures/99")).json()["code"] == (
        "no_such_capture"
    )
    looks = (await ops.read.get("events", params={"action": "capture.view"})).json()["items"]
    assert [(one["subject"], one["actor"]) for one in looks] == [(submitted.request_uuid, "token:read token")]


async def test_a_report_reaches_the_exam_at_clarius(ops: Ops):
    submitted = await delivered(ops)
    answer = await ops.write.post(
        f"exams/{submitted.request_uuid}/reports",
        data={"name": "Findings"},
        files={"file": ("../../findings\n.pdf", b"%PDF-1.7 invented", "application/pdf")},
    )
    assert answer.status_code == 201, answer.text
    [report] = ops.sandbox.clarius.reports
    assert (report.request_uuid, report.name, report.content) == (
        submitted.request_uuid,
        "Findings",
        b"%PDF-1.7 invented",
    )
    assert "/" not in report.filename
    assert "\n" not in report.filename
