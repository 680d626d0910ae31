"""What a call to the outside is made of and what comes back; must not do any I/O.

Nothing here shows credentials or bodies in its repr.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.errors import BadAnswer, LookFirst, Upstream, UpstreamError, WrongShape

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

JSON_CAP_BYTES = 32 * 1024 * 1024
LEAST_BYTES_PER_SECOND = 10 * 1024
PACE_WINDOW_SECONDS = 30.0


HOSTS: dict[Upstream, str] = {
    "clarius": "Clarius",
    "aurabox": "Aurabox",
    "dicomweb": "the DICOMweb server",
    "media": "the media host",
    "oidc": "the identity provider",
    "alert": "the alert address",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one exchange: seconds for each phase and in all, decoded bytes, and bytes a second at least."""

    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    total_seconds: float = 120.0
    cap_bytes: int = JSON_CAP_BYTES
    least_bytes_per_second: float = LEAST_BYTES_PER_SECOND
    pace_window_seconds: float = PACE_WINDOW_SECONDS


API_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Credentials:
    """Secret headers and the one origin that may see them.

    `configured`: the base was set by the operator, so that ports other than 443 are their own choice.
    """

    base: str
    headers: Mapping[str, str] = field(repr=False)
    configured: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A body that is streamed: its exact length in bytes, and how to begin reading it."""

    length: int
    chunks: Callable[[], AsyncIterator[bytes]] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call. `operation` is its name in docs/vendors.md (`upload report`): metrics, errors and traces say it.

    `effect`: whether it changes something outside, so that a lost answer is ambiguous; by default every method
    but GET, HEAD and OPTIONS does. `pinned`: refused unless the URL is on the credentials' origin. `accept`:
    statuses besides 2xx that are handed back and not raised. `forbidden_is_credentials`: a 403 speaks of the key
    and not of the one thing asked for.
    """

    upstream: Upstream
    operation: str
    method: str
    url: str = field(repr=False)
    account: str | None = None
    credentials: Credentials | None = None
    pinned: bool = True
    effect: bool | None = None
    params: Mapping[str, str | int] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Any = field(default=None, repr=False)
    content: bytes | Upload | None = field(default=None, repr=False)
    data: Mapping[str, str] | None = field(default=None, repr=False)
    files: Mapping[str, tuple[str, bytes, str]] | None = field(default=None, repr=False)
    accept: frozenset[int] = frozenset()
    forbidden_is_credentials: bool = True
    media: bool = False
    limits: Limits = API_LIMITS

    @property
    def host(self) -> str:
        """The other side, in words for an error."""
        return HOSTS[self.upstream]

    @property
    def has_effect(self) -> bool:
        """Whether a lost answer leaves it open if something was changed."""
        return self.method not in SAFE_METHODS if self.effect is None else self.effect

    def undocumented(
        self, message: str, *, status: int | None = None, kind: type[BadAnswer] = BadAnswer
    ) -> UpstreamError:
        """The error for a 2xx that cannot be read: the effect of a write has happened all the same."""
        if self.has_effect:
            return LookFirst(
                f"{self.operation}: {message}", upstream=self.upstream, status=status, account=self.account
            )
        return kind(
            f"{self.operation}: {message}", upstream=self.upstream, status=status, account=self.account
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, read within the caps."""

    call: Call
    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON; `BadAnswer` (`LookFirst` for a write) when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise self.call.undocumented("the answer is not JSON", status=self.status) from None

    def object(self) -> dict[str, Any]:
        """The body as a JSON object; `BadAnswer` (`LookFirst` for a write) when it is none."""
        value = self.json()
        if not isinstance(value, dict):
            raise self.call.undocumented(
                "the answer is not a JSON object", status=self.status, kind=WrongShape
            )
        return value

    def array(self) -> list[Any]:
        """The body as a JSON array; `BadAnswer` (`LookFirst` for a write) when it is none."""
        value = self.json()
        if not isinstance(value, list):
            raise self.call.undocumented(
                "the answer is not a JSON array", status=self.status, kind=WrongShape
            )
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The outcome of an exchange: `outcome` is the HTTP status, or the error's code when there was no answer."""

    upstream: Upstream
    operation: str
    account: str | None
    outcome: int | str
    failed: bool
    seconds: float


Observe = Callable[[Observation], None]
