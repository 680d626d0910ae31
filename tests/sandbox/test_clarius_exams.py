"""C1–C5 and the capture store, over HTTP against the running sandbox."""

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from sandbox.exam_shapes import SHAPES

PERSON = "SB-000001"


async def first_capture(clarius, submitted) -> str:
    body = (await clarius.get(submitted.notification["download_url"])).json()
    return body["captures"][0]["url"]


async def test_every_call_wants_the_key_in_the_documented_scheme(sandbox, stranger):
    url = f"{sandbox.clarius_url}/api/public/v0/exams/accessible/"
    for header in (None, f"Token {sandbox.clarius_key}", "Service-API-Key wrong.key"):
        headers = {} if header is None else {"authorization": header}
        assert (await stranger.get(url, headers=headers)).status_code == 401


async def test_a_missing_trailing_slash_is_not_found(clarius):
    assert (await clarius.get("exams/accessible")).status_code == 404
    assert (await clarius.post("services/customer-confirmations", json={"token": "x"})).status_code == 404


async def test_poll_pages_newest_first_and_filters_by_customer(sandbox, clarius):
    ours, other = sandbox.add_customer(), sandbox.add_customer()
    made = [await sandbox.submit_exam(customer=ours, shape="no-captures") for _ in range(3)]
    await sandbox.submit_exam(customer=other, shape="no-captures")
    page = (await clarius.get("exams/accessible/", params={"customer_id": ours, "limit": 2})).json()
    assert page["count"] == 3
    assert page["previous"] is None
    rest = (await clarius.get(page["next"])).json()
    assert rest["next"] is None
    assert rest["previous"] is not None
    seen = [r["request_uuid"] for r in page["results"] + rest["results"]]
    assert seen == [m.request_uuid for m in reversed(made)]
    assert set(page["results"][0]) == set(made[0].notification)
    assert (await clarius.get("exams/accessible/", params={"customer_id": "nobody"})).json()["count"] == 0


async def test_exam_data_under_both_url_shapes(sandbox, clarius):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer(), number=1)
    polled = (await clarius.get("exams/accessible/")).json()["results"][0]["download_url"]
    assert polled != submitted.notification["download_url"]
    for url in (polled, submitted.notification["download_url"]):
        body = (await clarius.get(url)).json()
        assert body["patient"]["identifier"] == PERSON
        assert len(body["captures"]) == 3


async def test_a_deleted_exam_is_gone_and_one_kept_back_is_not_listed(sandbox, clarius):
    customer = sandbox.add_customer()
    kept = await sandbox.submit_exam(customer=customer, shape="no-captures", listed=False)
    assert (await clarius.get("exams/accessible/")).json()["count"] == 0
    sandbox.list_exam(kept.request_uuid)
    assert (await clarius.get("exams/accessible/")).json()["count"] == 1
    sandbox.delete_exam(kept.request_uuid)
    assert (await clarius.get("exams/accessible/")).json()["count"] == 0
    assert (await clarius.get(kept.notification["download_url"])).status_code == 404


RAW = {"not-json", "cut-json", "gzip-bomb"}
SLOW = {"many-captures"}


@pytest.mark.parametrize("name", sorted(SHAPES.keys() - RAW - SLOW))
async def test_every_shape_is_served_as_json(sandbox, clarius, name):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer(), shape=name)
    answer = await clarius.get(submitted.notification["download_url"])
    assert answer.status_code == 200
    body = answer.json()
    if name in ("list", "string", "null"):
        assert not isinstance(body, dict)
    else:
        assert body["request_uuid"] == submitted.request_uuid
        assert ("patient" in body) == (name != "patient-missing")


async def test_raw_shapes_are_not_what_they_say(sandbox, clarius):
    customer = sandbox.add_customer()
    for name in ("not-json", "cut-json"):
        submitted = await sandbox.submit_exam(customer=customer, shape=name)
        answer = await clarius.get(submitted.notification["download_url"])
        with pytest.raises(json.JSONDecodeError):
            answer.json()
    bomb = await sandbox.submit_exam(customer=customer, shape="gzip-bomb")
    async with clarius.stream("GET", bomb.notification["download_url"]) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        packed = sum([len(chunk) async for chunk in answer.aiter_raw()])
    assert packed < 2 << 20


async def test_five_hundred_captures_are_all_different(sandbox, clarius):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer(), shape="many-captures")
    assert len({c.sha256 for c in submitted.captures}) == 500
    assert len((await clarius.get(submitted.notification["download_url"])).json()["captures"]) == 500


async def test_a_second_submission_keeps_the_exam_and_adds_captures(sandbox):
    customer = sandbox.add_customer()
    first = await sandbox.submit_exam(customer=customer)
    second = await sandbox.submit_exam(customer=customer, again=first.request_uuid, captures=["png"])
    assert second.exam_uuid == first.exam_uuid
    assert second.request_uuid != first.request_uuid
    assert second.captures[:3] == first.captures
    assert len({c.sha256 for c in second.captures}) == 4
    same = await sandbox.submit_exam(customer=customer, again=first.request_uuid)
    assert same.captures == first.captures


async def test_presigned_links_refuse_credentials_and_serve_what_was_made(sandbox, clarius, stranger):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer())
    url = await first_capture(clarius, submitted)
    assert url.startswith(sandbox.media_url)
    assert (await clarius.get(url)).status_code == 400
    assert (await stranger.get(url, headers={"x-api-key": "k"})).status_code == 400
    answer = await stranger.get(url)
    assert hashlib.sha256(answer.content).hexdigest() == submitted.captures[0].sha256
    assert answer.headers["content-length"] == str(submitted.captures[0].length)
    assert (await stranger.head(url)).headers["etag"] == answer.headers["etag"]
    assert (await stranger.get(url.replace("signature=", "signature=0"))).status_code == 403
    assert (await stranger.get(url + "0")).status_code == 403


async def test_ranges_resume_only_while_the_capture_is_the_same(sandbox, clarius, stranger):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer())
    url, capture = await first_capture(clarius, submitted), submitted.captures[0]
    whole = (await stranger.get(url)).content
    part = await stranger.get(url, headers={"range": "bytes=10-", "if-range": capture.etag})
    assert (part.status_code, part.content) == (206, whole[10:])
    assert part.headers["content-range"] == f"bytes 10-{len(whole) - 1}/{len(whole)}"
    assert (await stranger.get(url, headers={"range": "bytes=3-5"})).content == whole[3:6]
    assert (await stranger.get(url, headers={"range": "bytes=-4"})).content == whole[-4:]
    past = await stranger.get(url, headers={"range": f"bytes={len(whole)}-"})
    assert (past.status_code, past.headers["content-range"]) == (416, f"bytes */{len(whole)}")
    changed = await sandbox.change_capture(capture.id, seed=987)
    fresh = await stranger.get(url, headers={"range": "bytes=10-", "if-range": capture.etag})
    assert (fresh.status_code, fresh.headers["etag"]) == (200, changed.etag)
    assert fresh.content != whole


async def test_expired_links_are_refused_and_a_new_look_signs_new_ones(sandbox, clarius, stranger):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer())
    old = await first_capture(clarius, submitted)
    assert sandbox.clarius.expire_links() == 3
    refused = await stranger.get(old)
    assert refused.status_code == 403
    assert "expired" in refused.text
    assert (await stranger.get(await first_capture(clarius, submitted))).status_code == 200


async def test_captures_on_clarius_own_origin_want_the_key(sandbox, clarius, stranger):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer(), at_clarius=True)
    url = await first_capture(clarius, submitted)
    assert url.startswith(sandbox.clarius_url)
    assert (await stranger.get(url)).status_code == 401
    assert hashlib.sha256((await clarius.get(url)).content).hexdigest() == submitted.captures[0].sha256


async def test_an_endless_capture_has_no_length_and_keeps_coming(sandbox, clarius, stranger):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer(), captures=["endless"])
    read = 0
    async with stranger.stream("GET", await first_capture(clarius, submitted)) as answer:
        assert "content-length" not in answer.headers
        async for chunk in answer.aiter_raw():
            read += len(chunk)
            if read > 1 << 20:
                break
    assert read > 1 << 20


async def test_large_captures_on_request(sandbox):
    submitted = await sandbox.submit_exam(
        customer=sandbox.add_customer(), captures=["mp4"], capture_bytes=8_000_000
    )
    assert 8_000_000 <= submitted.captures[0].length < 12_000_000
    file = Path(submitted.captures[0].path)
    assert (await asyncio.to_thread(file.stat)).st_size == submitted.captures[0].length


async def test_confirming_a_customer_and_listing_the_confirmed(sandbox, clarius):
    token = sandbox.add_customer()
    assert (await clarius.get("services/confirmed-tokens/")).json()["results"] == []
    unknown = await clarius.post("services/customer-confirmations/", json={"token": "x" * 43})
    assert unknown.status_code == 404
    assert (await clarius.post("services/customer-confirmations/", json={})).status_code == 400
    answer = await clarius.post("services/customer-confirmations/", json={"token": token})
    assert (answer.status_code, answer.json()) == (200, {"token": token})
    assert (await clarius.get("services/confirmed-tokens/")).json()["results"] == [token]
    assert [e.natural_key for e in sandbox.journal.effects_of("clarius.confirmation")] == [token]


async def test_reports_are_kept_and_journalled(sandbox, clarius):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer(), shape="no-captures")
    path = f"services/requests/{submitted.request_uuid}/reports/"
    for _ in range(2):
        answer = await clarius.post(path, data={"name": "Receipt"}, files={"file": ("r.pdf", b"%PDF-1.7")})
        assert answer.status_code == 201
    assert [r.content for r in sandbox.clarius.reports] == [b"%PDF-1.7"] * 2
    assert len(sandbox.journal.effects_of("clarius.report")) == 2
    assert (await clarius.post(path, data={"name": "Receipt"})).status_code in (400, 415)
    assert (await clarius.post(path, files={"file": ("r.pdf", b"x")})).status_code == 400
    assert (await clarius.post(path, json={"name": "x"})).status_code == 415
    elsewhere = "services/requests/00000000-0000-4000-8000-000000000000/reports/"
    gone = await clarius.post(elsewhere, data={"name": "n"}, files={"file": ("r", b"x")})
    assert gone.status_code == 404
