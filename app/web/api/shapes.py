"""The bodies of the admin API, whose names other people's scripts use; must not hold a secret that can be read back."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from app.delivery.decisions import Choice
from app.linking.links import UnderWay
from app.organizations.options import OrganizationItem, OrganizationOptions
from app.states import ExamState, LinkState, Reason, Source, Step
from app.store.tokens import Scope
from app.store.users import Role

Email = Annotated[str, Field(min_length=3, max_length=254, examples=["ana.novak@example.org"])]
Password = Annotated[
    SecretStr, Field(min_length=1, max_length=1024, examples=["correct horse battery staple"])
]
IdOrName = Annotated[
    str,
    Field(
        min_length=1, max_length=200, description="An organisation's id or name.", examples=["Harbour Clinic"]
    ),
]


class Body(BaseModel):
    """What callers send: unknown names are mistakes."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class OrganizationRef(BaseModel):
    """Which organisation."""

    id: UUID
    name: str


class CaptureItem(BaseModel):
    """One capture. `bytes` and `sha256` are those of the file as Clarius served it."""

    index: int
    kind: str | None
    bytes: int | None
    sha256: str | None
    sop_instance_uid: str | None
    already_delivered: bool
    there: bool = Field(description="Whether its images are there, as far as is known (`images`).")
    problem: dict[str, str] | None = Field(None, description="Why this capture can't be delivered.")


class AuraboxRef(BaseModel):
    """Where the exam is in Aurabox."""

    kind: Literal["patient", "case"] | None
    patient_id: str | None
    study_id: str | None
    study_instance_uid: str | None


class FilingItem(BaseModel):
    """How the exam is filed: for whom, under which link and policy, as what, and who said so."""

    organization: OrganizationRef | None
    policy_version: int = Field(description="The version of the organisation's policy that the exam follows.")
    link: UUID | None = Field(description="The link that it came by.")
    customer_hint: str | None = Field(description="The last four characters of that link's Clarius token.")
    kind: Literal["patient", "case"] | None = Field(description="What it is filed under; null before that.")
    mode: Literal["identified", "pseudonymous"]
    decided_by: str = Field(description="`rules`, or the person who decided.")
    decision: Choice | None = Field(description="What that person decided.")


class WayItem(BaseModel):
    """A decision that `decide` takes now, and what will happen then."""

    decision: Choice
    says: str
    subjects: list[str] = Field(
        description="Where it is not empty, one of these ids of Aurabox has to be named as `subject`."
    )


class ClaimItem(BaseModel):
    """Who announced an exam that Clarius does not list. A release takes the first one that has an organisation."""

    customer_hint: str | None = Field(description="Of the account's link; null when it is linked to nobody.")
    organization: OrganizationRef | None = Field(description="For whom a release would file the exam.")
    host: str
    path: str = Field(description="Where the exam data are said to lie, without the query.")
    names_this_request: bool = Field(description="Where it does not, a release reads nothing from there.")
    received_at: datetime


class ErrorItem(BaseModel):
    """What went wrong last. `code` is stable."""

    code: str
    message: str | None


class ImagesItem(BaseModel):
    """How many images the exam has, and how many of them are there. That it is filed is another fact (`state`)."""

    wanted: int = Field(description="How many should be there; 0 when the organisation takes no images.")
    accepted: int = Field(
        description="How many the image transport has taken, now or from an earlier submission."
    )
    seen: int | None = Field(description="How many were counted there; null where nothing can be counted.")
    missing: int = Field(description="How many are not there, as far as is known.")
    why: str | None = Field(description="Why they are missing, or why none are wanted.")


class TimelineItem(BaseModel):
    """One line of an exam's history."""

    at: datetime
    step: str
    event: str
    detail: str | None


class ExamItem(BaseModel):
    """One exam request. Never holds patient data."""

    request_uuid: UUID
    exam_uuid: UUID
    organization: OrganizationRef | None
    state: ExamState
    step: Step
    reason: Reason | None
    source: Source
    attempts: int
    due_at: datetime | None
    submitted_at: datetime | None
    received_at: datetime
    delivered_at: datetime | None
    captures: list[CaptureItem]
    images: ImagesItem
    sent: int | None = Field(
        None, description="Images that this submission itself handed to the image transport."
    )
    seen: int | None = Field(None, description="Those of them that were counted there.")
    report: str | None = Field(None, description="What became of the receipt at Clarius.")
    filing: FilingItem | None = Field(None, description="Null until the exam data are known.")
    claims: list[ClaimItem] = Field([], description="Of an unverified exam.")
    ways: list[WayItem] = Field([], description="What can be decided now of an exam in review.")
    mend: str | None = Field(None, description="How a review ends that no decision ends as it stands.")
    aurabox: AuraboxRef
    error: ErrorItem | None
    timeline: list[TimelineItem]


class ExamPage(BaseModel):
    """A page of exams, the newest first."""

    items: list[ExamItem]
    next_cursor: str | None


class ExamFilter(Body):
    """Which exams; all that is given must hold."""

    state: ExamState | None = None
    step: Step | None = None
    reason: Reason | None = None
    organization: IdOrName | None = None
    since: datetime | None = None
    dry_run: bool = Field(False, description="Only count.")


class RetryCount(BaseModel):
    """How many exams the filter found and how many were retried."""

    matched: int
    retried: int


class ImportBody(Body):
    """Which request to take in."""

    request_uuid: UUID


class IdentityBody(Body):
    """A person's word on an identity conflict."""

    choice: Literal["separate", "same"]


class DecideBody(Body):
    """A person's decision on an exam in review; the exam's `ways` say which can be taken, and what each does."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={"examples": [{"decision": "separate"}, {"decision": "same", "subject": "b3f0"}]},
    )
    decision: Choice
    subject: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        None, description="Whom (or which study) `same` means where there are several: an id of Aurabox."
    )


class ReportReceipt(BaseModel):
    """A report that Clarius took."""

    request_uuid: UUID
    name: str
    bytes: int


class LinkItem(BaseModel):
    """A link; `customer_hint` are the last four characters of the Clarius token."""

    id: UUID
    organization: OrganizationRef
    user: str | None
    customer_hint: str
    state: LinkState
    created_at: datetime
    confirmed_at: datetime | None
    error: str | None
    exams_under_way: int = Field(
        0,
        description="Exams of the account that are not delivered yet: what a move would hold, refile or cancel.",
    )


class LinkPage(BaseModel):
    """A page of links, the newest first."""

    items: list[LinkItem]
    next_cursor: str | None


class MoveBody(Body):
    """To which organisation, and what becomes of the account's exams that are under way."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={"example": {"organization": "Harbour Clinic", "under_way": "refile"}},
    )
    organization: IdOrName
    under_way: UnderWay = UnderWay.HOLD


class OrganizationCreate(OrganizationOptions):
    """A new organisation. `name` and `aurabox_key` are needed; the rest has the defaults of `org add`."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "required": ["name", "aurabox_key"],
            "example": {
                "name": "Harbour Clinic",
                "aurabox_key": "example-key",
                "timezone": "Australia/Melbourne",
            },
        },
    )


class OrganizationChange(OrganizationOptions):
    """What to change; the rest stays. Null clears an address, a user name or a second key."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={"minProperties": 1, "example": {"incomplete": "hold"}},
    )


class OrganizationPage(BaseModel):
    """A page of organisations, by name."""

    items: list[OrganizationItem]
    next_cursor: str | None


class CheckItem(BaseModel):
    """One thing that was tried, and what to do when it is not ok."""

    name: str
    ok: bool
    detail: str
    remedy: str | None


class CheckResult(BaseModel):
    """What a test of an organisation's connections found."""

    ok: bool
    checks: list[CheckItem]


class UserCreate(Body):
    """A new user: with a password, or `invite: true` for a link to set one."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "example": {
                "email": "ana.novak@example.org",
                "organization": "Harbour Clinic",
                "role": "clinician",
                "invite": True,
            }
        },
    )
    email: Email
    organization: IdOrName
    role: Role = Role.CLINICIAN
    password: Password | None = None
    invite: bool = False


class UserChange(Body):
    """What to change."""

    role: Role | None = None
    password: Password | None = None
    disabled: bool | None = None


class UserItem(BaseModel):
    """A user. `invited`: has not set a password yet."""

    id: UUID
    email: str
    organization: OrganizationRef
    role: Role
    invited: bool
    disabled: bool
    created_at: datetime


class NewUser(UserItem):
    """A user just made; `invitation_url` works once, within 7 days, and is not shown again."""

    invitation_url: str | None = None
    invitation_mailed: bool = False


class UserPage(BaseModel):
    """A page of users, by address."""

    items: list[UserItem]
    next_cursor: str | None


class TokenCreate(Body):
    """A new admin token."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@\-]{0,99}$", examples=["nightly report"])]
    scope: Scope = Scope.WRITE


class TokenChange(Body):
    """What to change."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@\-]{0,99}$")] | None = None
    scope: Scope | None = None


class TokenItem(BaseModel):
    """An admin token; `hint` are the last characters of its secret."""

    id: UUID
    name: str
    scope: Scope
    hint: str
    created_by: str
    created_at: datetime
    last_used_at: datetime | None


class NewToken(BaseModel):
    """A token just made; `token` is its secret and is not shown again."""

    id: UUID
    name: str
    scope: Scope
    token: str


class TokenPage(BaseModel):
    """A page of tokens, by name."""

    items: list[TokenItem]
    next_cursor: str | None


class EventItem(BaseModel):
    """One act in the audit trail."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str | None
    result: str
    detail: str | None
    address: str | None


class EventPage(BaseModel):
    """A page of acts, the newest first."""

    items: list[EventItem]
    next_cursor: str | None


class WorkerItem(BaseModel):
    """A worker process heard of within half a minute."""

    id: str
    host: str
    heartbeat_at: datetime


class AccountItem(BaseModel):
    """An account at an upstream that is not called just now."""

    account: str
    since: datetime | None
    why: str | None
    until: datetime | None


class AlertItem(BaseModel):
    """A condition that holds."""

    condition: str
    message: str
    since: datetime


class OverviewBody(BaseModel):
    """Where everything stands."""

    states: dict[str, int]
    waiting: dict[str, int]
    oldest_due_seconds: float | None
    workers: list[WorkerItem]
    last_webhook_at: datetime | None
    last_reconcile_at: datetime | None
    gaps: int
    paused: list[AccountItem]
    breakers: list[AccountItem]
    throttled: list[AccountItem]
    alerts: list[AlertItem]


class ReconcileResult(BaseModel):
    """What the poll API listed, and how much of it was new."""

    looked_at: int
    new: int


class GapItem(BaseModel):
    """An exam that Clarius sent and Aurabox does not have."""

    request_uuid: UUID | None
    exam_uuid: UUID | None
    organization: OrganizationRef | None
    submitted_at: datetime | None
    reason: str


class GapPage(BaseModel):
    """The gaps, in pages."""

    items: list[GapItem]
    next_cursor: str | None


class ClariusSettingsBody(BaseModel):
    """The two URLs registered at Clarius; "" when none is."""

    notification_url: str
    token_transfer_url: str


class ClariusSettingsChange(Body):
    """What to register; "" clears a URL, leaving one out keeps it."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "minProperties": 1,
            "example": {"notification_url": "https://bridge.example.org/webhooks/clarius"},
        },
    )
    notification_url: Annotated[str, Field(max_length=2000)] | None = None
    token_transfer_url: Annotated[str, Field(max_length=2000)] | None = None


class RegisterResult(BaseModel):
    """What is registered now, and whether it is what this bridge serves."""

    notification_url: str
    token_transfer_url: str
    matches: bool


class RecordItem(BaseModel):
    """One webhook call that Clarius made, beside what we know of it. `known`: we hold the request."""

    logged_at: datetime | None
    sent_at: datetime | None
    request_uuid: UUID | None
    status: int | None
    error: str | None
    known: bool
    state: ExamState | None


class RecordPage(BaseModel):
    """Clarius's records of the last 14 days, the newest first."""

    items: list[RecordItem]
    next_cursor: str | None


class ConfirmedTokenItem(BaseModel):
    """A token that Clarius holds as confirmed, or that we do. `difference` says which of us does not."""

    customer_hint: str
    link_id: UUID | None
    organization: OrganizationRef | None
    at_clarius: bool
    difference: Literal["no_link", "not_at_clarius"] | None


class ConfirmedTokenPage(BaseModel):
    """Confirmed tokens and our links, side by side."""

    items: list[ConfirmedTokenItem]
    next_cursor: str | None


class ApiKeyItem(BaseModel):
    """An API key at Clarius, without its secret."""

    prefix: str
    name: str
    created_at: datetime | None
    in_use: bool


class ApiKeyPage(BaseModel):
    """The API keys at Clarius."""

    items: list[ApiKeyItem]
    next_cursor: str | None


class ApiKeyCreate(Body):
    """A new key's name at Clarius."""

    name: Annotated[str, Field(min_length=1, max_length=50, examples=["bridge 2026"])]


class NewApiKeyItem(BaseModel):
    """A key just made at Clarius; `key` is its secret and is not shown again."""

    prefix: str
    name: str
    created_at: datetime | None
    key: str


class AnnotationItem(BaseModel):
    """A list of labels that users are offered; linked ones are combined into one label."""

    title: Annotated[str, Field(max_length=200)]
    labels: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=200)] = []
    linked: bool = False


class ApplicationItem(BaseModel):
    """An exam application on Clarius Cloud."""

    uuid: UUID
    name: str


class CustomisedItem(ApplicationItem):
    """An application with our annotations."""

    annotations: list[AnnotationItem]


class ApplicationPage(BaseModel):
    """Exam applications."""

    items: list[ApplicationItem]
    next_cursor: str | None


class CustomisedPage(BaseModel):
    """Customised applications."""

    items: list[CustomisedItem]
    next_cursor: str | None


class AnnotationsBody(Body):
    """The annotations of one application; they replace what was there."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "example": {"annotations": [{"title": "Side", "labels": ["left", "right"], "linked": False}]}
        },
    )
    annotations: Annotated[list[AnnotationItem], Field(max_length=200)]
