"""What the simulated Aurabox holds, team by team; plain data and look-ups, no HTTP."""

import secrets
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sandbox.faults import Rule

BUCKET = "aura-uploads"
BEARER_LIFETIME_SECONDS = 3600
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Hidden:
    """Whether a record is already in lists: Aurabox's index can lag behind what it accepted."""

    rule: Rule | None = None
    until: float | None = None

    def now(self) -> bool:
        """Whether it is hidden at this moment."""
        if self.rule is not None and self.rule.released:
            return False
        if self.until is not None:
            return time.monotonic() < self.until
        return self.rule is not None


@dataclass(slots=True)
class Person:
    """A patient or a case."""

    id: str
    kind: Literal["patient", "case"]
    fields: dict[str, Any]
    created_at: str
    updated_at: str
    sequence: int
    archived: bool = False
    hidden: Hidden = field(default_factory=Hidden)
    studies: dict[str, "Study"] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The record as the REST API answers it."""
        status = "active" if self.kind == "patient" else "deidentified"
        stamps = {"created_at": self.created_at, "updated_at": self.updated_at}
        return {"id": self.id, **self.fields, "status": status, "archived": self.archived, **stamps}


@dataclass(slots=True)
class Study:
    """A study; `fields` is whatever its creator sent."""

    id: str
    patient_id: str
    fields: dict[str, Any]
    created_at: str
    updated_at: str
    sequence: int
    hidden: Hidden = field(default_factory=Hidden)

    def as_json(self) -> dict[str, Any]:
        """The study as the REST API answers it."""
        stamps = {"created_at": self.created_at, "updated_at": self.updated_at}
        return {**self.fields, "id": self.id, "patient_id": self.patient_id, **stamps}


@dataclass(frozen=True, slots=True)
class Instance:
    """One DICOM object that a team holds. `pixel_sha256` is of the first frame's bytes, padding removed.

    `words`: every text that it holds but for UIDs, so that tests can look for what it must not name.
    """

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    patient_name: str
    patient_id: str
    patient_birth_date: str
    number_of_frames: int
    sha256: str
    pixel_sha256: str
    bytes: int
    words: tuple[str, ...] = field(repr=False)


@dataclass(slots=True)
class Upload:
    """One uploader-API upload, from init to complete, error or cancel."""

    id: str
    team: str
    studies: dict[str, Any]
    patient_id: str | None
    body: dict[str, Any]
    state: Literal["initialised", "started", "completed", "failed", "cancelled"] = "initialised"
    assembly_id: str | None = None
    message: str | None = None


@dataclass(slots=True)
class Team:
    """A realm. `service_key` is the uploader API's X-Api-Key; by default the same as the REST key."""

    name: str
    key: str
    service_key: str
    people: dict[str, Person] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)

    def study_by_uid(self, uid: str) -> Study | None:
        """The newest study of the team with this study_instance_uid."""
        found = [s for p in self.people.values() for s in p.studies.values() if uid in s.fields.values()]
        return max(found, key=lambda s: s.sequence, default=None)

    def instances_of(self, study_uid: str) -> list[Instance]:
        """What the team holds for a study, by SOP instance UID."""
        chosen = [i for i in self.instances.values() if i.study_instance_uid == study_uid]
        return sorted(chosen, key=lambda i: i.sop_instance_uid)


@dataclass(slots=True)
class Bearer:
    """An exchanged uploader token. `uses_left` None: no limit."""

    team: str
    scopes: tuple[str, ...]
    expires_at: datetime
    uses_left: int | None


@dataclass(slots=True)
class AuraboxState:
    """Teams, uploader credentials and tokens; switches that tests flip."""

    teams: dict[str, Team] = field(default_factory=dict)
    app_id: str = "sandbox-app"
    app_secret: str = field(default_factory=lambda: secrets.token_hex(24))
    nonces: set[str] = field(default_factory=set)
    bearers: dict[str, Bearer] = field(default_factory=dict)
    lift_tokens: dict[str, str] = field(default_factory=dict)
    expired_lift_tokens: set[str] = field(default_factory=set)
    uploads: dict[str, Upload] = field(default_factory=dict)
    limits_per_minute: dict[str, int] = field(default_factory=dict)
    calls: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    relative_location: bool = False
    # another Tus receiver to hand out instead of the sandbox's own: its endpoint and the token it wants
    lift_elsewhere: tuple[str, str] | None = None
    # the field in which studies show how many images they hold, if they show it
    image_count_field: str | None = None
    refused_instances: set[str] = field(default_factory=set)
    refuse_next_instances: int = 0
    _last_time: datetime = LONG_AGO
    _sequence: int = 0

    def add_team(self, name: str, *, service_key: str | None = None) -> Team:
        """A new team with a new API key. ValueError when the name is taken."""
        if name in self.teams:
            raise ValueError(f"team {name!r} exists")
        key = f"aura_{secrets.token_hex(20)}"
        self.teams[name] = Team(name, key, service_key or key)
        return self.teams[name]

    def team_with_key(self, key: str) -> Team | None:
        """The team whose REST key this is."""
        return next(
            (t for t in self.teams.values() if secrets.compare_digest(t.key.encode(), key.encode())), None
        )

    def team_with_service_key(self, key: str) -> Team | None:
        """By service key; a team's REST key serves too."""
        return next((t for t in self.teams.values() if key in (t.service_key, t.key)), None)

    def now(self) -> str:
        """The time as Laravel writes it; never the same twice."""
        self._last_time = max(datetime.now(UTC), self._last_time + timedelta(microseconds=1))
        return self._last_time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def next_sequence(self) -> int:
        """A number that grows with every record made."""
        self._sequence += 1
        return self._sequence

    def new_lift_token(self, team: str) -> str:
        """A new token for the Tus endpoint, for this team."""
        token = f"lift_{secrets.token_hex(20)}"
        self.lift_tokens[token] = team
        return token

    def expire_tokens(self) -> None:
        """Ends every uploader and lift token given out so far."""
        for bearer in self.bearers.values():
            bearer.expires_at = LONG_AGO
        self.expired_lift_tokens |= self.lift_tokens.keys()


def new_uuid() -> str:
    """An id as Aurabox hands them out."""
    return str(uuid.uuid4())
