"""C6–C19, over HTTP against the running sandbox."""

import io
import zipfile

import pydicom
import pytest
from PIL import Image
from pydicom.encaps import get_frame

from sandbox.clarius.state import EXAM_APPLICATIONS

CARDIAC = next(u for u, n in EXAM_APPLICATIONS.items() if n == "Cardiac")
ANNOTATIONS = [{"title": "Ours", "labels": ["LABEL1"], "linked": False}]


async def test_settings_are_read_changed_and_checked(clarius):
    assert (await clarius.get("services/settings/")).json() == {
        "notification_url": "",
        "token_transfer_url": "",
    }
    good = {"token_transfer_url": "https://example.com/{token}/"}
    changed = await clarius.patch("services/settings/", json=good)
    assert changed.json()["token_transfer_url"] == good["token_transfer_url"]
    for bad in ("https://example.com/", "example.com/{token}", 7):
        answer = await clarius.patch("services/settings/", json={"token_transfer_url": bad})
        assert (answer.status_code, list(answer.json())) == (400, ["token_transfer_url"])
    assert (
        await clarius.patch("services/settings/", json={"notification_url": "nonsense"})
    ).status_code == 400
    cleared = await clarius.patch("services/settings/", json={"token_transfer_url": ""})
    assert cleared.json()["token_transfer_url"] == ""


async def test_the_transfer_url_is_where_a_customer_is_sent(sandbox, clarius):
    await clarius.patch("services/settings/", json={"token_transfer_url": "https://example.com/c?t={token}"})
    token = sandbox.add_customer()
    assert len(token) == 43
    assert sandbox.connect_url(token) == f"https://example.com/c?t={token}"


async def test_keys_are_made_shown_once_used_and_revoked(sandbox, clarius, stranger):
    made = await clarius.post("services/api-keys/", json={"name": "Second"})
    assert made.status_code == 201
    assert made.json()["key"].startswith(made.json()["prefix"] + ".")
    listed = (await clarius.get("services/api-keys/")).json()
    assert len(listed) == 2
    assert all(set(k) == {"prefix", "name", "created"} for k in listed)
    own = sandbox.clarius_key.partition(".")[0]
    assert (await clarius.delete(f"services/api-keys/{own}/")).status_code == 400
    second = {"authorization": f"Service-API-Key {made.json()['key']}"}
    assert (await clarius.delete(f"services/api-keys/{own}/", headers=second)).status_code == 204
    assert (await clarius.get("services/settings/")).status_code == 401
    assert (await clarius.get("services/settings/", headers=second)).status_code == 200
    assert (await clarius.delete("services/api-keys/unknown/", headers=second)).status_code == 404
    assert (await clarius.post("services/api-keys/", json={}, headers=second)).status_code == 400


async def test_applications_are_customised_and_put_back(clarius):
    names = {a["name"] for a in (await clarius.get("exams/applications/")).json()}
    assert names == {"Abdomen", "Cardiac", "Bladder"}
    path = f"services/applications/{CARDIAC}/"
    assert (await clarius.get(path)).status_code == 404
    put = await clarius.put(path, json={"annotations": ANNOTATIONS})
    assert put.json() == {"uuid": CARDIAC, "name": "Cardiac", "annotations": ANNOTATIONS}
    assert (await clarius.get(path)).json() == put.json()
    assert (await clarius.get("services/applications/")).json() == [put.json()]
    assert (await clarius.put(path, json={"annotations": [{"title": "x"}]})).status_code == 400
    assert (await clarius.delete(path)).status_code == 204
    assert (await clarius.get("services/applications/")).json() == []
    assert (await clarius.delete(path)).status_code == 404


@pytest.fixture
async def research(sandbox, clarius):
    wrong = await clarius.post("token-auth/", json={"username": "researcher", "password": "wrong"})
    assert wrong.status_code == 400
    answer = await clarius.post(
        "token-auth/", json={"username": "researcher", "password": "sandbox-password"}
    )
    clarius.headers["authorization"] = f"Token {answer.json()['token']}"
    return clarius


async def test_raw_data_is_busy_then_there_then_refused(sandbox, research, stranger):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer(), busy_answers=1)
    path = f"exams/rawdata/{submitted.exam_uuid}"
    assert (await research.get(path)).status_code == 400
    entries = (await research.get(path)).json()
    assert [set(e) for e in entries] == [{"capture_uuid", "blob", "raw_image"}] * 3
    assert isinstance(entries[0]["blob"], str)
    assert (await stranger.get(entries[0]["raw_image"])).status_code == 200
    assert (await research.get("exams/rawdata/1")).status_code == 200
    assert (await research.get("exams/rawdata/999")).status_code == 404
    sandbox.clarius.research_exams[submitted.exam_uuid].forbidden = True
    assert (await research.get(path)).status_code == 403
    assert (await research.get(path, headers={"authorization": "Token x"})).status_code == 401


@pytest.mark.parametrize(
    ("syntax", "uid"),
    [
        ("jpeg lossless nonheirarchical process 14", "1.2.840.10008.1.2.4.70"),
        ("jpeg ls lossless", "1.2.840.10008.1.2.1"),
    ],
)
async def test_the_dicom_export_is_a_zip_of_images_with_identity(sandbox, research, stranger, syntax, uid):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer(), number=1)
    path = f"exams/dicom/{submitted.exam_uuid}"
    link = (await research.post(path, json={"syntax": syntax})).json()["download_url"]
    assert link.startswith(sandbox.media_url)
    archive = zipfile.ZipFile(io.BytesIO((await stranger.get(link)).content))
    read = [pydicom.dcmread(io.BytesIO(archive.read(n))) for n in archive.namelist()]
    assert len(read) == 2
    assert {str(d.PatientID) for d in read} == {"SB-000001"}
    assert {str(d.file_meta.TransferSyntaxUID) for d in read} == {uid}
    assert len({d.SOPInstanceUID for d in read}) == 2


async def test_lossless_jpeg_frames_hold_the_very_pixels():
    av = pytest.importorskip("av")
    from sandbox.dicom_files import dicom_file  # noqa: PLC0415 -- after the library that checks it
    from sandbox.media import scan_image  # noqa: PLC0415

    still = scan_image(5).convert("L")
    read = pydicom.dcmread(io.BytesIO(dicom_file(still, exam_uuid="e", lossless_jpeg=True)))
    with av.open(io.BytesIO(get_frame(read.PixelData, 0)), format="mjpeg") as container:
        decoded: Image.Image = next(container.decode(video=0)).to_image().convert("L")
    assert decoded.tobytes() == still.tobytes()


async def test_dicom_parameters_are_checked(sandbox, research):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer(), busy_answers=1)
    path = f"exams/dicom/{submitted.exam_uuid}"
    for name, value in (
        ("syntax", "png"),
        ("resolution", "800"),
        ("b_image_only", "yes"),
        ("demographics", ["SHOE_SIZE"]),
        ("tz", "Mars/Olympus"),
    ):
        answer = await research.post(path, json={name: value})
        assert (answer.status_code, list(answer.json())) == (400, [name])
    assert (await research.post(path, json={})).json() == {"detail": "The exam is still being processed."}
    good = {"resolution": "800x600", "demographics": ["EXAM_DATE"], "tz": "America/Toronto"}
    assert (await research.post(path, json=good)).status_code == 200
    assert (await research.post("exams/dicom/none", json={})).status_code == 404
