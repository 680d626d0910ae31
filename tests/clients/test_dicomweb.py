"""STOW-RS with an exact length and its failures read whatever the status; QIDO-RS in pages."""

import pytest
from pydantic import SecretStr

from app.clients.dicomweb import DicomWebClient, Instance, authorization, batches, multipart
from app.clients.files import BLOCK_BYTES
from app.errors import BadAnswer, LookFirst, NotThere, Rejected, RenewCredentials
from tests.clients.peer import Reply, json_reply

STUDY = "2.25.1"


@pytest.fixture
def instances(tmp_path):
    made = []
    for number in range(3):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(bytes([number]) * (300_000 * number + 7))
        made.append(Instance(path, f"2.25.10{number}"))
    return made


@pytest.fixture
def client(http, peer):
    return DicomWebClient(
        http,
        base_url=f"{peer.url}/dicom-web/",
        headers=authorization(user=None, secret=SecretStr("canary")),
        account="clinic",
    )


def element(*values):
    return {"vr": "UI", "Value": list(values)}


def answer(stored=(), failed=(), status=200):
    body = {}
    if stored:
        body["00081199"] = {"vr": "SQ", "Value": [{"00081155": element(uid)} for uid in stored]}
    if failed:
        items = [
            {"00081155": element(uid), "00081197": {"vr": "US", "Value": [code]}} for uid, code in failed
        ]
        body["00081198"] = {"vr": "SQ", "Value": items}
    return json_reply(body, status)


def parts_of(seen):
    kind = seen.headers["content-type"]
    assert kind.startswith('multipart/related; type="application/dicom"; boundary=')
    boundary = kind.rpartition("=")[2].encode()
    pieces = seen.body.split(b"--" + boundary)
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    found = []
    for piece in pieces[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        assert head == b"\r\nContent-Type: application/dicom"
        found.append(body.removesuffix(b"\r\n"))
    return found


async def test_files_are_streamed_with_their_exact_length(client, peer, instances):
    uids = [instance.sop_instance_uid for instance in instances]
    peer.answer(answer(stored=uids))
    outcome = await client.store(STUDY, instances)
    assert (outcome.stored, outcome.failed) == (frozenset(uids), {})
    seen = peer.seen[0]
    assert (seen.method, seen.target) == ("POST", f"/dicom-web/studies/{STUDY}")
    assert int(seen.headers["content-length"]) == len(seen.body)
    assert parts_of(seen) == [instance.path.read_bytes() for instance in instances]
    assert seen.headers["accept"] == "application/dicom+json"
    assert seen.headers["authorization"] == "Bearer canary"
    assert "canary" not in repr(client)


@pytest.mark.parametrize("status", [200, 202])
async def test_failures_are_read_whatever_the_status_says(client, peer, instances, status):
    peer.answer(answer(stored=["2.25.100", "2.25.102"], failed=[("2.25.101", 0xA700)], status=status))
    outcome = await client.store(STUDY, instances)
    assert outcome.stored == {"2.25.100", "2.25.102"}
    assert outcome.failed == {"2.25.101": 0xA700}


async def test_none_stored(client, peer, instances):
    peer.answer(answer(failed=[(i.sop_instance_uid, 0x0110) for i in instances], status=409))
    outcome = await client.store(STUDY, instances)
    assert outcome.stored == frozenset()
    assert set(outcome.failed) == {i.sop_instance_uid for i in instances}


async def test_an_instance_on_neither_list_has_failed(client, peer, instances):
    peer.answer(answer(stored=["2.25.100"]))
    assert (await client.store(STUDY, instances)).failed == {"2.25.101": None, "2.25.102": None}


async def test_a_bare_200_took_all_and_a_bare_202_says_nothing(client, peer, instances):
    peer.answer(Reply(200))
    assert len((await client.store(STUDY, instances)).stored) == 3
    peer.answer(Reply(202))
    assert len((await client.store(STUDY, instances)).failed) == 3


async def test_an_answer_that_cannot_be_read_is_looked_at(client, peer, instances):
    peer.answer(Reply(200, b"<NativeDicomModel/>"))
    with pytest.raises(LookFirst):
        await client.store(STUDY, instances)
    peer.answer(Reply(409, b"no"))
    with pytest.raises(Rejected):
        await client.store(STUDY, instances)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(silent=True), LookFirst),
        (Reply(503), LookFirst),
        (Reply(400), Rejected),
        (Reply(415), Rejected),
        (Reply(401), RenewCredentials),
        (Reply(404), NotThere),
    ],
)
async def test_a_store_that_fails_as_a_whole(client, peer, instances, reply, expected):
    peer.answer(reply)
    with pytest.raises(expected) as caught:
        await client.store(STUDY, instances)
    assert caught.value.upstream == "dicomweb"


def test_batches_are_cut_by_number_and_by_size(instances):
    small, middle, large = instances
    assert list(batches(instances, most=2)) == [[small, middle], [large]]
    assert list(batches(instances, most_bytes=300_014)) == [[small, middle], [large]]
    assert list(batches([large, small], most_bytes=1)) == [[large], [small]]
    assert list(batches([])) == []
    assert [len(batch) for batch in batches([small] * 250)] == [100, 100, 50]


async def test_a_multipart_body_is_as_long_as_it_says(instances):
    # longer than a block, so that one read whole would show
    instances[0].path.write_bytes(bytes(BLOCK_BYTES + 7))
    body = multipart(instances, "boundary")
    blocks = [block async for block in body.chunks()]
    assert sum(map(len, blocks)) == body.length
    assert max(map(len, blocks)) == BLOCK_BYTES


def found(*uids):
    return json_reply([{"00080018": element(uid)} for uid in uids])


async def test_instance_uids_are_read_in_pages(client, peer):
    peer.answer(found("1", "2"), found("3"), found())
    assert await client.instance_uids(STUDY) == {"1", "2", "3"}
    assert [seen.query["offset"] for seen in peer.seen] == ["0", "2", "3"]
    assert peer.seen[0].path == f"/dicom-web/studies/{STUDY}/instances"


async def test_a_server_that_knows_no_offset_ends_too(client, peer):
    peer.answer(found("1", "2"))
    assert await client.instance_uids(STUDY) == {"1", "2"}
    assert len(peer.seen) == 2


@pytest.mark.parametrize("reply", [Reply(204), Reply(404), Reply(200), json_reply([])])
async def test_a_study_that_the_server_does_not_know_has_none(client, peer, reply):
    peer.answer(reply)
    assert await client.instance_uids(STUDY) == frozenset()


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"<xml/>"])
async def test_a_search_answered_with_nonsense(client, peer, body):
    peer.answer(Reply(200, body))
    with pytest.raises(BadAnswer):
        await client.instance_uids(STUDY)


async def test_check_tells_a_wrong_address_from_a_right_one(client, peer):
    peer.answer(Reply(204))
    await client.check()
    peer.answer(Reply(404))
    with pytest.raises(NotThere):
        await client.check()


def test_authorization_is_basic_with_a_user_and_bearer_without():
    assert authorization(user="u", secret=SecretStr("p")) == {"Authorization": "Basic dTpw"}
    assert authorization(user=None, secret=SecretStr("t")) == {"Authorization": "Bearer t"}
    assert authorization(user="u", secret=None) == {}
