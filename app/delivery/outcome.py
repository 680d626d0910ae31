"""What a step may come to, and what an error means for the exam; pure, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.errors import Forbidden, LocalTrouble, LookFirst, SlowDown, SonobridgeError, TryLater
from app.states import ExamState, Reason, Step
from app.upstreams.gate import THROTTLE_BASE_SECONDS, Held, backoff

# between two tries on a host in trouble: the first wait and the longest
LOCAL_SECONDS = 15.0
LOCAL_CAP_SECONDS = 600.0
# by these names they are counted at an exam's step (`Exam.count`)
GIVEN_BACK = "given_back"
FORBIDDEN = "forbidden"
# a firewall's moment is over sooner
FORBIDDEN_TO_FAIL = 5


@dataclass(frozen=True)
class Done:
    """The result is recorded. `to` names the step to go on with when it is not the next one.

    `sets`: columns of the exam's row that are written with it: under which subject or study it is filed from here on.
    `kind`: what that subject is.
    """

    detail: str | None = None
    to: Step | None = None
    sets: Mapping[str, Any] = field(default_factory=dict)
    kind: str | None = None


@dataclass(frozen=True)
class Wait:
    """Come back in `seconds` (None: when something else wakes the exam). `counted`: one attempt was used."""

    reason: Reason
    seconds: float | None
    counted: bool = False
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Rest:
    """Nothing more is done without a person (or, for `gone`, at all)."""

    state: ExamState
    code: str
    message: str
    reason: Reason | None = None


@dataclass(frozen=True)
class GiveBack:
    """This host can't work just now: queued again with no attempt counted.

    Give-backs are counted for themselves, since what looks like trouble of a host may be the exam's own.
    """

    seconds: float
    code: str = LocalTrouble.kind
    message: str = "this host could not work on it"


Outcome = Done | Wait | Rest | GiveBack


TURN_SECONDS = 2.0


def another_turn() -> Wait:
    """Another submission of the same study makes or sends its images just now."""
    return Wait(Reason.SETTLING, TURN_SECONDS, message="another submission of this exam is being sent")


class NeedsPerson(SonobridgeError):
    """A person has to decide; the exam goes to `review`. `reason`: what else would let it go on by itself."""

    def __init__(self, message: str, *, code: str, reason: Reason | None = None) -> None:
        super().__init__(message, code=code)
        self.reason = reason


def listed_but_absent(what: str) -> TryLater:
    """Aurabox lists what it answers 404 for: nothing is made beside it, and if it stays so a person sees it."""
    return TryLater(
        f"Aurabox lists the {what}, but answers 404 when asked for it",
        upstream="aurabox",
        status=404,
        code="aurabox_not_found",
    )


def decide(
    error: SonobridgeError, *, attempts: int, base: float, cap: float, counts: Mapping[str, int] | None = None
) -> Outcome:
    """What an error of one step means for its exam.

    `attempts` and `counts` are what was counted at this step before this error. What the account as a whole does (pause, breaker) is
    decided where it is called (`app.upstreams.gate`, which turns refused credentials into `Held`).
    """
    seen = counts or {}
    retry = partial(Wait, code=error.code, message=error.message)
    outcome: Outcome = Rest(ExamState.FAILED, error.code, error.message)
    if isinstance(error, Held):
        outcome = retry(error.reason, error.seconds)
    elif isinstance(error, SlowDown):
        outcome = retry(
            Reason.THROTTLED, THROTTLE_BASE_SECONDS if error.retry_after is None else error.retry_after
        )
    elif isinstance(error, Forbidden) and seen.get(FORBIDDEN, 0) + 1 >= FORBIDDEN_TO_FAIL:
        # so often while the credentials were accepted otherwise: it is this exam that is refused
        pass
    elif isinstance(error, LocalTrouble):
        again = seen.get(GIVEN_BACK, 0) + 1
        pause = max(LOCAL_SECONDS, backoff(again, base=LOCAL_SECONDS, cap=LOCAL_CAP_SECONDS))
        outcome = GiveBack(pause, error.code, error.message)
    elif isinstance(error, TryLater | LookFirst):
        # after LookFirst the step itself looks before it does anything again
        pause = backoff(attempts + 1, base=base, cap=cap)
        outcome = retry(Reason.RETRY, max(error.retry_after or 0.0, pause), counted=True)
    elif isinstance(error, NeedsPerson):
        outcome = Rest(ExamState.REVIEW, error.code, error.message, reason=error.reason)
    return outcome
