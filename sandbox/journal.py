"""What the simulated vendors accepted and what they were asked; only ever appended to, and read by the checks.

An *effect* is something a vendor now holds (a patient, a byte range, a report). A *request* is one HTTP
exchange, whether or not it had an effect. Query values that are credentials are never kept.
"""

import hashlib
import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

SECRET_PARAMETERS = frozenset({"signature", "token", "key"})

# when the request began that is being answered just now; a fault may hold it for long before it has its effect
ASKED_AT: ContextVar[datetime | None] = ContextVar("asked_at", default=None)


def digest_of(value: object) -> str:
    """The hex sha256 of bytes, or of the canonical JSON of anything else."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that a vendor accepted. `who` is an Aurabox team's name, or a Clarius key's prefix.

    `asked_at`: when the request that had this effect came in.
    """

    sequence: int
    at: datetime
    asked_at: datetime
    kind: str
    who: str
    natural_key: str
    remote_id: str
    digest: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """One HTTP exchange. `status` is None when the connection was cut before an answer.

    `auth` names the header kinds that carried credentials (`authorization:Bearer`, `x-api-key`), `secrets`
    names the owners of known secrets found in any header (`clarius`, `aurabox:<team>`, `lift`).
    """

    sequence: int
    at: datetime
    server: str
    method: str
    path: str
    query: dict[str, str]
    status: int | None
    auth: tuple[str, ...]
    secrets: tuple[str, ...]
    origin: str
    range: str | None
    request_bytes: int
    response_bytes: int
    fault: str | None


class Journal:
    """Append-only lists of effects and requests, with the questions that tests ask of them."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.requests: list[RequestSeen] = []

    def record_effect(
        self,
        kind: str,
        *,
        who: str,
        natural_key: str,
        remote_id: str,
        digest: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> Effect:
        """Appends one accepted effect and returns it."""
        at = datetime.now(UTC)
        effect = Effect(
            sequence=len(self.effects) + 1,
            at=at,
            asked_at=ASKED_AT.get() or at,
            kind=kind,
            who=who,
            natural_key=natural_key,
            remote_id=remote_id,
            digest=digest,
            detail=dict(detail or {}),
        )
        self.effects.append(effect)
        return effect

    def record_request(self, **values: Any) -> RequestSeen:
        """Appends one exchange; `sequence` and `at` are filled in."""
        query = {k: "…" if k.lower() in SECRET_PARAMETERS else v for k, v in values.pop("query").items()}
        seen = RequestSeen(sequence=len(self.requests) + 1, at=datetime.now(UTC), query=query, **values)
        self.requests.append(seen)
        return seen

    def effects_of(
        self,
        kind: str,
        *,
        who: str | None = None,
        natural_key: str | None = None,
        remote_id: str | None = None,
    ) -> list[Effect]:
        """Effects whose kind matches the glob `kind` (`aurabox.*.create`), oldest first."""
        return [
            e
            for e in self.effects
            if fnmatchcase(e.kind, kind)
            and (who is None or e.who == who)
            and (natural_key is None or e.natural_key == natural_key)
            and (remote_id is None or e.remote_id == remote_id)
        ]

    def requests_to(
        self, server: str = "*", method: str = "*", path: str = "*", *, status: int | None = None
    ) -> list[RequestSeen]:
        """Exchanges that match the globs, oldest first."""
        return [
            r
            for r in self.requests
            if fnmatchcase(r.server, server)
            and fnmatchcase(r.method, method)
            and fnmatchcase(r.path, path)
            and (status is None or r.status == status)
        ]

    def doubled_creates(self) -> list[tuple[str, str, str]]:
        """(kind, who, natural key) of everything created again while the first still existed (I3)."""
        alive: dict[tuple[str, str, str], set[str]] = {}
        doubled: list[tuple[str, str, str]] = []
        for effect in self.effects:
            thing, _, verb = effect.kind.rpartition(".")
            key = (f"{thing}.create", effect.who, effect.natural_key)
            if verb == "create":
                if alive.setdefault(key, set()):
                    doubled.append(key)
                alive[key].add(effect.remote_id)
            elif verb == "delete":
                alive.get(key, set()).discard(effect.remote_id)
        return doubled

    def remote_ids(self, kind: str = "*.create") -> set[str]:
        """Every id that a vendor has handed out for effects of this kind (I4)."""
        return {e.remote_id for e in self.effects_of(kind)}

    def misplaced_secrets(self) -> list[RequestSeen]:
        """Exchanges that carried a credential to a server that it does not belong to (I5)."""
        return [r for r in self.requests if any(_home_of(owner) != r.server for owner in r.secrets)]

    def bytes_sent_twice(self) -> list[tuple[str, int, int]]:
        """(Tus upload, start, end) of each accepted byte range that overlaps an earlier one of that upload."""
        held: dict[str, list[tuple[int, int]]] = {}
        twice: list[tuple[str, int, int]] = []
        for effect in self.effects_of("lift.patch"):
            start, end = int(effect.detail["start"]), int(effect.detail["end"])
            if any(
                start < other_end and other_start < end
                for other_start, other_end in held.get(effect.remote_id, [])
            ):
                twice.append((effect.remote_id, start, end))
            held.setdefault(effect.remote_id, []).append((start, end))
        return twice

    def as_json(self, *, effects_after: int = 0, requests_after: int = 0) -> dict[str, Any]:
        """Both lists from the given sequence numbers on, as plain JSON values."""
        return {
            "effects": [_plain(e) for e in self.effects[effects_after:]],
            "requests": [_plain(r) for r in self.requests[requests_after:]],
        }


def _home_of(owner: str) -> str:
    return owner.partition(":")[0]


def _plain(entry: Effect | RequestSeen) -> dict[str, Any]:
    values = asdict(entry)
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()
    }
