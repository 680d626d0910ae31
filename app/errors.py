"""The errors of the project, named for what the caller should do; must not hold secrets, bodies or patient data.

What each of them does to an exam: docs/delivery.md, "Errors and what they do". The message of an
error is made of our own words, a status and names of fields. What an upstream said is beside it (`UpstreamError.words`)
and is never a part of `str()` or `repr()`: it may repeat the patient whom it refused, or tell of another one.
Codes are stable, snake_case, and start with the upstream's name when there is one (`aurabox_rejected`).
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import ClassVar, Literal

Upstream = Literal["clarius", "aurabox", "dicomweb", "media", "oidc", "alert"]

RETRY_AFTER_CAP_SECONDS = 3600.0
WORDS_CAP_CHARACTERS = 2000


class Blame(StrEnum):
    """Whom an error is about, and so who waits, is paused or fails for it; nobody else does."""

    #: an account's credentials: only this pauses the account, for everybody who uses it
    CREDENTIAL = "credential"
    #: a machine, the upstream's or this one: what fails there is tried again, and too much of it opens the breaker
    HOST = "host"
    ORGANIZATION = "organization"
    #: one Clarius customer's link
    LINK = "link"
    EXAM = "exam"
    CAPTURE = "capture"


class SonobridgeError(Exception):
    """Root. `code` is stable and for machines; `str()` is one readable line for people. `blame`: whom it is about."""

    blame: Blame = Blame.EXAM
    kind: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.kind

    def __repr__(self) -> str:
        return f"{type(self).__name__}(code={self.code!r}, message={self.message!r})"


class Misuse(SonobridgeError):
    """A person gave bad input: show the one line, exit with status 2."""

    kind = "misuse"


class SettingsError(Misuse):
    """The environment holds mistakes; `mistakes` has one readable line for each, none with a secret value."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class LocalTrouble(SonobridgeError):
    """This host cannot work just now (disk, database): give the lease back, count no attempt."""

    blame = Blame.HOST
    kind = "local_trouble"
    retryable = True


class DiskFull(LocalTrouble):
    """Not enough free disk for what is to be written; nothing more is claimed until there is."""

    kind = "disk_full"


class UpstreamError(SonobridgeError):
    """Something outside did not do what was asked.

    `status` is the HTTP status, if there was an answer. `upstream_message` and `fields` (texts by field) are the
    upstream's own words: for whoever made this very call, and otherwise sealed. `retry_after` is in seconds, at most
    `RETRY_AFTER_CAP_SECONDS`. `account` names whose credentials were used.
    """

    kind = "upstream"

    def __init__(
        self,
        message: str,
        *,
        upstream: Upstream | None = None,
        status: int | None = None,
        upstream_message: str = "",
        fields: Mapping[str, Sequence[str]] | None = None,
        retry_after: float | None = None,
        account: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, code=code or (f"{upstream}_{self.kind}" if upstream else self.kind))
        self.upstream = upstream
        self.status = status
        self.upstream_message = upstream_message
        self.fields: dict[str, list[str]] = {name: list(texts) for name, texts in (fields or {}).items()}
        self.retry_after = retry_after
        self.account = account

    @property
    def words(self) -> str:
        """What the upstream said, fields included, in one cut line; "" when it said nothing."""
        fields = (f"{name}: {' '.join(texts)}" for name, texts in self.fields.items() if texts)
        line = "; ".join(part for part in (self.upstream_message, *fields) if part)
        return line if len(line) <= WORDS_CAP_CHARACTERS else line[: WORDS_CAP_CHARACTERS - 1] + "…"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(code={self.code!r}, status={self.status!r}, message={self.message!r})"


class TryLater(UpstreamError):
    """Transient and without effect: the same call may be made again, with backoff."""

    blame = Blame.HOST
    kind = "unavailable"
    retryable = True


class CaptureUrlExpired(TryLater):
    """The media link no longer serves: read the exam data (C2) again for a fresh one, then go on."""

    blame = Blame.CAPTURE
    kind = "link_expired"


class StillProcessing(TryLater):
    """Clarius has not finished with the exam (C18, C19: status 400): ask again later."""

    blame = Blame.EXAM
    kind = "still_processing"


class Forbidden(TryLater):
    """The thing asked for was refused (403) while a neutral call with the same credentials passes.

    It may be a firewall's moment, so it is asked for again some times; then it is the fault of that exam.
    """

    blame = Blame.EXAM
    kind = "forbidden"


class BadAnswer(TryLater):
    """An answer of success that is none: a page, garbage, half a JSON, not what is documented, over the size cap.

    An observation about the upstream (a proxy's page, a deploy under way), so it is tried again like a 5xx; what
    stays so over the whole retry budget fails with this code. A write so answered is `LookFirst`.
    """

    kind = "bad_answer"


class WrongShape(BadAnswer):
    """JSON, whole and readable, but not of the documented shape: unlike a page in between, it hardly mends itself."""


class LookFirst(UpstreamError):
    """Ambiguous: a write may have had its effect. Look for it before doing it again."""

    blame = Blame.HOST
    kind = "unclear"
    retryable = True


class SlowDown(UpstreamError):
    """429: the whole account waits `retry_after` seconds, or backs off when that is None. Nothing was created."""

    blame = Blame.HOST
    kind = "throttled"
    retryable = True


class RenewCredentials(UpstreamError):
    """The credentials were refused: pause the account until new ones work. Nothing was created."""

    blame = Blame.CREDENTIAL
    kind = "credentials"


class GiveUp(UpstreamError):
    """Permanent: the same call will fail again; a person decides."""

    kind = "failed"


class NotThere(GiveUp):
    """404 or 410: the thing asked for does not exist (any more)."""

    kind = "not_found"


class Rejected(GiveUp):
    """The upstream understood and refused (400, 409, 422, …); `fields` says which values, when it told."""

    kind = "rejected"


class NotAllowed(GiveUp):
    """Refused by our own egress rules before anything was dialled. Never holds a path or a query."""

    kind = "not_allowed"


def upstream_words(error: BaseException | None) -> str:
    """The upstream's words behind an error of ours (Held was raised from a refusal); "" when there are none."""
    while error is not None:
        if isinstance(error, UpstreamError) and error.words:
            return error.words
        error = error.__cause__
    return ""
