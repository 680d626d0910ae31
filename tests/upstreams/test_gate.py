"""Whether an account may be called: throttled, refused, broken off; probes, and what makes it work again."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, update

from app import errors
from app.config.sealing import CannotUnseal
from app.config.settings import Settings
from app.resources import Resources, open_resources
from app.states import ExamState, Reason, Step
from app.store.audit import AuditEvent
from app.store.base import in_seconds
from app.store.upstreams import BREAKER_LEAST_CALLS, BREAKER_WINDOW_SECONDS, Tally, Upstream, upstream
from app.upstreams.gate import Held, calling, lift, probe_due_accounts
from sandbox import faults
from sandbox.faults import Rule
from tests.support.bridge import settings_for
from tests.support.clarius import Sandbox
from tests.support.exams import add_exam, reread

ACCOUNT = "clarius"
MEDIA = f"media:{uuid.UUID(int=7)}"
REFUSED = errors.RenewCredentials("401")
REFUSED_403 = errors.RenewCredentials("403", status=403)


@pytest.fixture
async def resources(settings: Settings, sandbox: Sandbox) -> AsyncIterator[Resources]:
    async with open_resources(settings_for(settings, sandbox, credentials_probe_seconds=600)) as opened:
        yield opened


@pytest.fixture
def refusing(sandbox: Sandbox) -> Rule:
    """Clarius refuses the key, whatever is asked."""
    return sandbox.faults.arm(faults.answer(401), server="clarius", times=None)


def asked(sandbox: Sandbox) -> int:
    """How many neutral calls Clarius got (C6)."""
    return len(sandbox.journal.requests_to("clarius", "GET", "*/services/settings/"))


async def call(
    resources: Resources, error: Exception | None = None, account: str = ACCOUNT, *, by_hand: bool = False
) -> str:
    """One call that ends in `error`; "sent", or why it was held back."""
    sent = False
    try:
        async with calling(resources, account, by_hand=by_hand):
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
    assert await call(resources, account=MEDIA) == "sent"
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


UNREADABLE = CannotUnseal("no key", blame=errors.Blame.CREDENTIAL, account=ACCOUNT)


@pytest.mark.parametrize("error", [errors.RenewCredentials("401", status=401), UNREADABLE])
async def test_refused_credentials_pause_the_account_with_one_audit_row_and_one_probe(
    resources: Resources, sandbox: Sandbox, refusing: Rule, error: Exception
) -> None:
    assert await call(resources, error) == "sent, paused"
    assert await call(resources) == "paused"
    before = asked(sandbox)
    await let_time_pass(resources, "probe_at")
    outcomes = await asyncio.gather(*(call(resources) for _ in range(8)))
    # the probe is a call of its own: no exam is sent to find out
    assert outcomes == ["paused"] * 8
    assert asked(sandbox) == before + 1
    assert await audited(resources) == ["account.pause"]


async def audited(resources: Resources) -> list[str]:
    async with resources.sessions() as session:
        return list(await session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)))


async def test_a_probe_that_works_lifts_the_pause_and_wakes_who_waited(
    resources: Resources, sandbox: Sandbox
) -> None:
    exam = await add_exam(
        resources, state=ExamState.WAITING, due_in=600, reason=Reason.PAUSED, step=Step.FETCH
    )
    await call(resources, REFUSED)
    await let_time_pass(resources, "probe_at")
    assert await call(resources) == "sent"
    assert asked(sandbox) == 1
    assert (await known(resources)).refused_since is None
    assert (await reread(resources, exam.id)).due_at < exam.due_at
    assert await audited(resources) == ["account.pause", "account.resume"]


async def test_new_credentials_lift_the_pause_without_a_probe(resources: Resources) -> None:
    await call(resources, REFUSED)
    async with resources.sessions.begin() as session:
        await lift(session, ACCOUNT)
    assert await call(resources) == "sent"


@pytest.mark.parametrize("answer", [404, 422])
async def test_an_answer_of_any_sense_to_a_probe_shows_that_the_account_works(
    resources: Resources, sandbox: Sandbox, answer: int
) -> None:
    await call(resources, REFUSED)
    await let_time_pass(resources, "probe_at")
    sandbox.faults.arm(faults.answer(answer), server="clarius")
    assert await call(resources) == "sent"


@pytest.mark.parametrize("answer", [500, 200], ids=["an outage", "a page"])
async def test_a_probe_without_an_answer_lifts_nothing(
    resources: Resources, sandbox: Sandbox, answer: int
) -> None:
    await call(resources, REFUSED)
    await let_time_pass(resources, "probe_at")
    sandbox.faults.arm(faults.answer(answer, "<html>"), server="clarius", times=None)
    assert await call(resources) == "paused"


async def test_recurring_work_probes_what_nobody_calls(resources: Resources, sandbox: Sandbox) -> None:
    await call(resources, REFUSED)
    await call(resources, errors.RenewCredentials("401"), account=MEDIA)
    assert await probe_due_accounts(resources) == 0
    await let_time_pass(resources, "probe_at")
    assert await probe_due_accounts(resources) == 1
    assert (await known(resources)).refused_since is None
    assert (await known(resources, MEDIA)).refused_since is not None


async def test_a_403_that_a_neutral_call_does_not_meet_is_about_the_thing(
    resources: Resources, sandbox: Sandbox
) -> None:
    with pytest.raises(errors.Forbidden) as caught:
        async with calling(resources, ACCOUNT):
            raise errors.RenewCredentials("403", upstream="clarius", status=403)
    assert (caught.value.code, caught.value.blame) == ("clarius_forbidden", errors.Blame.EXAM)
    assert await call(resources) == "sent"
    assert await audited(resources) == []


async def test_a_403_that_a_neutral_call_meets_too_pauses_the_account(
    resources: Resources, sandbox: Sandbox
) -> None:
    sandbox.faults.arm(faults.answer(403), server="clarius", times=None)
    assert await call(resources, errors.RenewCredentials("403", status=403)) == "sent, paused"
    assert await call(resources) == "paused"


async def test_a_403_of_which_nothing_more_can_be_learned_is_tried_again(
    resources: Resources, sandbox: Sandbox
) -> None:
    sandbox.faults.arm(faults.answer(500), server="clarius", times=None)
    with pytest.raises(errors.TryLater):
        async with calling(resources, ACCOUNT):
            raise errors.RenewCredentials("403", status=403)
    assert await call(resources) == "sent"


async def test_a_refusal_pauses_the_account_whose_key_it_was(resources: Resources, refusing: Rule) -> None:
    """A capture on Clarius's own origin counts for its organisation, but its key is Clarius's."""
    error = errors.RenewCredentials("401", status=401, account=ACCOUNT)
    assert await call(resources, error, account=MEDIA) == "sent, paused"
    assert await call(resources) == "paused"
    assert await call(resources, account=MEDIA) == "sent"


async def test_a_persons_call_goes_out_and_lifts_the_pause_at_once(resources: Resources) -> None:
    exam = await add_exam(
        resources, state=ExamState.WAITING, due_in=600, reason=Reason.PAUSED, step=Step.FETCH
    )
    await call(resources, REFUSED)
    assert await call(resources) == "paused"
    assert await call(resources, by_hand=True) == "sent"
    assert await call(resources) == "sent"
    assert (await reread(resources, exam.id)).due_at < exam.due_at


@pytest.mark.parametrize("error", [errors.RenewCredentials("no usable key is set"), REFUSED_403, UNREADABLE])
async def test_a_persons_call_without_the_key_changes_nothing(
    resources: Resources, refusing: Rule, error: Exception
) -> None:
    assert await call(resources, error, by_hand=True) == "sent"
    assert await call(resources) == "sent"
    assert await audited(resources) == []


async def test_a_person_keeps_to_a_throttle(resources: Resources) -> None:
    await call(resources, errors.SlowDown("slow", retry_after=600))
    assert await call(resources, by_hand=True) == "throttled"


@pytest.mark.row(12)
async def test_the_breaker_opens_at_the_share_of_failures_and_closes_after_one_probe(
    resources: Resources, sandbox: Sandbox
) -> None:
    for number in range(BREAKER_LEAST_CALLS):
        assert await call(resources, errors.TryLater("503") if number % 10 < 7 else None) == "sent"
        if number < BREAKER_LEAST_CALLS - 1:
            assert (await known(resources)).open_since is None
    # the tenth was a success: three of ten worked; one more failure tips it
    assert await call(resources, errors.LookFirst("500")) == "sent"
    assert await call(resources) == "retry"
    away = sandbox.faults.arm(faults.answer(500), server="clarius", times=None)
    await let_time_pass(resources, "open_until")
    assert await call(resources) == "retry"
    sandbox.faults.clear()
    assert away.hits > 0
    await let_time_pass(resources, "open_until")
    assert await call(resources) == "sent"
    assert (await known(resources)).open_since is None


async def test_calls_that_worked_weigh_against_a_failure_although_they_were_not_written_yet(
    resources: Resources,
) -> None:
    for _ in range(5):
        assert await call(resources) == "sent"
    assert (await known(resources)).calls == 1
    await call(resources, errors.TryLater("503"))
    row = await known(resources)
    assert (row.calls, row.failures) == (6, 1)


def test_calls_that_worked_before_a_pause_do_not_weigh_against_failures_after_it() -> None:
    tally = Tally()
    for second in (0.0, 1.0, 2.0):
        tally.add(ACCOUNT, at=second)
    assert tally.take(ACCOUNT, at=3.0) == 3
    tally.add(ACCOUNT, at=4.0)
    assert tally.take(ACCOUNT, at=4.0 + BREAKER_WINDOW_SECONDS + 1) == 0


async def test_what_has_no_neutral_call_is_tried_by_the_next_call_itself(resources: Resources) -> None:
    """The host of an organisation's media: there is nothing to ask it but for a capture."""
    for _ in range(BREAKER_LEAST_CALLS):
        await call(resources, errors.TryLater("503"), account=MEDIA)
    assert await call(resources, account=MEDIA) == "retry"
    await let_time_pass(resources, "open_until")
    outcomes = await asyncio.gather(*(call(resources, account=MEDIA) for _ in range(4)))
    assert outcomes.count("sent") >= 1
    assert (await known(resources, MEDIA)).open_since is None


@pytest.mark.parametrize("error", [errors.CaptureUrlExpired("expired"), errors.StillProcessing("busy")])
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
