"""Starts Debian's Orthanc with DICOMweb on loopback as a child of the test; must not touch an Orthanc that runs already."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.peers import ORTHANC_PLUGINS, absent, end, require_program
from tests.support.ports import free_port
from tests.support.wait import until_sync


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running Orthanc: its REST address, its DICOMweb root, and who may come in (None: anybody)."""

    url: str
    dicomweb_url: str
    log: Path
    credentials: tuple[str, str] | None

    def get(self, path: str) -> httpx.Response:
        """GET from its own REST API; raises for any answer but 2xx."""
        answer = httpx.get(f"{self.url}{path}", auth=self.credentials, timeout=30, trust_env=False)
        return answer.raise_for_status()

    def instance_count(self) -> int:
        """How many instances it holds."""
        count: int = self.get("/statistics").json()["CountInstances"]
        return count

    def find_instance(self, sop_instance_uid: str) -> str:
        """Its own id of an instance; AssertionError when it holds none, or two, of that UID."""
        answer = httpx.post(
            f"{self.url}/tools/lookup",
            content=sop_instance_uid,
            auth=self.credentials,
            timeout=30,
            trust_env=False,
        ).raise_for_status()
        found = [entry["ID"] for entry in answer.json() if entry["Type"] == "Instance"]
        if len(found) != 1:
            raise AssertionError(f"Orthanc holds {len(found)} instances {sop_instance_uid}")
        return str(found[0])


@contextlib.contextmanager
def running_orthanc(folder: Path, *, credentials: tuple[str, str] | None = None) -> Iterator[Orthanc]:
    """An empty Orthanc that keeps its files in `folder` and ends with the block.

    `credentials` (user, password) turn on basic authentication.
    """
    program = require_program("Orthanc")
    if not (ORTHANC_PLUGINS / "libOrthancDicomWeb.so").exists():
        absent("orthanc-dicomweb")
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(_configuration(folder, port, credentials)), encoding="utf-8")
    log = folder / "orthanc.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, str(configuration)], stdout=output, stderr=output, cwd=folder)
    running = Orthanc(
        url=f"http://127.0.0.1:{port}",
        dicomweb_url=f"http://127.0.0.1:{port}/dicom-web",
        log=log,
        credentials=credentials,
    )
    try:
        until_sync(lambda: _answers(running, process), timeout=60, what="Orthanc's first answer")
        yield running
    finally:
        end(process)


def _answers(orthanc: Orthanc, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"Orthanc ended at once:\n{orthanc.log.read_text('utf-8', 'replace')[-2000:]}")
    try:
        orthanc.get("/system")
    except httpx.TransportError:
        return False
    return True


def _configuration(folder: Path, port: int, credentials: tuple[str, str] | None) -> dict[str, object]:
    return {
        "Name": "Sonobridge test peer",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": credentials is not None,
        "RegisteredUsers": dict([credentials]) if credentials else {},
        "Plugins": [str(ORTHANC_PLUGINS / "libOrthancDicomWeb.so")],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
        "HttpDescribeErrors": True,
    }
