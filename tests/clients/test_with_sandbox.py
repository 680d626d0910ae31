"""Both image transports and both REST clients against the simulated vendors, whose journal is the judge."""

import datetime as dt
import uuid
import zipfile

import pydicom
import pytest
from pydantic import SecretStr

from app.clients.aurabox import AuraboxClient, CaseFields, PatientFields
from app.clients.aurabox.uploader import Integration, SignIns, StudySummary, UploaderClient
from app.clients.clarius import ClariusClient
from app.clients.dicomweb import DicomWebClient, Instance, authorization
from app.clients.http import Egress, Http
from app.clients.tus import Hooks, Target, send_file
from app.errors import LookFirst, NotThere, Rejected, RenewCredentials
from sandbox import faults
from sandbox.dicom_files import dicom_file
from sandbox.media import scan_image

STUDY = "2.25.4242"


async def no_pause(seconds):
    assert seconds < 10


@pytest.fixture
async def http(sandbox, tls):
    allowed = frozenset(sandbox.allowed_upstreams.split(","))
    async with Http(Egress(True, allowed), tls=tls, pause=no_pause) as http:
        yield http


@pytest.fixture
def aurabox(http, sandbox):
    key = SecretStr(sandbox.team().key)
    return AuraboxClient(http, base_url=sandbox.aurabox_url, api_key=key, account="clinic")


@pytest.fixture
def uploader(http, sandbox):
    state = sandbox.aurabox
    integration = Integration(
        state.app_id, SecretStr(state.app_secret), SecretStr(sandbox.team().service_key)
    )
    return UploaderClient(
        http, base_url=sandbox.aurabox_url, integration=integration, account="clinic", sign_ins=SignIns()
    )


@pytest.fixture
async def case(aurabox):
    case = await aurabox.create_case(CaseFields(label="CASE-1"))
    await aurabox.create_study(case.id, {"study_instance_uid": STUDY, "modality": "US"})
    return case


@pytest.fixture
def files(tmp_path):
    made = []
    for number in (1, 2, 3):
        path = tmp_path / f"{number:03d}.dcm"
        path.write_bytes(dicom_file(scan_image(number), exam_uuid="e", number=number, study_uid=STUDY))
        made.append(path)
    return made


async def test_the_uploader_carries_an_archive_through_a_cut_and_an_expired_token(
    http, sandbox, uploader, case, files, tmp_path
):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for path in files:
            made.write(path, f"{STUDY}/{path.name}")
    upload_id = uuid.uuid4()
    await uploader.init(upload_id, [StudySummary(study_uid=STUDY, images=3)], patient_id=case.id)
    await uploader.start(upload_id, "assembly")
    lift = await uploader.lift()
    stored = []

    async def created(url):
        assert not sandbox.journal.effects_of("lift.patch")
        stored.append(url)

    async def renewed():
        fresh = await uploader.lift()
        return Target(fresh.endpoint, fresh.credentials)

    sandbox.faults.arm(faults.cut_request(1000), server="lift", method="PATCH")
    sandbox.faults.arm(faults.answer(401), server="lift", method="PATCH")
    url = await send_file(
        http,
        Target(lift.endpoint, lift.credentials),
        archive,
        metadata={
            "upload_id": str(upload_id),
            "bucket": lift.bucket,
            "mode": "uploader",
            "filename": f"{upload_id}.zip",
            "filetype": "application/zip",
        },
        stored_url=None,
        account="clinic",
        hooks=Hooks(created=created, renewed=renewed, pause=no_pause),
    )
    assert stored == [url]
    for _ in range(2):
        await uploader.complete(upload_id, "assembly")
    assert len(sandbox.team().instances_of(STUDY)) == 3
    assert sandbox.journal.bytes_sent_twice() == []
    assert sandbox.journal.misplaced_secrets() == []
    assert len(sandbox.journal.effects_of("bounce.exchange")) == 1


async def test_dicomweb_stores_names_what_failed_and_reads_back(http, sandbox, case, files):
    headers = authorization(user=None, secret=SecretStr(sandbox.team().key))
    client = DicomWebClient(http, base_url=sandbox.dicomweb_url, headers=headers, account="clinic")
    await client.check()
    assert await client.instance_uids(STUDY) == frozenset()
    instances = [Instance(path, uid_of(path)) for path in files]
    sandbox.aurabox.refuse_next_instances = 1
    outcome = await client.store(STUDY, instances)
    assert list(outcome.failed) == [instances[0].sop_instance_uid]
    again = await client.store(STUDY, instances[:1])
    assert not again.failed
    assert await client.instance_uids(STUDY) == {instance.sop_instance_uid for instance in instances}


def uid_of(path):
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


async def test_a_create_whose_answer_is_lost_is_found_by_looking(sandbox, aurabox):
    sandbox.faults.arm(faults.cut_after(), server="aurabox", method="POST")
    with pytest.raises(LookFirst):
        await aurabox.create_case(CaseFields(label="CASE-LOST"))
    assert [case.label async for case in aurabox.cases(search="CASE-LOST")] == ["CASE-LOST"]


async def test_pages_of_patients_are_all_read(sandbox, aurabox):
    for number in range(5):
        fields = PatientFields(
            given_names=f"Given {number}", family_name="Quill", date_of_birth=dt.date(1980, 1, 1), sex="other"
        )
        await aurabox.create_patient(fields)
    found = [patient.given_names async for patient in aurabox.patients(search="Quill", per_page=2)]
    assert sorted(found) == [f"Given {number}" for number in range(5)]
    with pytest.raises(Rejected) as caught:
        await aurabox.create_patient(PatientFields(given_names="Ada"))
    assert "family_name" in caught.value.fields


async def test_clarius_confirms_a_known_customer_only(http, sandbox):
    client = ClariusClient(http, base_url=sandbox.clarius_url, api_key=SecretStr(sandbox.clarius_key))
    token = sandbox.add_customer()
    await client.confirm_customer(token)
    assert token in [known async for known in client.confirmed_tokens()]
    with pytest.raises(NotThere):
        await client.confirm_customer("x" * 43)
    wrong = ClariusClient(http, base_url=sandbox.clarius_url, api_key=SecretStr("wrong"))
    with pytest.raises(RenewCredentials):
        await wrong.settings()
