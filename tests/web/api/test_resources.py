"""Organisations, users, links, events and the overview over the admin API."""

import uuid

from app.states import ExamState
from tests.support.ops import Ops
from tests.support.wait import until


async def test_an_organization_is_made_read_changed_tested_and_removed(ops: Ops):
    team = ops.sandbox.team()
    made = await ops.write.post(
        "organizations",
        json={"name": "Lakeside", "aurabox_key": team.key, "timezone": "Australia/Melbourne", "masks": []},
    )
    assert made.status_code == 201, made.text
    shown = made.json()
    assert shown["has_aurabox_key"] is True
    assert shown["has_service_key"] is False
    assert "aurabox_key" not in shown
    assert team.key not in made.text
    for name in (shown["id"], "Lakeside"):
        assert (await ops.read.get(f"organizations/{name}")).json() == shown
    assert (await ops.read.get("organizations")).json() == {"items": [shown], "next_cursor": None}
    changed = await ops.write.patch(
        "organizations/Lakeside", json={"incomplete": "hold", "keep_birth_date": True}
    )
    assert (changed.json()["incomplete"], changed.json()["keep_birth_date"]) == ("hold", True)
    tested = await ops.write.post("organizations/Lakeside/test")
    assert tested.json()["ok"] is True, tested.text
    await ops.write.patch("organizations/Lakeside", json={"aurabox_key": "wrong-key"})
    broken = (await ops.write.post("organizations/Lakeside/test")).json()
    assert broken["ok"] is False
    assert broken["checks"][0]["remedy"]
    assert (await ops.write.delete("organizations/Lakeside")).status_code == 204
    assert (await ops.read.get("organizations/Lakeside")).json()["code"] == "no_such_organization"
    actions = [
        one["action"]
        for one in (await ops.read.get("events", params={"action": "organization"})).json()["items"]
    ]
    assert actions == [
        "organization.remove",
        "organization.change",
        "organization.change",
        "organization.add",
    ]


WRONG_ORGANIZATIONS = (
    {},
    {"name": "No key"},
    {"name": "", "aurabox_key": "k"},
    {"name": "X", "aurabox_key": "k", "identity": "secret"},
    {"name": "X", "aurabox_key": "k", "unheard": 1},
    {"name": "X", "aurabox_key": "k", "masks": [[1, 2, 3]]},
    {"name": "X", "aurabox_key": "k", "timezone": "Mars/Olympus"},
    {"name": "X\x00", "aurabox_key": "k"},
    {
        "name": "X",
        "aurabox_key": "k",
        "identity": "deidentified",
        "images": "dicomweb",
        "dicomweb_url": "https://a.example",
    },
)


async def test_a_wrong_organization_is_refused_without_repeating_its_key(ops: Ops):
    for body in WRONG_ORGANIZATIONS:
        answer = await ops.write.post("organizations", json=body)
        assert answer.status_code == 422, (body, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await ops.read.get("organizations")).json()["items"] == []


async def test_users_are_added_invited_changed_and_disabled(ops: Ops):
    organization = await ops.bridge.organization()
    added = await ops.write.post(
        "users",
        json={
            "email": "Ana.Novak@example.org",
            "organization": organization.name,
            "role": "admin",
            "password": "violet kettle seventeen",
        },
    )
    assert added.status_code == 201, added.text
    assert added.json()["invited"] is False
    assert "violet" not in added.text
    invited = await ops.write.post(
        "users", json={"email": "leo@example.org", "organization": str(organization.id), "invite": True}
    )
    assert "/invite/" in invited.json()["invitation_url"]
    assert (await ops.read.get("users/leo@example.org")).json()["invited"] is True
    both = await ops.write.post("users", json={"email": "x@example.org", "organization": organization.name})
    assert both.json()["code"] == "password_or_invite"
    taken = await ops.write.post(
        "users", json={"email": "ana.novak@example.org", "organization": organization.name, "invite": True}
    )
    assert (taken.status_code, taken.json()["code"]) == (409, "email_taken")
    changed = await ops.write.patch("users/leo@example.org", json={"role": "admin", "disabled": True})
    assert (changed.json()["role"], changed.json()["disabled"]) == ("admin", True)
    assert (await ops.write.patch("users/leo@example.org", json={"disabled": False})).json()[
        "disabled"
    ] is False
    assert (await ops.write.delete(f"users/{changed.json()['id']}")).status_code == 204
    page = (await ops.read.get("users", params={"limit": 1})).json()
    rest = (await ops.read.get("users", params={"limit": 1, "cursor": page["next_cursor"]})).json()
    assert [page["items"][0]["email"], rest["items"][0]["email"]] == [
        "Ana.Novak@example.org",
        "leo@example.org",
    ]
    assert rest["next_cursor"] is None
    assert (await ops.read.get("users/nobody@example.org")).json()["code"] == "no_such_user"


async def test_links_are_listed_confirmed_moved_and_ended(ops: Ops):
    first = await ops.bridge.organization()
    token = await ops.bridge.customer(first)
    [link] = (await ops.read.get("links")).json()["items"]
    assert set(link) == {
        "id",
        "organization",
        "user",
        "customer_hint",
        "state",
        "created_at",
        "confirmed_at",
        "error",
        "exams_under_way",
    }
    assert (link["state"], link["customer_hint"]) == ("confirmed", token[-4:])
    assert token not in str(link)
    assert (await ops.write.post(f"links/{link['id']}/confirm")).json()["state"] == "confirmed"
    second = await ops.bridge.organization("Lakeside", team=ops.sandbox.add_team("Two"))
    moved = (await ops.write.post(f"links/{link['id']}/move", json={"organization": "Lakeside"})).json()
    assert (moved["organization"]["id"], moved["state"]) == (str(second.id), "confirmed")
    states = [one["state"] for one in (await ops.read.get("links")).json()["items"]]
    assert sorted(states) == ["confirmed", "disconnected"]
    assert (await ops.write.delete(f"links/{moved['id']}")).status_code == 204
    ended = await ops.write.post(f"links/{moved['id']}/confirm")
    assert (ended.status_code, ended.json()["code"]) == (409, "link_ended")
    assert (await ops.write.delete(f"links/{uuid.uuid4()}")).json()["code"] == "no_such_link"


async def has_polled(ops: Ops) -> bool:
    """Whether the poll of the start is over: it must not find the exam before its notification is taken."""
    return (await ops.read.get("overview")).json()["last_reconcile_at"] is not None


async def test_the_overview_tells_where_everything_stands(ops: Ops):
    await until(lambda: has_polled(ops))
    waiting = await ops.sandbox.submit_exam(customer=await ops.bridge.customer())
    await ops.bridge.reaches(waiting.request_uuid, ExamState.WAITING)
    seen = (await ops.read.get("overview")).json()
    assert seen["states"]["waiting"] == 1
    assert seen["waiting"]["link"] == 1
    assert seen["last_webhook_at"]
    assert len(seen["workers"]) == 1
    assert set(seen["workers"][0]) == {"id", "host", "heartbeat_at"}
    assert (seen["paused"], seen["breakers"], seen["alerts"]) == ([], [], [])
    assert seen["oldest_due_seconds"] is None


async def test_events_come_in_pages_and_by_filter(ops: Ops):
    await ops.bridge.organization()
    await ops.bridge.organization("Lakeside", team=ops.sandbox.add_team("Two"))
    page = (await ops.read.get("events", params={"limit": 1, "action": "organization.add"})).json()
    rest = (
        await ops.read.get(
            "events", params={"limit": 1, "action": "organization.add", "cursor": page["next_cursor"]}
        )
    ).json()
    assert page["items"][0]["id"] > rest["items"][0]["id"]
    assert rest["next_cursor"] is None
    assert set(page["items"][0]) == {"id", "at", "actor", "action", "subject", "result", "detail", "address"}
    assert (await ops.read.get("events", params={"actor": "nobody"})).json()["items"] == []


async def test_reconcile_finds_what_no_webhook_told_and_gaps_say_what_is_missing(ops: Ops):
    customer = await ops.bridge.customer()
    missed = await ops.sandbox.submit_exam(customer=customer, notify_times=0)
    found = (await ops.write.post("reconcile")).json()
    assert found["looked_at"] == 1
    [gap] = (await ops.read.get("gaps")).json()["items"]
    assert gap["request_uuid"] == missed.request_uuid
    assert gap["exam_uuid"] == missed.exam_uuid
    assert "link" in gap["reason"]
    assert set(gap) == {"request_uuid", "exam_uuid", "organization", "submitted_at", "reason"}
