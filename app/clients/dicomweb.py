"""DICOMweb (path 2 for images): STOW-RS streamed from files, QIDO-RS to read back; must not open DICOM files.

Source: PS3.18 10.5 (store) and 10.6 (search). One request carries at most 100 instances or 1 GiB, with an exact
Content-Length; which instances failed is read from the answer whatever its status says.
"""

import base64
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.clients.files import blocks
from app.clients.http import Answer, Call, Credentials, Http, Limits, Upload
from app.clients.record import join, segment
from app.errors import BadAnswer, LookFirst, Rejected

MAX_INSTANCES = 100
MAX_BATCH_BYTES = 1 << 30
STORE_LIMITS_SECONDS = 120.0
LEAST_BYTES_PER_SECOND = 10 * 1024
FOUND_PER_PAGE = 1000
DICOM_JSON = "application/dicom+json"

SOP_INSTANCE_UID = "00080018"
REFERENCED_SOP_SEQUENCE = "00081199"
FAILED_SOP_SEQUENCE = "00081198"
REFERENCED_SOP_INSTANCE_UID = "00081155"
FAILURE_REASON = "00081197"


@dataclass(frozen=True, slots=True)
class Instance:
    """A DICOM file to store, and the SOP instance UID inside it."""

    path: Path
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Stored:
    """The UIDs that the server took, and those it did not with its failure reason (PS3.4 B.2.3; None: it gave none)."""

    stored: frozenset[str] = frozenset()
    failed: Mapping[str, int | None] = field(default_factory=dict)


def authorization(*, user: str | None, secret: SecretStr | None) -> dict[str, str]:
    """The header for a server: basic with a user, bearer without one, none without a secret."""
    if secret is None:
        return {}
    if user is None:
        return {"Authorization": f"Bearer {secret.get_secret_value()}"}
    pair = base64.b64encode(f"{user}:{secret.get_secret_value()}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def batches(
    instances: Sequence[Instance], *, most: int = MAX_INSTANCES, most_bytes: int = MAX_BATCH_BYTES
) -> Iterator[list[Instance]]:
    """The instances in requests' worth; one that is larger than `most_bytes` goes alone."""
    batch: list[Instance] = []
    size = 0
    for instance in instances:
        more = instance.path.stat().st_size
        if batch and (len(batch) == most or size + more > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(instance)
        size += more
    if batch:
        yield batch


def multipart(instances: Sequence[Instance], boundary: str) -> Upload:
    """A `multipart/related` body (RFC 2387) read from the files as it is sent."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
    end = f"--{boundary}--\r\n".encode("ascii")
    sizes = [instance.path.stat().st_size for instance in instances]
    length = sum(sizes) + len(instances) * (len(head) + len(b"\r\n")) + len(end)

    async def chunks() -> AsyncIterator[bytes]:
        for instance, size in zip(instances, sizes, strict=True):
            yield head
            async for block in blocks(instance.path, count=size):
                yield block
            yield b"\r\n"
        yield end

    return Upload(length=length, chunks=chunks)


def _items(dataset: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return [item for item in values if isinstance(item, Mapping)] if isinstance(values, list) else []


def _first(dataset: Mapping[str, Any], tag: str) -> Any:
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values[0] if isinstance(values, list) and values else None


def _outcome(answer: Answer, sent: frozenset[str]) -> Stored:
    """Read the store's answer. An instance that was sent and is named on neither list counts as failed, unless the
    answer is a plain 200 without any list.
    """
    dataset = answer.object() if answer.body.strip() else {}
    referenced = {
        _first(item, REFERENCED_SOP_INSTANCE_UID) for item in _items(dataset, REFERENCED_SOP_SEQUENCE)
    }
    failures = _items(dataset, FAILED_SOP_SEQUENCE)
    failed: dict[str, int | None] = {}
    for item in failures:
        uid, reason = _first(item, REFERENCED_SOP_INSTANCE_UID), _first(item, FAILURE_REASON)
        if uid in sent:
            failed[uid] = reason if isinstance(reason, int) else None
    if not referenced and not failures and answer.status == 200:
        return Stored(stored=sent)
    unnamed = sent - referenced - failed.keys()
    failed.update(dict.fromkeys(sorted(unnamed)))
    return Stored(stored=sent - failed.keys(), failed=failed)


class DicomWebClient:
    """One per organisation. Storing is idempotent: the server knows an instance by its UID."""

    def __init__(self, http: Http, *, base_url: str, headers: Mapping[str, str], account: str) -> None:
        self._http = http
        self._base_url = base_url
        self._credentials = Credentials(base_url, headers)
        self._account = account

    def _call(self, operation: str, method: str, path: str, **more: Any) -> Call:
        return Call(
            upstream="dicomweb",
            operation=operation,
            method=method,
            url=join(self._base_url, path),
            account=self._account,
            credentials=self._credentials,
            **more,
        )

    async def store(self, study_uid: str, instances: Sequence[Instance]) -> Stored:
        """STOW-RS of one batch (see `batches`). Raises `LookFirst` when the answer was lost or does not say what was
        stored, `Rejected` when the request as a whole was refused.
        """
        boundary = uuid.uuid4().hex
        body = multipart(instances, boundary)
        call = self._call(
            "STOW-RS",
            "POST",
            f"studies/{segment(study_uid)}",
            headers={
                "Accept": DICOM_JSON,
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            },
            content=body,
            accept=frozenset({409}),
            limits=Limits(
                read_seconds=120.0,
                total_seconds=STORE_LIMITS_SECONDS + body.length / LEAST_BYTES_PER_SECOND,
            ),
        )
        answer = await self._http.request(call)
        sent = frozenset(instance.sop_instance_uid for instance in instances)
        try:
            return _outcome(answer, sent)
        except LookFirst:
            if answer.status != 409:
                raise
        raise Rejected(
            "STOW-RS: the DICOMweb server answered 409",
            upstream="dicomweb",
            status=409,
            account=self._account,
        )

    async def instance_uids(self, study_uid: str) -> frozenset[str]:
        """QIDO-RS: the SOP instance UIDs that the server has of a study; none when it does not know the study."""
        uids: set[str] = set()
        while True:
            page = await self._search(
                f"studies/{segment(study_uid)}/instances",
                {"includefield": SOP_INSTANCE_UID, "limit": FOUND_PER_PAGE, "offset": len(uids)},
                accept=frozenset({404}),
            )
            new = {uid for uid in (_first(item, SOP_INSTANCE_UID) for item in page) if isinstance(uid, str)}
            # A short page need not be the last, since servers have limits of their own; and one that knows no
            # `offset` gives the same page again. Either way nothing new is the end.
            if new <= uids:
                return frozenset(uids)
            uids |= new

    async def check(self) -> None:
        """QIDO-RS for one study, to see whether address and credentials are right."""
        await self._search("studies", {"limit": 1})

    async def _search(
        self, path: str, params: Mapping[str, str | int], *, accept: frozenset[int] = frozenset()
    ) -> list[Mapping[str, Any]]:
        call = self._call(
            "QIDO-RS", "GET", path, params=params, headers={"Accept": DICOM_JSON}, accept=accept
        )
        answer = await self._http.request(call)
        if answer.status in (204, 404) or not answer.body.strip():
            return []
        items = answer.array()
        if not all(isinstance(item, Mapping) for item in items):
            raise BadAnswer(
                "QIDO-RS: the answer is not DICOM JSON", upstream="dicomweb", account=self._account
            )
        return items
