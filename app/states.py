"""What an exam can be, where it can stand, and which moves are allowed; no I/O, no persistence."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class ExamState(StrEnum):
    """What a person sees of an exam (docs/delivery.md, "What a person sees")."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DELIVERED = "delivered"
    REVIEW = "review"
    UNVERIFIED = "unverified"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GONE = "gone"


class Step(StrEnum):
    """The unit of work an exam stands at; they run in this order."""

    VERIFY = "verify"
    FETCH = "fetch"
    DOWNLOAD = "download"
    MATCH = "match"
    STUDY = "study"
    CONVERT = "convert"
    SEND = "send"
    CONFIRM = "confirm"
    REPORT = "report"


class Reason(StrEnum):
    """Why an exam is `waiting`."""

    LINK = "link"
    RETRY = "retry"
    THROTTLED = "throttled"
    PAUSED = "paused"
    SETTLING = "settling"


class Source(StrEnum):
    """How an exam request became known to us."""

    WEBHOOK = "webhook"
    POLL = "poll"
    IMPORT = "import"


class LinkState(StrEnum):
    """What stands between a clinician's Clarius account and us."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    DISCONNECTED = "disconnected"


S = ExamState

MOVES: dict[ExamState, frozenset[ExamState]] = {
    # cancelled or failed straight from the queue: a person, or the sweep that found a poison exam
    S.QUEUED: frozenset({S.RUNNING, S.WAITING, S.CANCELLED, S.FAILED}),
    S.RUNNING: frozenset(
        {S.QUEUED, S.WAITING, S.DELIVERED, S.REVIEW, S.UNVERIFIED, S.FAILED, S.GONE, S.CANCELLED}
    ),
    # straight to unverified: one shared look at Clarius settles every waiting request of a customer
    S.WAITING: frozenset({S.QUEUED, S.RUNNING, S.CANCELLED, S.FAILED, S.UNVERIFIED}),
    # a delivered exam runs again only for its receipt, which never undoes the delivery
    S.DELIVERED: frozenset({S.RUNNING, S.DELIVERED}),
    S.REVIEW: frozenset({S.QUEUED, S.CANCELLED}),
    # a later claim under the right customer, or the poll, outranks our verdict
    S.UNVERIFIED: frozenset({S.QUEUED, S.WAITING, S.CANCELLED}),
    S.FAILED: frozenset({S.QUEUED, S.CANCELLED}),
    # cancelling is a person's act; the same person may take it back
    S.CANCELLED: frozenset({S.QUEUED}),
    # Clarius may list an exam again after a new submission of the same request
    S.GONE: frozenset({S.QUEUED, S.CANCELLED}),
}


class Keep(StrEnum):
    """For how long the files of an exam that rests are kept; `app/upkeep/retention.py` has the settings."""

    #: nobody will ask for them again
    OVER = "over"
    #: it may be tried again, for a while
    GIVEN_UP = "given up"
    #: until a person has decided
    REVIEW = "review"


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What holds of an exam by its state alone; without defaults, so that a new state answers all of it at once."""

    #: None while it goes on by itself; else nothing moves it but a person, the poll or a new submission
    keep: Keep | None
    #: `free`: a worker takes it when it is due; `held`: a worker may be at it
    lease: Literal["free", "held"] | None
    #: a link that moves takes it along, leaves it held, or cancels it
    linked: bool
    #: its files in staging are used when it goes on
    staged: bool
    #: operators are alerted
    alarms: bool
    #: retried with others when a person names no state
    bulk: bool


TRAITS: dict[ExamState, Traits] = {
    S.QUEUED: Traits(keep=None, lease="free", linked=True, staged=True, alarms=False, bulk=False),
    S.RUNNING: Traits(keep=None, lease="held", linked=True, staged=True, alarms=False, bulk=False),
    S.WAITING: Traits(keep=None, lease="free", linked=True, staged=True, alarms=False, bulk=False),
    # held for its receipt; staged as long as captures are kept
    S.DELIVERED: Traits(keep=Keep.OVER, lease="held", linked=False, staged=True, alarms=False, bulk=False),
    S.REVIEW: Traits(keep=Keep.REVIEW, lease=None, linked=True, staged=True, alarms=True, bulk=True),
    S.UNVERIFIED: Traits(keep=Keep.GIVEN_UP, lease=None, linked=False, staged=False, alarms=True, bulk=False),
    S.FAILED: Traits(keep=Keep.GIVEN_UP, lease=None, linked=False, staged=True, alarms=True, bulk=True),
    S.CANCELLED: Traits(keep=Keep.OVER, lease=None, linked=False, staged=False, alarms=False, bulk=False),
    S.GONE: Traits(keep=Keep.OVER, lease=None, linked=False, staged=False, alarms=False, bulk=False),
}


def states_with(trait: Callable[[Traits], object]) -> tuple[ExamState, ...]:
    """The states of which a trait holds, always in the same order: statements name them as literals."""
    return tuple(state for state in ExamState if trait(TRAITS[state]))


UNDER_WAY = states_with(lambda traits: traits.keep is None)
FINAL = states_with(lambda traits: traits.keep)
# a person may queue these again
RESTING = tuple(state for state in FINAL if S.QUEUED in MOVES[state])
LEASABLE = states_with(lambda traits: traits.lease == "free")
LEASED = states_with(lambda traits: traits.lease == "held")
FOLLOWS_LINK = states_with(lambda traits: traits.linked)

# these waits end by themselves; the others only once somebody has linked an account or renewed a key
ENDS_BY_ITSELF = frozenset({Reason.RETRY, Reason.THROTTLED, Reason.SETTLING})

# codes of exams that wait because no sealing key opens a value that they need begin so
UNREADABLE = "unreadable_"

# From download to send the bytes lie in staging; with a local folder that means on one host.
STAGED_STEPS = frozenset({Step.MATCH, Step.STUDY, Step.CONVERT, Step.SEND})


def may_move(now: str, to: str) -> bool:
    """Whether the table of moves allows `now` -> `to`; unknown states may not move at all."""
    try:
        return ExamState(to) in MOVES[ExamState(now)]
    except ValueError:
        return False


def earlier(step: Step, other: Step) -> Step:
    """The one of two steps that runs first."""
    return min(step, other, key=list(Step).index)
