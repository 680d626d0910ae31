"""The questions that tests ask of the journal can all be answered with "no"."""

from sandbox.journal import Journal, digest_of

PATIENT = {"given_names": "Ada", "family_name": "Ashgrove", "date_of_birth": "1980-01-02", "sex": "female"}


def test_a_second_create_of_one_thing_is_doubled_unless_it_was_deleted():
    journal = Journal()
    for verb, remote in (("create", "1"), ("delete", "1"), ("create", "2")):
        journal.record_effect(f"aurabox.patient.{verb}", who="T", natural_key="ada", remote_id=remote)
    assert journal.doubled_creates() == []
    journal.record_effect("aurabox.patient.create", who="Other", natural_key="ada", remote_id="3")
    assert journal.doubled_creates() == []
    journal.record_effect("aurabox.patient.create", who="T", natural_key="ada", remote_id="4")
    assert journal.doubled_creates() == [("aurabox.patient.create", "T", "ada")]
    assert journal.remote_ids() == {"1", "2", "3", "4"}


def test_overlapping_byte_ranges_are_found():
    journal = Journal()
    for start, end in ((0, 10), (10, 20), (15, 25)):
        detail = {"start": start, "end": end}
        journal.record_effect("lift.patch", who="T", natural_key="u", remote_id="r", detail=detail)
    assert journal.bytes_sent_twice() == [("r", 15, 25)]


def test_digests_do_not_depend_on_the_order_of_keys():
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of(b"x") != digest_of({"a": 1})


async def test_a_key_on_the_wrong_server_is_found_and_never_kept(sandbox, stranger):
    await stranger.get(sandbox.clarius_url + "/x", headers={"x-api-key": sandbox.clarius_key})
    assert sandbox.journal.misplaced_secrets() == []
    for url in (sandbox.aurabox_url, sandbox.media_url):
        await stranger.get(url + "/x", headers={"authorization": f"Service-API-Key {sandbox.clarius_key}"})
    await stranger.get(sandbox.media_url + "/x", headers={"authorization": sandbox.team().key})
    assert [r.server for r in sandbox.journal.misplaced_secrets()] == ["aurabox", "media", "media"]
    text = str(sandbox.journal.as_json())
    assert sandbox.clarius_key not in text
    assert sandbox.team().key not in text


async def test_requests_are_found_by_server_method_path_and_status(sandbox, aurabox, stranger):
    await aurabox.post("patients", json=PATIENT)
    await aurabox.post("patients", json={})
    await stranger.get(f"{sandbox.media_url}/captures/x.jpg?signature=abc&expires=1")
    assert [r.status for r in sandbox.journal.requests_to("aurabox", "POST", "*/patients")] == [201, 422]
    assert len(sandbox.journal.requests_to("aurabox", status=422)) == 1
    media = sandbox.journal.requests_to("media")[0]
    assert media.query == {"signature": "…", "expires": "1"}
    assert sandbox.journal.requests[0].auth == ("authorization:Bearer",)
