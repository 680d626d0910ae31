"""The uploader API, the Tus receiver and the DICOMweb face, over HTTP against the running sandbox."""

import asyncio
import hashlib
import io
import zipfile
from urllib.parse import urljoin

import httpx
import pytest

from sandbox import faults
from sandbox.dicom_files import dicom_file
from sandbox.media import scan_image
from tests.sandbox.uploading import TUS, Uploader, archive_of
from tests.support.wait import until

STUDY = "2.25.4242"


@pytest.fixture
async def uploader(sandbox, aurabox, stranger) -> Uploader:
    case = (await aurabox.post("cases", json={"label": "CASE-1"})).json()["data"]["id"]
    await aurabox.post(f"patients/{case}/studies", json={"study_instance_uid": STUDY})
    return Uploader(sandbox, stranger)


async def test_the_whole_way(sandbox, uploader):
    content = archive_of(STUDY)
    await uploader.announce(STUDY)
    assert (await uploader.complete()).status_code == 409
    created = await uploader.create(len(content))
    assert created.status_code == 201
    url = urljoin(uploader.lift["endpoint"], created.headers["location"])
    half = len(content) // 2
    assert (await uploader.patch(url, 0, content[:half])).headers["upload-offset"] == str(half)
    assert await uploader.offset(url) == half
    assert (await uploader.complete()).status_code == 409
    assert (await uploader.patch(url, half, content[half:])).status_code == 204
    for _ in range(2):
        assert (await uploader.complete()).status_code == 200
    created_instances = sandbox.journal.effects_of("aurabox.instance.create")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        digests = {hashlib.sha256(archive.read(n)).hexdigest() for n in archive.namelist()}
    assert {e.digest for e in created_instances} == digests
    assert len(created_instances) == len(sandbox.team().instances_of(STUDY)) == 2
    assert all(e.detail["study_id"] for e in created_instances)
    assert len(sandbox.journal.effects_of("bounce.upload.complete")) == 1
    assert sandbox.journal.bytes_sent_twice() == []
    assert sandbox.journal.misplaced_secrets() == []


async def test_a_relative_location(sandbox, uploader):
    sandbox.aurabox.relative_location = True
    await uploader.announce(STUDY)
    assert (await uploader.create(5)).headers["location"].startswith("/files/")


async def test_what_arrived_before_a_cut_stays(sandbox, uploader):
    content = archive_of(STUDY)
    await uploader.announce(STUDY)
    url = urljoin(uploader.lift["endpoint"], (await uploader.create(len(content))).headers["location"])
    sandbox.faults.arm(faults.cut_request(1000), server="lift", method="PATCH")
    with pytest.raises(httpx.TransportError):
        await uploader.patch(url, 0, content)
    assert await uploader.offset(url) == 1000
    wrong = await uploader.patch(url, 0, content)
    assert (wrong.status_code, wrong.headers["upload-offset"]) == (409, "1000")
    assert (await uploader.patch(url, 1000, content[1000:])).status_code == 204
    assert (await uploader.complete()).status_code == 200
    ranges = [(e.detail["start"], e.detail["end"]) for e in sandbox.journal.effects_of("lift.patch")]
    assert ranges == [(0, 1000), (1000, len(content))]


async def test_tus_rules(sandbox, uploader):
    await uploader.announce(STUDY)
    endpoint, client = uploader.lift["endpoint"], uploader.client
    options = await client.options(endpoint)
    assert (options.headers["tus-version"], options.headers["tus-extension"]) == (
        "1.0.0",
        "creation,termination",
    )
    assert (await client.post(endpoint, headers={"upload-length": "5"})).status_code == 412
    wrong_token = {**TUS, "authorization": "Bearer wrong", "upload-length": "5"}
    assert (await client.post(endpoint, headers=wrong_token)).status_code == 401
    assert (await client.post(endpoint, headers=uploader.tus_headers())).status_code == 400
    assert (await uploader.create(5, filetype="")).status_code == 400
    assert (await uploader.create(5, bucket="other")).status_code == 422
    assert (await uploader.create(1 << 40)).status_code == 413
    url = (await uploader.create(5)).headers["location"]
    assert (await client.patch(url, content=b"x", headers=uploader.tus_headers())).status_code == 415
    assert (await uploader.patch(url, 0, b"more than five")).status_code == 413
    assert (await client.delete(url, headers=uploader.tus_headers())).status_code == 204
    assert (await client.head(url, headers=uploader.tus_headers())).status_code == 410
    assert (await client.head(url + "0", headers=uploader.tus_headers())).status_code == 404


@pytest.mark.parametrize(("gone", "status"), [(False, 404), (True, 410)])
async def test_uploads_can_be_forgotten(sandbox, uploader, gone, status):
    await uploader.announce(STUDY)
    url = (await uploader.create(5)).headers["location"]
    assert sandbox.lift.drop(gone=gone) == 1
    assert (await uploader.patch(url, 0, b"12345")).status_code == status


async def test_one_upload_has_one_writer(sandbox, uploader):
    await uploader.announce(STUDY)
    url = (await uploader.create(10)).headers["location"]
    gate = asyncio.Event()

    async def slowly():
        yield b"12345"
        await gate.wait()
        yield b"67890"

    headers = uploader.tus_headers(
        **{"content-type": "application/offset+octet-stream", "upload-offset": "0", "content-length": "10"}
    )
    first = asyncio.create_task(uploader.client.patch(url, content=slowly(), headers=headers))
    held = next(iter(sandbox.lift.uploads.values()))
    await until(lambda: held.offset == 5)
    assert (await uploader.patch(url, 5, b"67890")).status_code == 423
    gate.set()
    assert (await first).status_code == 204


async def test_expired_tokens_are_refused_and_new_ones_go_on(sandbox, uploader):
    content = archive_of(STUDY)
    await uploader.announce(STUDY)
    url = (await uploader.create(len(content))).headers["location"]
    sandbox.aurabox.expire_tokens()
    assert (await uploader.patch(url, 0, content)).status_code == 401
    assert (await uploader.config()).status_code == 401
    await uploader.exchange()
    await uploader.config()
    assert (await uploader.patch(url, 0, content)).status_code == 204


async def test_exchange_checks_signature_nonce_clock_and_key(sandbox, uploader):
    nonce = "1b671a64-40d5-491e-99b0-da01ff1f3341"
    answer = await uploader.exchange(x_aura_nonce=nonce)
    assert answer.json()["token"].startswith("aubt_")
    assert set(answer.json()) == {"token", "expires_at", "scopes", "max_uses"}
    assert (await uploader.exchange(x_aura_nonce=nonce)).status_code == 401
    assert (await uploader.exchange(x_aura_timestamp="1706140800")).status_code == 401
    for wish in ({"ttl": 0}, {"scopes": ["everything"]}, {"max_uses": 0}):
        assert (await uploader.exchange(wish)).status_code == 422
    sandbox.aurabox.app_secret = "changed"
    good = await uploader.exchange()
    assert good.status_code == 200
    url = f"{sandbox.aurabox_url}/api/auth/exchange"
    assert (await uploader.client.post(url, json={})).status_code == 401


async def test_scopes_uses_and_teams_are_enforced(sandbox, uploader):
    await uploader.exchange({"scopes": ["integration:read"], "max_uses": 2})
    assert (await uploader.config()).status_code == 200
    assert (await uploader.call("start")).status_code == 403
    assert (await uploader.config()).status_code == 200
    assert (await uploader.config()).status_code == 401
    await uploader.exchange()
    other = sandbox.add_team("Other")
    uploader.headers["x-api-key"] = other.key
    assert (await uploader.config()).status_code == 401


async def test_limits_can_be_armed(sandbox, uploader):
    sandbox.aurabox.limits_per_minute = {"exchange": 2}
    answers = [await uploader.exchange() for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 60
    assert answers[2].json() == {"error": {"message": "Too Many Attempts."}}


async def test_lifecycle_rules(sandbox, uploader):
    await uploader.exchange()
    studies = {STUDY: {"study_uid": STUDY}}
    good = {"studies": studies, "mode": "bulk", "type": "uploader"}
    for wrong in (
        {"studies": {}},
        {"studies": {STUDY: {"study_uid": "1"}}},
        {"mode": "x"},
        {"patient_id": "nobody"},
    ):
        assert (await uploader.call("init", **(good | wrong))).status_code == 422
    assert (await uploader.call("init", **(good | {"upload_id": "not-a-uuid"}))).status_code == 422
    assert (await uploader.call("start", assembly_id="a")).status_code == 404
    answer = await uploader.call("init", **good)
    assert answer.json()["studies"][0]["id"]
    assert (await uploader.call("init", **good)).status_code == 201
    assert len(sandbox.journal.effects_of("bounce.upload.init")) == 1
    assert (await uploader.call("error", message="gave up", mode="uploader")).status_code == 200
    assert sandbox.aurabox.uploads[uploader.upload_id].message == "gave up"
    assert (await uploader.call("cancel", mode="uploader")).status_code == 200
    assert (await uploader.call("start", assembly_id="a")).status_code == 409


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"this is not a zip file at all", "not a whole zip"),
        (archive_of(STUDY)[:-30], "not a whole zip"),
        (archive_of(STUDY).replace(b"DICM", b"DICX"), "damaged"),
        (zipped(**{f"{STUDY}/1.dcm": b"nonsense"}), "Not a DICOM file"),
        (zipped(**{"1.dcm": b"x"}), "not <study uid>"),
        (zipped(), "empty"),
        (archive_of("2.25.999"), "Unknown study"),
        (
            zipped(**{f"{STUDY}/1.dcm": dicom_file(scan_image(1), exam_uuid="e", study_uid="2.25.1")}),
            "belongs to",
        ),
    ],
)
async def test_a_bad_archive_is_refused_with_its_reason(sandbox, uploader, content, complaint):
    await uploader.announce(STUDY)
    url = (await uploader.create(len(content))).headers["location"]
    await uploader.patch(url, 0, content)
    answer = await uploader.complete()
    assert answer.status_code == 422
    assert complaint in answer.json()["error"]["message"]
    assert sandbox.journal.effects_of("aurabox.instance.create") == []


async def test_a_study_that_aurabox_does_not_know_is_refused(sandbox, uploader):
    content = archive_of("2.25.999")
    await uploader.announce("2.25.999")
    url = (await uploader.create(len(content))).headers["location"]
    await uploader.patch(url, 0, content)
    assert (await uploader.complete()).status_code == 422


def stow(study: str, *numbers: int) -> dict[str, object]:
    parts = [dicom_file(scan_image(n), exam_uuid="e", number=n, study_uid=study) for n in numbers]
    body = (
        b"".join(b"--xyz\r\nContent-Type: application/dicom\r\n\r\n" + p + b"\r\n" for p in parts)
        + b"--xyz--\r\n"
    )
    kind = 'multipart/related; type="application/dicom"; boundary=xyz'
    return {"content": body, "headers": {"content-type": kind}}


async def test_stow_and_qido(sandbox, aurabox):
    url = f"{sandbox.dicomweb_url}/studies/{STUDY}"
    answer = await aurabox.post(url, **stow(STUDY, 1, 2))
    assert answer.status_code == 200
    assert len(answer.json()["00081199"]["Value"]) == 2
    assert (await aurabox.post(url, **stow(STUDY, 1, 2))).status_code == 200
    assert len(sandbox.journal.effects_of("aurabox.instance.create")) == 2
    found = (await aurabox.get(f"{url}/instances")).json()
    assert {i["00080018"]["Value"][0] for i in found} == sandbox.team().instances.keys()
    assert len((await aurabox.get(f"{url}/instances", params={"limit": 1, "offset": 1})).json()) == 1
    studies = (
        await aurabox.get(f"{sandbox.dicomweb_url}/studies", params={"StudyInstanceUID": STUDY})
    ).json()
    assert studies[0]["00201208"]["Value"] == [2]
    assert (await aurabox.get(f"{sandbox.dicomweb_url}/studies/2.25.1/instances")).status_code == 204


async def test_stow_names_what_failed(sandbox, aurabox, stranger):
    url = f"{sandbox.dicomweb_url}/studies/{STUDY}"
    sandbox.aurabox.refuse_next_instances = 1
    partly = await aurabox.post(url, **stow(STUDY, 1, 2))
    assert partly.status_code == 202
    failed = partly.json()["00081198"]["Value"]
    assert [f["00081197"]["Value"] for f in failed] == [[0xA700]]
    sandbox.aurabox.refused_instances = {failed[0]["00081155"]["Value"][0]}
    assert (await aurabox.post(url, **stow(STUDY, 1))).status_code == 409
    assert (await aurabox.post(url, **stow("2.25.1", 3))).status_code == 409
    assert (await aurabox.post(url, json={})).status_code == 415
    assert (await stranger.post(url, **stow(STUDY, 3))).status_code == 401
    cut = stow(STUDY, 4)
    assert (await aurabox.post(url, content=cut["content"][:-20], headers=cut["headers"])).status_code == 400
