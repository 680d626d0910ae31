"""Whether an account may be called: throttled, refused, broken off; probes, and what makes it work again."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, update

from app import errors
from app.crypto import CannotUnseal
from app.gate import Held, calling, lift
from app.resources import Resources, open_resources
from app.settings import Settings
from app.states import ExamState, Reason, Step
from app.store.audit import AuditEvent
from app.store.base import in_seconds
from app.store.upstreams import BREAKER_LEAST_CALLS, Upstream, upstream
from tests.support.exams import add_exam, reread

ACCOUNT = "clarius"


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    async with open_resources(settings.model_copy(update={"credentials_probe_seconds": 600})) as opened:
        yield opened


async def call(resources: Resources, error: Exception | None = None, account: str = ACCOUNT) -> str:
    """One call that ends in `error`; "sent", or why it was held back."""
    sent = False
    try:
        async with calling(resources, account):
            sent = True
            if error is not None:
                raise error
    except Held as held:
        return f"sent, {held.reason}" if sent else str(held.reason)
    except (errors.SonobridgeError, CannotUnseal):
        pass
    return "sent"


async def known(resources: Resources, account: str = ACCOUNT) -> Upstream:
    async with resources.sessions() as session:
        row = await upstream(session, account)
    assert row is not None
    return row


async def let_time_pass(resources: Resources, *columns: str) -> None:
    """Put these moments into the past, as if they had come."""
    async with resources.sessions.begin() as session:
        await session.execute(update(Upstream).values({name: in_seconds(-1) for name in columns}))


async def test_an_account_nobody_complained_about_may_be_called(resources: Resources) -> None:
    assert await call(resources) == "sent"


@pytest.mark.parametrize("after", [30.0, None])
async def test_throttled_holds_the_whole_account_and_no_other(
    resources: Resources, after: float | None
) -> None:
    error = errors.SlowDown("slow", retry_after=after)
    assert await call(resources, error) == "sent"
    assert error.retry_after is not None
    assert error.retry_after > 0
    assert await call(resources) == "throttled"
    assert await call(resources, account="media:x") == "sent"
    await let_time_pass(resources, "throttled_until")
    assert await call(resources) == "sent"
    assert (await known(resources)).throttles == 0


async def test_a_shorter_wait_does_not_shorten_a_longer_one(resources: Resources) -> None:
    await call(resources, errors.SlowDown("slow", retry_after=3000))
    first = (await known(resources)).throttled_until
    async with resources.sessions.begin() as session:
        await session.execute(update(Upstream).values(throttled_until=None))
    await call(resources, errors.SlowDown("slow", retry_after=1))
    assert (await known(resources)).throttled_until < first


async def test_throttling_without_a_time_backs_off_further_each_time(resources: Resources) -> None:
    waits = []
    for _ in range(3):
        error = errors.SlowDown("slow")
        await call(resources, error)
        waits.append(error.retry_after)
        await let_time_pass(resources, "throttled_until")
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]


@pytest.mark.parametrize("error", [errors.RenewCredentials("401"), CannotUnseal("no key")])
async def test_refused_credentials_pause_the_account_with_one_audit_row_and_one_probe(
    resources: Resources, error: Exception
) -> None:
    assert await call(resources, error) == "sent, paused"
    assert await call(resources) == "paused"
    await let_time_pass(resources, "probe_at")
    outcomes = await asyncio.gather(*(call(resources, errors.RenewCredentials("401")) for _ in range(8)))
    assert sorted(outcomes) == ["paused"] * 7 + ["sent, paused"]
    assert await audited(resources) == ["account.pause"]


async def audited(resources: Resources) -> list[str]:
    async with resources.sessions() as session:
        return list(await session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)))


async def test_a_probe_that_works_lifts_the_pause_and_wakes_who_waited(resources: Resources) -> None:
    exam = await add_exam(
        resources, state=ExamState.WAITING, due_in=600, reason=Reason.PAUSED, step=Step.FETCH
    )
    await call(resources, errors.RenewCredentials("401"))
    await let_time_pass(resources, "probe_at")
    assert await call(resources) == "sent"
    assert (await known(resources)).refused_since is None
    assert (await reread(resources, exam.id)).due_at < exam.due_at
    assert await audited(resources) == ["account.pause", "account.resume"]


async def test_new_credentials_lift_the_pause_without_a_probe(resources: Resources) -> None:
    await call(resources, errors.RenewCredentials("401"))
    async with resources.sessions.begin() as session:
        await lift(session, ACCOUNT)
    assert await call(resources) == "sent"


@pytest.mark.parametrize("answer", [errors.NotThere("404"), errors.Rejected("422")])
async def test_an_answer_of_any_sense_to_a_probe_shows_that_the_account_works(
    resources: Resources, answer: Exception
) -> None:
    await call(resources, errors.RenewCredentials("401"))
    await let_time_pass(resources, "probe_at")
    await call(resources, answer)
    assert await call(resources) == "sent"


async def test_the_breaker_opens_at_the_share_of_failures_and_closes_after_one_probe(
    resources: Resources,
) -> None:
    for number in range(BREAKER_LEAST_CALLS):
        assert await call(resources, errors.TryLater("503") if number % 10 < 7 else None) == "sent"
        if number < BREAKER_LEAST_CALLS - 1:
            assert (await known(resources)).open_since is None
    # the tenth was a success: three of ten worked; one more failure tips it
    assert await call(resources, errors.LookFirst("500")) == "sent"
    assert await call(resources) == "retry"
    await let_time_pass(resources, "open_until")
    assert await call(resources, errors.TryLater("503")) == "sent"
    assert await call(resources) == "retry"
    await let_time_pass(resources, "open_until")
    assert await call(resources) == "sent"
    assert (await known(resources)).open_since is None


@pytest.mark.parametrize("error", [errors.LinkExpired("expired"), errors.StillProcessing("busy")])
async def test_expired_links_and_unfinished_work_do_not_open_the_breaker(
    resources: Resources, error: Exception
) -> None:
    for _ in range(BREAKER_LEAST_CALLS + 5):
        assert await call(resources, error) == "sent"


async def test_two_of_three_failing_calls_leave_the_breaker_shut(resources: Resources) -> None:
    for number in range(BREAKER_LEAST_CALLS * 2):
        assert await call(resources, errors.TryLater("503") if number % 3 else None) == "sent"


@pytest.mark.parametrize(
    ("complaint", "reason"),
    [
        (errors.SlowDown("slow down", upstream="clarius", retry_after=600), Reason.THROTTLED),
        (errors.RenewCredentials("refused", upstream="clarius", status=400), Reason.PAUSED),
    ],
    ids=["throttled", "paused"],
)
async def test_a_call_that_was_on_its_way_before_does_not_lift_the_pause(
    resources: Resources, complaint: errors.SonobridgeError, reason: Reason
) -> None:
    going = asyncio.Event()
    may_end = asyncio.Event()

    async def slow_call() -> None:
        async with calling(resources, ACCOUNT):
            going.set()
            await may_end.wait()

    earlier = asyncio.create_task(slow_call())
    await going.wait()
    await call(resources, complaint)
    may_end.set()
    await earlier
    assert await call(resources) == str(reason)
