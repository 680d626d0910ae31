"""A plain uploader-API client for the tests: signs with the sandbox's own signer, sends bytes as told."""

import base64
import io
import json
import time
import uuid
import zipfile

import httpx

from sandbox.aurabox.signing import SignedRequest, expected_signature
from sandbox.dicom_files import dicom_file
from sandbox.media import scan_image
from sandbox.server import Sandbox

NAMES = ("content-type", "host", "x-aura-nonce", "x-aura-timestamp")
TUS = {"tus-resumable": "1.0.0"}
WISH = {"ttl": 3600, "scopes": ["upload:init", "upload:manage", "integration:read"]}


def archive_of(study_uid: str, count: int = 2, *, first: int = 1) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(first, first + count):
            content = dicom_file(scan_image(number), exam_uuid="e", number=number, study_uid=study_uid)
            archive.writestr(f"{study_uid}/{number:03d}.dcm", content)
    return out.getvalue()


def signed_headers(
    sandbox: Sandbox, body: bytes, *, path: str = "/api/auth/exchange", **changes: str
) -> dict[str, str]:
    headers = {
        "host": sandbox.aurabox_url.removeprefix("http://"),
        "content-type": "application/json",
        "x-aura-timestamp": str(int(time.time())),
        "x-aura-nonce": str(uuid.uuid4()),
    } | {k.replace("_", "-"): v for k, v in changes.items()}
    request = SignedRequest(method="POST", raw_path=path, query="", headers=headers, body=body)
    state = sandbox.aurabox
    signature = expected_signature(
        request, app_id=state.app_id, app_secret=state.app_secret, signed_names=NAMES
    )
    credential = f"Credential={state.app_id},SignedHeaders={';'.join(NAMES)},Signature={signature}"
    return headers | {
        "authorization": f"AURA-HMAC-SHA256 {credential}",
        "x-api-key": sandbox.team().service_key,
    }


class Uploader:
    """One upload of the first team, step by step."""

    def __init__(self, sandbox: Sandbox, client: httpx.AsyncClient) -> None:
        self.sandbox, self.client = sandbox, client
        self.upload_id, self.assembly_id = str(uuid.uuid4()), "assembly-1"
        self.headers: dict[str, str] = {}
        self.lift: dict[str, str] = {}

    async def exchange(self, wish: dict[str, object] | None = None, **changes: str) -> httpx.Response:
        body = json.dumps(WISH if wish is None else wish).encode()
        headers = signed_headers(self.sandbox, body, **changes)
        url = f"{self.sandbox.aurabox_url}/api/auth/exchange"
        answer = await self.client.post(url, content=body, headers=headers)
        if answer.status_code == 200:
            token = answer.json()["token"]
            self.headers = {"authorization": f"Bearer {token}", "x-api-key": self.sandbox.team().service_key}
        return answer

    async def config(self) -> httpx.Response:
        answer = await self.client.get(
            f"{self.sandbox.aurabox_url}/api/uploader/config", headers=self.headers
        )
        if answer.status_code == 200:
            self.lift = answer.json()["lift"]
        return answer

    async def call(self, step: str, **body: object) -> httpx.Response:
        url = f"{self.sandbox.aurabox_url}/api/uploader/upload/{step}"
        sent = {"upload_id": self.upload_id, **body}
        return await self.client.post(url, json=sent, headers=self.headers)

    async def announce(self, study_uid: str) -> None:
        """Exchange, config, init and start."""
        assert (await self.exchange()).status_code == 200
        assert (await self.config()).status_code == 200
        studies = {study_uid: {"study_uid": study_uid, "images": 2}}
        answer = await self.call("init", studies=studies, mode="bulk", type="uploader", patient_id=None)
        assert answer.status_code == 201, answer.text
        started = await self.call("start", assembly_id=self.assembly_id, mode="uploader")
        assert started.status_code == 200, started.text

    def tus_headers(self, **extra: str) -> dict[str, str]:
        return {**TUS, "authorization": f"Bearer {self.lift['token']}", **extra}

    async def create(self, length: int, **changes: str) -> httpx.Response:
        metadata = {
            "upload_id": self.upload_id,
            "bucket": self.lift["bucket"],
            "mode": "uploader",
            "filename": f"{self.upload_id}.zip",
            "filetype": "application/zip",
        } | changes
        text = ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in metadata.items() if v)
        headers = self.tus_headers(**{"upload-length": str(length), "upload-metadata": text})
        return await self.client.post(self.lift["endpoint"], headers=headers)

    async def patch(self, url: str, offset: int, content: bytes) -> httpx.Response:
        kind = {"content-type": "application/offset+octet-stream", "upload-offset": str(offset)}
        return await self.client.patch(url, content=content, headers=self.tus_headers(**kind))

    async def offset(self, url: str) -> int:
        answer = await self.client.head(url, headers=self.tus_headers())
        assert answer.status_code == 200
        return int(answer.headers["upload-offset"])

    async def complete(self) -> httpx.Response:
        return await self.call("complete", assembly_id=self.assembly_id, mode="uploader")
