"""What Clarius tells, as models that read what is there and keep the rest; must not make calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import BeforeValidator, Field, SecretStr

from app.clients.record import Moment, Record, Text, plain_text


def _list_or_nothing(value: Any) -> Any:
    return value if isinstance(value, list) else []


class ExamNotice(Record):
    """One submission of an exam (C1, and the webhook's payload). `customer_id` is the customer's token."""

    shown: ClassVar[tuple[str, ...]] = ("request_uuid", "exam_uuid")

    request_uuid: UUID
    exam_uuid: UUID
    customer_id: str = Field(min_length=1)
    download_url: str = Field(min_length=1)
    submitted_at: Moment = None


@dataclass(frozen=True, slots=True)
class CaptureLink:
    """One capture of an exam (C2): where its media is, or None when the entry holds no URL."""

    index: int
    url: str | None = field(repr=False)
    raw: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExamData:
    """The exam data (C2). `raw` is the object as Clarius sent it, its patient too; the rest is read out of it."""

    raw: dict[str, Any] = field(repr=False)
    request_uuid: str | None
    captures: tuple[CaptureLink, ...]

    @classmethod
    def from_raw(cls, raw: dict[str, Any]) -> "ExamData":
        """Read an exam data object, also one that was stored; fails on nothing."""
        return cls(
            raw=raw,
            request_uuid=plain_text(raw.get("request_uuid")),
            captures=_captures(raw.get("captures")),
        )


def _captures(value: Any) -> tuple[CaptureLink, ...]:
    items = value if isinstance(value, list) else []
    return tuple(
        CaptureLink(index, plain_text(item.get("url")) if isinstance(item, Mapping) else None, item)
        for index, item in enumerate(items)
    )


class ServiceSettings(Record):
    """The two URLs registered at Clarius (C6, C7); "" when none is."""

    shown: ClassVar[tuple[str, ...]] = ("notification_url", "token_transfer_url")

    notification_url: Annotated[str, BeforeValidator(lambda value: value or "")] = ""
    token_transfer_url: Annotated[str, BeforeValidator(lambda value: value or "")] = ""


class RecordedRequest(Record):
    """The webhook call that Clarius made; `content` is its body as text."""

    shown: ClassVar[tuple[str, ...]] = ("method",)

    url: Text = None
    method: Text = None
    content: Text = None


class RecordedEvent(Record):
    """The outcome of a webhook call: `response` is None and `error` says why when it failed."""

    shown: ClassVar[tuple[str, ...]] = ("sent_at", "error")

    sent_at: Moment = None
    request: RecordedRequest | None = None
    response: Any = None
    error: Text = None


class NotificationRecord(Record):
    """Clarius's log of one webhook call (C8); deleted there after 14 days."""

    shown: ClassVar[tuple[str, ...]] = ("logged_at", "event")

    logged_at: Moment = None
    event: RecordedEvent = RecordedEvent()


class ApiKey(Record):
    """An API key without its secret (C9). The secret begins with the prefix."""

    shown: ClassVar[tuple[str, ...]] = ("prefix", "name")

    prefix: str = Field(min_length=1)
    name: str = ""
    created: Moment = None


class NewApiKey(ApiKey):
    """A key just made (C10): the only time that its secret is shown."""

    key: SecretStr = Field(min_length=1)


class Application(Record):
    """An exam application on Clarius Cloud (C12)."""

    shown: ClassVar[tuple[str, ...]] = ("uuid", "name")

    uuid: UUID
    name: str = ""


class Annotation(Record):
    """A list of labels that users are offered (C13–C15); linked ones are combined into one label."""

    shown: ClassVar[tuple[str, ...]] = ("title", "labels", "linked")

    title: str
    labels: list[str] = Field(default_factory=list)
    linked: bool = False


class CustomisedApplication(Application):
    """An application with our annotations (C13, C14)."""

    annotations: Annotated[list[Annotation], BeforeValidator(_list_or_nothing)] = Field(default_factory=list)


class RawCapture(Record):
    """Raw data of one capture (C18): `blob` is a JSON string, `raw_image` a presigned URL that lives 7 days."""

    shown: ClassVar[tuple[str, ...]] = ("capture_uuid",)

    capture_uuid: UUID
    blob: str = ""
    raw_image: str = Field(min_length=1)
