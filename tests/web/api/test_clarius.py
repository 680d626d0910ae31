"""Clarius over the admin API, against the simulated Clarius: C4–C16 by their effects there."""

import pytest

from app.consoles.registration import our_urls
from app.upstreams.gate import Held, calling
from sandbox.clarius.state import EXAM_APPLICATIONS
from sandbox.faults import answer as answering
from tests.support.ops import Ops

APPLICATION = next(iter(EXAM_APPLICATIONS))


async def test_settings_are_read_changed_and_registered(ops: Ops):
    assert (await ops.read.get("clarius/settings")).json() == ops.sandbox.clarius.settings
    changed = await ops.write.patch(
        "clarius/settings", json={"notification_url": "https://other.example/hook"}
    )
    assert changed.json()["notification_url"] == "https://other.example/hook"
    assert ops.sandbox.clarius.settings["notification_url"] == "https://other.example/hook"
    refused = await ops.write.patch("clarius/settings", json={"token_transfer_url": "https://x.example/no"})
    assert (refused.status_code, refused.json()["code"]) == (422, "clarius_rejected")
    assert refused.json()["errors"]
    assert (await ops.write.patch("clarius/settings", json={})).status_code == 422
    registered = (await ops.write.post("clarius/register")).json()
    assert registered["matches"] is True
    ours = our_urls(ops.bridge.resources.settings)
    assert ops.sandbox.clarius.settings == {
        "notification_url": ours.notification_url,
        "token_transfer_url": ours.token_transfer_url,
    }


async def test_records_stand_beside_our_receipts(ops: Ops):
    customer = await ops.bridge.customer()
    taken = await ops.sandbox.submit_exam(customer=customer)
    ops.sandbox.clarius.settings["notification_url"] = f"{ops.bridge.url}/wrong"
    lost = await ops.sandbox.submit_exam(customer=customer, listed=False)
    page = (await ops.read.get("clarius/records", params={"limit": 1})).json()
    [missing] = page["items"]
    assert (missing["request_uuid"], missing["known"], missing["status"]) == (lost.request_uuid, False, 404)
    [known] = (await ops.read.get("clarius/records", params={"cursor": page["next_cursor"]})).json()["items"]
    assert (known["request_uuid"], known["known"], known["status"]) == (taken.request_uuid, True, 202)
    assert customer not in str(page) + str(known)


async def test_confirmed_tokens_stand_beside_our_links(ops: Ops):
    linked = await ops.bridge.customer(await ops.bridge.organization())
    stranger = ops.sandbox.add_customer(confirmed=True)
    answer = await ops.read.get("clarius/confirmed-tokens")
    by_hint = {one["customer_hint"]: one for one in answer.json()["items"]}
    assert by_hint[linked[-4:]]["difference"] is None
    assert by_hint[linked[-4:]]["organization"]["name"] == "Harbour Clinic"
    assert by_hint[stranger[-4:]]["difference"] == "no_link"
    assert answer.json()["items"][0]["difference"] == "no_link"
    ops.sandbox.clarius.customers[linked] = False
    changed = (await ops.read.get("clarius/confirmed-tokens")).json()["items"]
    assert {one["difference"] for one in changed} == {"no_link", "not_at_clarius"}
    assert linked not in answer.text
    assert stranger not in answer.text


async def test_keys_are_made_listed_revoked_and_rotated(ops: Ops):
    made = await ops.write.post("clarius/api-keys", json={"name": "spare"})
    assert made.status_code == 201, made.text
    spare = made.json()
    assert ops.sandbox.clarius.keys[spare["prefix"]].key == spare["key"]
    listed = (await ops.read.get("clarius/api-keys")).json()["items"]
    used = next(one for one in listed if one["in_use"])
    assert len(listed) == 2
    assert used["prefix"] != spare["prefix"]
    assert spare["key"] not in str(listed)
    refused = await ops.write.delete(f"clarius/api-keys/{used['prefix']}")
    assert (refused.status_code, refused.json()["code"]) == (422, "clarius_rejected")
    assert (await ops.write.delete(f"clarius/api-keys/{spare['prefix']}")).status_code == 204
    assert spare["prefix"] not in ops.sandbox.clarius.keys
    assert (await ops.write.delete("clarius/api-keys/0000")).status_code == 404
    rotated = await ops.write.post("clarius/api-keys/rotate")
    assert rotated.status_code == 200, rotated.text
    assert rotated.json()["in_use"] is True
    assert set(ops.sandbox.clarius.keys) == {rotated.json()["prefix"]}
    assert (await ops.write.post("reconcile")).status_code == 200


async def test_applications_are_listed_and_customised(ops: Ops):
    every = (await ops.read.get("clarius/applications")).json()["items"]
    assert {one["uuid"] for one in every} == set(EXAM_APPLICATIONS)
    body = {"annotations": [{"title": "Side", "labels": ["left", "right"], "linked": False}]}
    assert (await ops.read.get(f"clarius/applications/{APPLICATION}")).status_code == 404
    stored = await ops.write.put(f"clarius/applications/{APPLICATION}", json=body)
    assert stored.status_code == 200, stored.text
    assert ops.sandbox.clarius.customised[APPLICATION] == body["annotations"]
    assert (await ops.read.get(f"clarius/applications/{APPLICATION}")).json() == {
        "uuid": APPLICATION,
        "name": EXAM_APPLICATIONS[APPLICATION],
        **body,
    }
    assert len((await ops.read.get("clarius/applications/customised")).json()["items"]) == 1
    assert (await ops.write.delete(f"clarius/applications/{APPLICATION}")).status_code == 204
    assert ops.sandbox.clarius.customised == {}


async def test_trouble_at_clarius_is_a_424_with_its_reason(ops: Ops):
    ops.sandbox.faults.arm(answering(503), server="clarius", path="*/services/settings/", times=None)
    answer = await ops.read.get("clarius/settings")
    assert (answer.status_code, answer.json()["code"]) == (424, "clarius_unavailable")
    ops.sandbox.faults.clear()
    # this one call alone: the worker has calls of its own at any time
    ops.sandbox.faults.arm(answering(401), server="clarius", path="*/services/settings/", times=None)
    refused = await ops.read.get("clarius/settings")
    assert (refused.status_code, refused.json()["code"]) == (424, "clarius_credentials")
    # a person's look pauses nothing; the bridge's own calls do
    assert (await ops.read.get("overview")).json()["paused"] == []
    with pytest.raises(Held):
        async with calling(ops.bridge.resources, "clarius"):
            await (await ops.bridge.resources.clarius()).settings()
    paused = (await ops.read.get("overview")).json()["paused"]
    assert [one["account"] for one in paused] == ["clarius"]
