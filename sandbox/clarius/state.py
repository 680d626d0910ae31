"""What the simulated Clarius holds; plain data and look-ups, no HTTP."""

import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.exam_shapes import Shape

LINK_LIFETIME_SECONDS = 3600
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
RESEARCH_LINK_LIFETIME_SECONDS = 7 * 24 * 3600
EXAM_APPLICATIONS = {
    "9f9531da-84a7-4149-8d59-c4c86c0afaa3": "Abdomen",
    "2e79155f-811c-4d29-9b49-807b20013518": "Cardiac",
    "643395dc-6786-4c90-9012-565fd23ae71a": "Bladder",
}


@dataclass(slots=True)
class ApiKey:
    """A Service API key; `key` is what the Authorization header carries."""

    prefix: str
    name: str
    created: str
    key: str


@dataclass(frozen=True, slots=True)
class Capture:
    """One served file. `path` is None, and `length` -1, for a body without end."""

    id: str
    kind: str
    path: str | None
    length: int
    sha256: str
    etag: str
    content_type: str
    suffix: str


@dataclass(slots=True)
class ExamRequest:
    """One submission of an exam, as C1 lists it and C2 describes it."""

    request_uuid: str
    exam_uuid: str
    customer_id: str
    submitted_at: str
    number: int
    shape: Shape
    capture_ids: list[str]
    data: Any = None
    has_data: bool = False
    listed: bool = True
    deleted: bool = False
    captures_at_clarius: bool = False


@dataclass(slots=True)
class ResearchExam:
    """An exam as the Research API sees it; `busy_answers` calls are still answered 400."""

    exam_uuid: str
    busy_answers: int = 0
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A report that C5 accepted."""

    request_uuid: str
    name: str
    filename: str
    content_type: str
    content: bytes


@dataclass(slots=True)
class ClariusState:
    """Everything in memory; captures' bytes lie in the sandbox's temporary folder."""

    keys: dict[str, ApiKey] = field(default_factory=dict)
    customers: dict[str, bool] = field(default_factory=dict)
    exams: dict[str, ExamRequest] = field(default_factory=dict)
    captures: dict[str, Capture] = field(default_factory=dict)
    links: dict[str, tuple[str, int]] = field(default_factory=dict)
    revoked_keys: set[str] = field(default_factory=set)
    settings: dict[str, str] = field(
        default_factory=lambda: {"notification_url": "", "token_transfer_url": ""}
    )
    records: list[dict[str, Any]] = field(default_factory=list)
    customised: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    research_users: dict[str, str] = field(default_factory=dict)
    research_tokens: dict[str, str] = field(default_factory=dict)
    research_exams: dict[str, ResearchExam] = field(default_factory=dict)
    _last_time: datetime = LONG_AGO
    exam_count: int = 0

    def new_key(self, name: str) -> ApiKey:
        """A key that works from now on; its text is `<prefix>.<secret>`."""
        prefix = secrets.token_hex(4)
        key = ApiKey(prefix, name, self.now(), f"{prefix}.{secrets.token_hex(16)}")
        self.keys[prefix] = key
        return key

    def key_for(self, authorization: str) -> ApiKey | None:
        """The key in an `Authorization: Service-API-Key …` header, if it is known."""
        scheme, _, text = authorization.partition(" ")
        if scheme != "Service-API-Key":
            return None
        return next(
            (k for k in self.keys.values() if secrets.compare_digest(k.key.encode(), text.encode())), None
        )

    def now(self) -> str:
        """The time as Clarius writes it; never the same twice, so that newest first is one order."""
        self._last_time = max(datetime.now(UTC), self._last_time + timedelta(microseconds=1))
        return self._last_time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def newest_exams(self, customer_id: str | None = None) -> list[ExamRequest]:
        """What C1 lists, newest first."""
        listed = [
            e
            for e in self.exams.values()
            if e.listed and not e.deleted and (customer_id is None or e.customer_id == customer_id)
        ]
        return sorted(listed, key=lambda e: e.submitted_at, reverse=True)

    def sign(self, capture_id: str, *, lifetime_seconds: int = LINK_LIFETIME_SECONDS) -> tuple[str, int]:
        """A new (signature, expiry in Unix seconds) for a capture."""
        expires = int(datetime.now(UTC).timestamp()) + lifetime_seconds
        signature = secrets.token_hex(32)
        self.links[signature] = (capture_id, expires)
        return signature, expires

    def expire_signature(self, signature: str) -> None:
        """Makes one presigned link expired from now on; unknown ones are left unknown."""
        if signature in self.links:
            self.links[signature] = (self.links[signature][0], 0)

    def expire_links(self, capture_id: str | None = None) -> int:
        """Expires every link given out so far (of one capture, if named); answers how many."""
        chosen = [s for s, (owner, _) in self.links.items() if capture_id in (None, owner)]
        for signature in chosen:
            self.expire_signature(signature)
        return len(chosen)

    def research_exam(self, exam_id: str) -> ResearchExam | None:
        """By exam UUID or by number, as the Research API's `1` may be either."""
        return self.research_exams.get(exam_id)


def new_uuid() -> str:
    """An id as Clarius hands them out."""
    return str(uuid.uuid4())


def new_token() -> str:
    """A customer token of the documented look: 43 characters of URL-safe base64."""
    return secrets.token_urlsafe(32)
