"""What an exam can be, where it can stand, and which moves are allowed; no I/O, no persistence."""

from enum import StrEnum


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

# codes of exams that wait because no sealing key opens a value that they need begin so
UNREADABLE = "unreadable_"

FINAL = frozenset({S.DELIVERED, S.REVIEW, S.UNVERIFIED, S.FAILED, S.CANCELLED, S.GONE})
NAMED_WAITS = frozenset(Reason)

# From download to send the bytes lie in staging; with a local folder that means on one host.
STAGED_STEPS = frozenset({Step.MATCH, Step.STUDY, Step.CONVERT, Step.SEND})


def may_move(now: str, to: str) -> bool:
    """Whether the table of moves allows `now` -> `to`; unknown states may not move at all."""
    try:
        return ExamState(to) in MOVES[ExamState(now)]
    except ValueError:
        return False


def earlier(one: Step, other: Step) -> Step:
    """The one of two steps that runs first."""
    return min(one, other, key=list(Step).index)


def next_step(step: str) -> Step | None:
    """The step after `step`, or None after the last."""
    order = list(Step)
    at = order.index(Step(step))
    return order[at + 1] if at + 1 < len(order) else None
