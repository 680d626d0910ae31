"""Every statement of the store, with a call that sends it: the list to add to when the store learns a new one.

By its nature a statement reads by an index: none of the tables that grow is read from end to end. `index` names one
that must be among those used; `reads_whole` says why a table is read whole all the same.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.states import ExamState, Reason, Step
from app.store import (
    alerts,
    arrivals,
    audit,
    base,
    browser_sessions,
    captures,
    claims,
    creates,
    credentials,
    cursors,
    due,
    exam_events,
    exam_gaps,
    exam_leases,
    exam_retention,
    exam_search,
    exam_staging,
    exam_view,
    exam_waiting,
    exams,
    filed,
    filings,
    holds,
    image_counts,
    instances,
    linked_exams,
    links,
    migrating,
    oidc_attempts,
    one_time_links,
    organizations,
    overview,
    pending_connects,
    process_metrics,
    runs,
    schema,
    secrets,
    studies,
    subjects,
    throttles,
    tokens,
    unsettled,
    uploads,
    upstreams,
    users,
    waking,
    workers,
)
from app.store.audit import AuditEvent, By
from app.store.creates import Create, CreateState
from app.store.exam_events import ExamEvent
from app.store.exams import Exam
from app.store.holds import Claimed, HoldKind
from app.store.one_time_links import OneTimeLinkKind
from app.store.organizations import Organization
from app.store.runs import Run
from app.store.subjects import Keys, Mode
from app.store.tokens import AdminToken
from tests.store.filled import HOST, NOW, OLD, Filled
from tests.store.plans import driver_of

KEPT = exam_retention.KeptSeconds(captures=60, exam=60, review=60)

Call = Callable[[AsyncSession, Filled], Awaitable[Any]]

SMALL = frozenset(
    {
        "admin_tokens",
        "alembic_version",
        "organizations",
        "policies",
        "process_metrics",
        "runs",
        "secrets",
        "upstreams",
        "workers",
    }
)
"""Tables of which nobody ever has many rows: they may be read whole."""


@dataclass(frozen=True)
class Sends:
    """One way to call a function of the store."""

    call: Call
    index: str | None = None
    reads_whole: str | None = None


def _sessions(session: AsyncSession) -> async_sessionmaker[AsyncSession]:
    """For what commits by itself: on the same connection, and undone with the rest."""
    return async_sessionmaker(session.bind, join_transaction_mode="create_savepoint")


async def _end_credentials(session: AsyncSession, filled: Filled) -> None:
    user = await users.lock_user(session, filled.users[1])
    assert user is not None
    await credentials.end_credentials(session, user)


async def _recurring(session: AsyncSession, _: Filled) -> None:
    with suppress(LookupError):
        async with runs.recurring(_sessions(session), "run 1", every=60, again=6) as run:
            assert run is not None
            raise LookupError


async def _recording(session: AsyncSession, _: Filled) -> None:
    async with runs.recording(_sessions(session), "run 1") as run:
        run.result = {"n": 1}


async def _queue_rest(session: AsyncSession, filled: Filled) -> None:
    # as many as there are at once, so that there may be more
    queued = [(filled.exams[0], 0)] * linked_exams.AT_ONCE
    await linked_exams.queue_rest(
        _sessions(session),
        customer_hash=filled.hash(3),
        organization_id=filled.organizations[3],
        queued=queued,
    )


async def _exam(session: AsyncSession, filled: Filled, lively: int) -> Exam:
    return await session.get_one(Exam, filled.exam_like(lively))


async def _describe(session: AsyncSession, filled: Filled) -> None:
    await exam_view.describe_exams(session, [await _exam(session, filled, n) for n in range(5)])


async def _describe_one(session: AsyncSession, filled: Filled) -> None:
    await exam_view.describe_exam(session, await _exam(session, filled, 6))


async def _move(session: AsyncSession, filled: Filled) -> None:
    await exams.move(session, await _exam(session, filled, 0), ExamState.WAITING, reason=Reason.RETRY)


async def _cancel(session: AsyncSession, filled: Filled) -> None:
    await exams.cancel(session, await _exam(session, filled, 0))


async def _drop_create(session: AsyncSession, filled: Filled) -> None:
    await creates.drop_create(session, Create(id=uuid4(), epoch=1))


async def _clear(session: AsyncSession, *held: Claimed) -> None:
    await holds.clear_request(session, "clarius", held, enough_seconds=30, term_seconds=60)


async def _clear_to_look(session: AsyncSession, filled: Filled) -> None:
    await _clear(
        session,
        Claimed(HoldKind.LOOK, filled.links[2], 0),
        Claimed(HoldKind.EXAM, filled.exam_like(4), 0),
    )


async def _clear_to_create(session: AsyncSession, filled: Filled) -> None:
    await _clear(
        session,
        Claimed(HoldKind.EXAM, filled.exam_like(4), 0),
        Claimed(HoldKind.CREATE, filled.exams[1], 1),
        Claimed(HoldKind.CREATE, filled.exams[2], 1, sends=True),
    )


async def _settle(session: AsyncSession, filled: Filled) -> None:
    await exams.settle_verified(
        session,
        await _exam(session, filled, 3),
        at=NOW,
        customer_hash=filled.hash(3),
        exam_uuid=filled.exams[3],
        download_url="https://clarius.example/data/",
        submitted_at=NOW,
    )


def _of_exam(call: Callable[[AsyncSession, Exam], Awaitable[Any]]) -> Call:
    """With an exam that is being sent."""

    async def made(session: AsyncSession, filled: Filled) -> Any:
        return await call(session, await _exam(session, filled, 4))

    return made


def _of_instances(call: Callable[[AsyncSession, Sequence[instances.Instance]], Awaitable[Any]]) -> Call:
    """With what was made for a study."""

    async def made(session: AsyncSession, filled: Filled) -> Any:
        return await call(session, await instances.instances_of_study(session, filled.studies[4]))

    return made


def _of_upload(call: Callable[[AsyncSession, uploads.Upload], Awaitable[Any]]) -> Call:
    """With an upload that is not over."""

    async def made(session: AsyncSession, filled: Filled) -> Any:
        return await call(session, await session.get_one(uploads.Upload, filled.exams[50]))

    return made


async def _link_capture(session: AsyncSession, filled: Filled) -> None:
    (capture,) = await captures.captures_of(session, filled.exams[4])
    made = await instances.instances_of_study(session, filled.studies[5])
    await instances.link_capture(session, capture.id, made)


async def _plan_upload(session: AsyncSession, filled: Filled) -> None:
    made = await instances.instances_of_study(session, filled.studies[4])
    await instances.plan_upload(session, await _exam(session, filled, 4), made)


async def _next_page(session: AsyncSession, filled: Filled) -> None:
    everything = exam_search.ExamFilter()
    _, cursor = await exam_search.find_exams(session, everything, limit=50)
    await exam_search.find_exams(session, everything, limit=50, cursor=cursor)


def _finds(index: str | None, **chosen: Any) -> "Sends":
    return Sends(lambda s, _: exam_search.find_exams(s, exam_search.ExamFilter(**chosen)), index)


async def _note_delivered(session: AsyncSession, _: Filled) -> None:
    await overview.note_delivered(session, await overview.read_overview(session))


async def _overview(session: AsyncSession, filled: Filled) -> None:
    """As it is read once the delivered were counted."""
    counted = {"count": 1, "until": NOW.isoformat()}
    await session.merge(Run(name=overview.DELIVERED, result=counted))
    await overview.read_overview(session)


async def _touch_token(session: AsyncSession, filled: Filled) -> None:
    found = await tokens.find_token(session, filled.hash(1))
    assert isinstance(found, AdminToken)
    await tokens.touch_token(session, found)


def _take_create(number: int) -> Call:
    return lambda session, filled: creates.take_create(
        session,
        organization_id=filled.organizations[number % len(filled.organizations)],
        kind="patient",
        natural_key=str(number),
        holder=filled.exams[0],
        seconds=60,
    )


async def _mark_create(session: AsyncSession, filled: Filled) -> None:
    held = await _take_create(10)(session, filled)
    assert isinstance(held, Create)
    await creates.mark_create(session, held, CreateState.SENDING)


def _keep_subject(session: AsyncSession, filled: Filled) -> Awaitable[subjects.Subject]:
    return subjects.keep_subject(
        session,
        Keys(filled.organizations[1], Mode.IDENTIFIED, b"new", None),
        id=uuid4(),
        kind="case",
        remote_id="r",
        facts_sealed=b"f",
        adopted=False,
    )


async def _successor(session: AsyncSession, filled: Filled) -> None:
    subject = await session.get_one(subjects.Subject, filled.subjects[1])
    subject.successor_id = filled.subjects[2]
    await subjects.successor_of(session, subject)


def _keys(filled: Filled) -> Keys:
    return Keys(filled.organizations[1], Mode.IDENTIFIED, patient=filled.hash(1), identifier=filled.hash(1))


async def _keep_policy(session: AsyncSession, filled: Filled) -> None:
    organization = await session.get_one(Organization, filled.organizations[1])
    organization.policy_version += 1
    organizations.keep_policy(session, organization, by="test")


async def arrive(session: AsyncSession, filled: Filled) -> None:
    """Two notifications, one of a request that is known; past SQLAlchemy, as the writer does it."""
    raw = await driver_of(await session.connection())
    rows = [
        arrivals.Arrival(uuid4(), request, uuid4(), b"x" * 32, "https://cloud.example/1", None, None)
        for request in (uuid4(), filled.exams[0])
    ]
    await arrivals.write_arrivals(raw, rows, room=unsettled.Room(), limit=10**6)


STATEMENTS: dict[Callable[..., Any], tuple[Sends, ...]] = {
    arrivals.write_arrivals: (Sends(arrive, "uq_exams_request_uuid"),),
    alerts.alerts_in_force: (Sends(lambda s, _: alerts.alerts_in_force(s), "uq_alerts_condition_in_force"),),
    alerts.untold_alerts: (
        Sends(
            lambda s, _: alerts.untold_alerts(s, limit=20),
            reads_whole="alerts: a few a day, and asked for by one teller",
        ),
    ),
    audit.audit: (Sends(lambda s, _: audit.audit(s, by=By("a"), action="b")),),
    audit.find_events: (
        Sends(lambda s, _: audit.find_events(s, limit=50), "pk_audit_events"),
        Sends(lambda s, _: audit.find_events(s, limit=50, before=500, since=OLD)),
        Sends(
            lambda s, _: audit.find_events(s, limit=50, actor="user1@x.example", subject="1"),
            reads_whole="a search that a person makes now and then",
        ),
        Sends(lambda s, _: audit.find_events(s, limit=50, action="act.1")),
    ),
    base.clock: (Sends(lambda s, _: base.clock(s)),),
    browser_sessions.find_browser_session: (
        Sends(lambda s, w: browser_sessions.find_browser_session(s, w.hash(1))),
    ),
    browser_sessions.known_browser_session: (
        Sends(lambda s, w: browser_sessions.known_browser_session(s, w.hash(1))),
    ),
    browser_sessions.touch_browser_session: (
        Sends(lambda s, w: browser_sessions.touch_browser_session(s, w.users[1])),
    ),
    browser_sessions.living_browser_sessions: (
        Sends(lambda s, w: browser_sessions.living_browser_sessions(s, w.users[1])),
    ),
    browser_sessions.end_browser_session: (
        Sends(lambda s, w: browser_sessions.end_browser_session(s, uuid4(), user_id=w.users[1])),
    ),
    browser_sessions.end_browser_sessions: (
        Sends(lambda s, w: browser_sessions.end_browser_sessions(s, w.users[1])),
        Sends(lambda s, w: browser_sessions.end_browser_sessions(s, w.users[1], but=uuid4())),
    ),
    captures.captures_of: (Sends(lambda s, w: captures.captures_of(s, w.exams[1])),),
    claims.add_claim: (
        Sends(
            lambda s, w: claims.add_claim(
                s, exam_id=w.exams[1], customer_hash=b"new", exam_uuid=w.exams[1], download_url="u"
            )
        ),
    ),
    claims.make_room_for: (
        Sends(lambda s, w: claims.make_room_for(s, exam_id=w.exams[1], customer_hash=b"new")),
    ),
    claims.open_claims: (Sends(lambda s, w: claims.open_claims(s, w.exams[1])),),
    claims.end_claims: (Sends(lambda s, w: claims.end_claims(s, w.exams[:3])),),
    claims.last_claim_at: (Sends(lambda s, _: claims.last_claim_at(s), "ix_claims_received_at"),),
    creates.take_create: (Sends(_take_create(10)), Sends(_take_create(11))),
    creates.mark_create: (Sends(_mark_create),),
    exam_events.record_event: (
        Sends(lambda s, w: exam_events.record_event(s, w.exams[1], step=Step.MATCH, event="x")),
    ),
    exam_events.timeline: (Sends(lambda s, w: exam_events.timeline(s, w.exams[1])),),
    exam_events.was_recorded: (
        Sends(lambda s, w: exam_events.was_recorded(s, w.exams[1], step=Step.MATCH, event="x")),
    ),
    exam_search.read_filter: (Sends(lambda s, _: exam_search.read_filter(s, organization="Clinic 1")),),
    exam_search.find_exams: (
        Sends(lambda s, _: exam_search.find_exams(s, exam_search.ExamFilter()), "ix_exams_received"),
        Sends(_next_page, "ix_exams_received"),
        _finds("ix_exams_state", state=ExamState.WAITING),
        _finds("ix_exams_resting", state=ExamState.FAILED),
        _finds("ix_exams_at_step", step=Step.STUDY),
        _finds(None, step=Step.VERIFY),
        _finds("ix_exams_state", reason=Reason.PAUSED),
        _finds(None, since=OLD),
        _finds("uq_exams_request_uuid", q="abcdef"),
        _finds("ix_exams_exam_uuid", q=str(uuid4())),
        _finds("ix_exams_organization_id", q="clinic 77"),
        Sends(
            lambda s, w: exam_search.find_exams(
                s, exam_search.ExamFilter(organization_id=w.organizations[1])
            ),
            "ix_exams_organization_id",
        ),
    ),
    exam_search.count_exams: (
        Sends(
            lambda s, _: exam_search.count_exams(s, exam_search.ExamFilter(since=OLD)),
            reads_whole="it counts all exams since then",
        ),
        Sends(
            lambda s, _: exam_search.count_exams(s, exam_search.ExamFilter(state=ExamState.FAILED), up_to=50),
            "ix_exams_state",
        ),
    ),
    exam_gaps.known_requests: (
        Sends(lambda s, w: exam_gaps.known_requests(s, w.exams[:50]), "uq_exams_request_uuid"),
    ),
    exam_retention.exams_with_files: (
        Sends(lambda s, _: exam_retention.exams_with_files(s, KEPT), "ix_captures_held"),
    ),
    exam_retention.without_use: (
        Sends(lambda s, w: exam_retention.without_use(s, w.exams[:50], KEPT), "pk_exams"),
    ),
    exam_retention.count_exam_data: (
        Sends(lambda s, _: exam_retention.count_exam_data(s, KEPT), "ix_exams_data"),
    ),
    exam_retention.forget_exam_data: (
        Sends(lambda s, _: exam_retention.forget_exam_data(s, KEPT, limit=10, note="n"), "ix_exams_data"),
    ),
    exam_retention.count_old_lines: (
        Sends(lambda s, _: exam_retention.count_old_lines(s, ExamEvent, 60.0, at_once=100), "pk_exam_events"),
    ),
    exam_retention.delete_old_lines: (
        Sends(
            lambda s, _: exam_retention.delete_old_lines(s, ExamEvent, 60.0, at_once=100), "pk_exam_events"
        ),
        Sends(
            lambda s, _: exam_retention.delete_old_lines(s, AuditEvent, 60.0, at_once=100), "pk_audit_events"
        ),
    ),
    exam_view.describe_exam: (Sends(_describe_one),),
    exam_view.describe_exams: (Sends(_describe),),
    exams.move: (Sends(_move),),
    exams.wanted_exam: (Sends(lambda s, w: exams.wanted_exam(s, w.exams[1])),),
    exams.find_exam: (
        Sends(lambda s, w: exams.find_exam(s, w.exams[1])),
        Sends(lambda s, w: exams.find_exam(s, w.exams[1], lock=True)),
    ),
    exam_waiting.count_unsettled: (
        Sends(lambda s, _: exam_waiting.count_unsettled(s, up_to=1000), "ix_exams_unsettled"),
    ),
    exam_waiting.expire_waiting: (
        Sends(
            lambda s, w: exam_waiting.expire_waiting(s, exams.in_lock_order(Exam.id.in_(w.exams[:3]))),
            "pk_exams",
        ),
    ),
    exams.settle_verified: (Sends(_settle),),
    exam_leases.lease_nobodys: (
        Sends(
            lambda s, w: exam_leases.lease_nobodys(s, w.exam_like(0), owner="o", host=HOST, seconds=60),
        ),
    ),
    exam_leases.lease_exam: (
        Sends(
            lambda s, w: exam_leases.lease_exam(s, w.exam_like(0), owner="o", host=HOST, seconds=60),
            "pk_exams",
        ),
    ),
    exam_leases.has_room: (
        Sends(lambda s, w: exam_leases.has_room(s, w.organizations[1], besides=w.exams[1]), "ix_exams_state"),
    ),
    exams.lock_exams: (Sends(lambda s, w: exams.lock_exams(s, w.exams[:5])),),
    exam_waiting.queue_waiting: (
        Sends(
            lambda s, w: exam_waiting.queue_waiting(
                s, exams.in_lock_order(Exam.id.in_(w.exams[2:4])), event="linked"
            ),
            "pk_exams",
        ),
    ),
    exam_leases.due_exams: (
        Sends(lambda s, _: exam_leases.due_exams(s, limit=50), "ix_exams_due"),
        Sends(lambda s, _: exam_leases.due_exams(s, limit=50, host=HOST), "ix_exams_due"),
    ),
    due.glance: (
        Sends(
            lambda s, _: due.glance(s, most=1.0),
            "ix_exams_due",
            reads_whole="of links there are as many as clinicians",
        ),
    ),
    exam_leases.expired_leases: (
        Sends(lambda s, _: exam_leases.expired_leases(s, limit=50), "ix_exams_leased"),
    ),
    exam_waiting.wake_account: (
        Sends(lambda s, _: exam_waiting.wake_account(s, "clarius"), "ix_exams_state"),
        Sends(lambda s, w: exam_waiting.wake_account(s, f"aurabox:{w.organizations[2]}"), "ix_exams_state"),
    ),
    exam_staging.staging_hosts: (Sends(lambda s, _: exam_staging.staging_hosts(s), "ix_exams_state"),),
    exam_staging.forget_staging: (
        Sends(lambda s, _: exam_staging.forget_staging(s, HOST), "ix_exams_state"),
    ),
    exam_waiting.count_customer: (
        Sends(lambda s, w: exam_waiting.count_customer(s, w.hash(3), w.organizations[1])),
    ),
    exam_waiting.count_customers: (
        Sends(lambda s, w: exam_waiting.count_customers(s, [w.hash(3), w.hash(4)]), "ix_exams_customer_hash"),
    ),
    exam_waiting.wake_customer: (
        Sends(lambda s, w: exam_waiting.wake_customer(s, w.hash(3), w.organizations[1])),
    ),
    exams.cancel: (Sends(_cancel),),
    creates.drop_create: (Sends(_drop_create),),
    linked_exams.resume_held: (
        Sends(
            lambda s, w: linked_exams.resume_held(
                s, customer_hash=w.hash(3), organization_id=w.organizations[1]
            )
        ),
    ),
    filed.pass_on: (
        Sends(
            lambda s, w: filed.pass_on(
                s, w.exam_like(4), 0, step=Step.FETCH, to=Step.DOWNLOAD, detail="2 captures"
            )
        ),
        Sends(
            lambda s, w: filed.pass_on(
                s,
                w.exam_like(4),
                0,
                step=Step.MATCH,
                to=Step.STUDY,
                detail="known",
                sets={"subject_id": w.subjects[1]},
                kind="patient",
            )
        ),
    ),
    filings.filing_of: (Sends(lambda s, w: filings.filing_of(s, w.exams[1], 1)),),
    holds.renew_hold: (
        Sends(lambda s, w: holds.renew_hold(s, HoldKind.LOOK, w.links[2], 0, seconds=60)),
        Sends(lambda s, w: holds.renew_hold(s, HoldKind.EXAM, w.exam_like(4), 0, seconds=60)),
        Sends(lambda s, w: holds.renew_hold(s, HoldKind.CREATE, w.exams[1], 1, seconds=60)),
    ),
    holds.clear_request: (Sends(_clear_to_look), Sends(_clear_to_create)),
    image_counts.images_of: (Sends(_of_exam(image_counts.images_of)),),
    image_counts.images_of_all: (Sends(_of_exam(lambda s, exam: image_counts.images_of_all(s, [exam]))),),
    instances.instances_by_capture: (Sends(_of_exam(instances.instances_by_capture)),),
    instances.instances_of: (Sends(_of_exam(instances.instances_of)),),
    instances.planned_by: (Sends(_of_exam(instances.planned_by)),),
    instances.count_sent: (Sends(_of_exam(instances.count_sent), "ix_study_instances_exam_id"),),
    instances.take_turn: (Sends(_of_exam(instances.take_turn)),),
    instances.instances_of_study: (Sends(lambda s, w: instances.instances_of_study(s, w.studies[1])),),
    instances.contents_of: (Sends(lambda s, w: instances.contents_of(s, w.studies[1])),),
    instances.study_gone: (Sends(lambda s, w: instances.study_gone(s, w.studies[1])),),
    instances.link_capture: (Sends(_link_capture),),
    instances.forget_parts: (Sends(_of_exam(lambda s, exam: instances.forget_parts(s, exam.id))),),
    instances.forget_instances: (Sends(_of_instances(instances.forget_instances)),),
    instances.mark_gone: (Sends(_of_instances(instances.mark_gone)),),
    instances.mark_stored: (Sends(_of_instances(instances.mark_stored)),),
    instances.mark_seen: (Sends(_of_instances(instances.mark_seen)),),
    instances.plan_upload: (Sends(_plan_upload),),
    instances.instances_in: (Sends(_of_upload(instances.instances_in)),),
    instances.empty_upload: (Sends(_of_upload(instances.empty_upload)),),
    instances.end_upload: (Sends(_of_upload(instances.end_upload)),),
    links.link_in_force: (
        Sends(lambda s, w: links.link_in_force(s, w.hash(2)), "uq_links_customer_hash_in_force"),
    ),
    links.confirmed_links: (
        Sends(
            lambda s, w: links.confirmed_links(s, [w.hash(2), w.hash(3)]), "uq_links_customer_hash_in_force"
        ),
    ),
    links.due_links: (
        Sends(lambda s, _: links.due_links(s, limit=50), reads_whole="there are as many as clinicians"),
    ),
    links.take_look: (Sends(lambda s, w: links.take_look(s, w.links[2], seconds=60, apart=2)),),
    links.end_look: (
        Sends(lambda s, w: links.end_look(s, w.links[2], epoch=0, began=NOW)),
        Sends(lambda s, w: links.end_look(s, w.links[2], epoch=0, began=None)),
    ),
    links.end_links_of: (Sends(lambda s, w: links.end_links_of(s, w.organizations[1])),),
    oidc_attempts.take_oidc_attempt: (
        Sends(lambda s, w: oidc_attempts.take_oidc_attempt(s, state_hash=w.hash(1), browser_hash=w.hash(1))),
    ),
    one_time_links.make_one_time_link: (
        Sends(
            lambda s, w: one_time_links.make_one_time_link(s, OneTimeLinkKind.RESET, w.users[1], seconds=60)
        ),
    ),
    one_time_links.find_one_time_link: (
        Sends(lambda s, _: one_time_links.find_one_time_link(s, OneTimeLinkKind.RESET, "1")),
    ),
    one_time_links.use_one_time_link: (
        Sends(lambda s, _: one_time_links.use_one_time_link(s, OneTimeLinkKind.RESET, "1")),
    ),
    one_time_links.end_one_time_links: (
        Sends(lambda s, w: one_time_links.end_one_time_links(s, OneTimeLinkKind.RESET, w.users[1])),
    ),
    organizations.hold_organization: (
        Sends(lambda s, w: organizations.hold_organization(s, w.organizations[1])),
    ),
    organizations.keep_policy: (Sends(_keep_policy),),
    organizations.find_organization: (
        Sends(lambda s, _: organizations.find_organization(s, "Clinic 1")),
        Sends(lambda s, w: organizations.find_organization(s, str(w.organizations[1]))),
    ),
    organizations.list_organizations: (Sends(lambda s, _: organizations.list_organizations(s)),),
    overview.read_overview: (
        Sends(_overview, "ix_exams_due"),
        Sends(_overview, "ix_exams_state"),
        Sends(_overview, "ix_exams_delivered"),
    ),
    overview.note_delivered: (Sends(_note_delivered, reads_whole="it counts the delivered, once a day"),),
    overview.hourly: (Sends(lambda s, _: overview.hourly(s), "ix_exams_delivered"),),
    credentials.end_credentials: (Sends(_end_credentials),),
    pending_connects.keep_pending_connect: (
        Sends(
            lambda s, w: pending_connects.keep_pending_connect(
                s, browser_hash=w.hash(1), token_sealed=b"t", customer_hash=w.hash(1), customer_hint="hint"
            )
        ),
    ),
    pending_connects.find_pending_connect: (
        Sends(lambda s, w: pending_connects.find_pending_connect(s, w.hash(1))),
    ),
    pending_connects.move_pending_connect: (
        Sends(lambda s, w: pending_connects.move_pending_connect(s, old_hash=w.hash(1), new_hash=b"new")),
    ),
    pending_connects.forget_pending_connect: (
        Sends(lambda s, w: pending_connects.forget_pending_connect(s, w.hash(1))),
    ),
    process_metrics.keep_samples: (
        Sends(lambda s, _: process_metrics.keep_samples(s, f"{HOST}:1:0", [{"name": "n"}])),
    ),
    process_metrics.all_samples: (Sends(lambda s, _: process_metrics.all_samples(s)),),
    linked_exams.queue_linked: (
        Sends(
            lambda s, w: linked_exams.queue_linked(
                s, customer_hash=w.hash(3), organization_id=w.organizations[1]
            ),
            "ix_exams_customer_hash",
        ),
    ),
    linked_exams.queue_rest: (Sends(_queue_rest),),
    linked_exams.queue_stragglers: (
        Sends(lambda s, _: linked_exams.queue_stragglers(_sessions(s), limit=50)),
    ),
    runs.recurring: (Sends(_recurring),),
    runs.recording: (Sends(_recording),),
    runs.begin_run: (Sends(lambda s, _: runs.begin_run(s, "run 1", every=60)),),
    runs.end_run: (
        Sends(lambda s, _: runs.end_run(s, "run 1", result={"n": 1})),
        Sends(lambda s, _: runs.end_run(s, "run 1", result=None, error="e")),
    ),
    runs.last_run: (Sends(lambda s, _: runs.last_run(s, "run 1")),),
    runs.hold_run: (Sends(lambda s, _: runs.hold_run(s, "run 1", owner="w", seconds=60)),),
    runs.keep_place: (
        Sends(lambda s, _: runs.keep_place(s, "run 1", owner="w", place={"left": None}, seconds=60)),
    ),
    runs.let_go_of_run: (Sends(lambda s, _: runs.let_go_of_run(s, "run 1", owner="w")),),
    runs.try_again: (Sends(lambda s, _: runs.try_again(s, "run 1", every=60, after=6)),),
    schema.schema_problem: (Sends(lambda s, _: schema.schema_problem(s)),),
    secrets.read_secret: (Sends(lambda s, _: secrets.read_secret(s, "secret 1")),),
    secrets.keep_first_secret: (Sends(lambda s, _: secrets.keep_first_secret(s, "secret 1", b"s")),),
    secrets.replace_secret: (Sends(lambda s, _: secrets.replace_secret(s, "secret 1", b"s")),),
    studies.studies_of_exam: (
        Sends(lambda s, w: studies.studies_of_exam(s, w.organizations[1], w.exams[1])),
    ),
    studies.subject_replaced: (
        Sends(lambda s, w: studies.subject_replaced(s, w.subjects[1], datetime.now(UTC))),
    ),
    subjects.find_subject: (Sends(lambda s, w: subjects.find_subject(s, _keys(w))),),
    subjects.keep_subject: (Sends(_keep_subject),),
    subjects.successor_of: (Sends(_successor),),
    subjects.lock_identity: (Sends(lambda s, w: subjects.lock_identity(s, _keys(w), "patient 1")),),
    subjects.owners: (
        Sends(lambda s, w: subjects.owners(s, w.organizations[1], ["patient 1", "patient 2"])),
    ),
    subjects.akin: (Sends(lambda s, w: subjects.akin(s, _keys(w), _keys(w)), "ix_subjects_identifier_hash"),),
    throttles.begin_attempt: (
        Sends(lambda s, w: throttles.begin_attempt(s, w.hash(1), free=1)),
        Sends(lambda s, w: throttles.begin_attempt(s, w.hash(2), free=5)),
    ),
    throttles.forget_attempts: (Sends(lambda s, w: throttles.forget_attempts(s, w.hash(1))),),
    throttles.take_back_attempt: (Sends(lambda s, w: throttles.take_back_attempt(s, w.hash(1), free=5)),),
    tokens.find_token: (Sends(lambda s, w: tokens.find_token(s, w.hash(1))),),
    tokens.touch_token: (Sends(_touch_token),),
    uploads.open_uploads: (
        Sends(lambda s, w: uploads.open_uploads(s, study_id=w.studies[50])),
        Sends(lambda s, w: uploads.open_uploads(s, exam_id=w.exams[50])),
    ),
    uploads.abandoned_uploads: (
        Sends(
            lambda s, _: uploads.abandoned_uploads(
                s, under_way=(ExamState.QUEUED, ExamState.RUNNING), limit=50
            ),
            "ix_study_uploads_open",
        ),
    ),
    unsettled.unverified_requests: (
        Sends(lambda s, w: unsettled.unverified_requests(s, w.hash(3)), "ix_claims_customer_hash"),
    ),
    unsettled.lock_claimed: (
        Sends(lambda s, w: unsettled.lock_claimed(s, w.hash(3), until=NOW), "ix_claims_customer_hash"),
    ),
    unsettled.note_unsettled: (
        Sends(lambda s, _: unsettled.note_unsettled(s, up_to=1000), "ix_exams_unsettled"),
    ),
    unsettled.expire_unlinked: (
        Sends(lambda s, _: unsettled.expire_unlinked(s, after_seconds=1000, limit=10), "ix_exams_state"),
    ),
    unsettled.resume_expired: (
        Sends(lambda s, w: unsettled.resume_expired(s, customer_hash=w.hash(1), limit=10)),
    ),
    upstreams.upstream: (Sends(lambda s, _: upstreams.upstream(s, "aurabox:1")),),
    upstreams.take_probe: (Sends(lambda s, _: upstreams.take_probe(s, "aurabox:1", seconds=60)),),
    upstreams.accounts_to_probe: (Sends(lambda s, _: upstreams.accounts_to_probe(s)),),
    upstreams.forget_accounts: (Sends(lambda s, _: upstreams.forget_accounts(s, ["aurabox:1", "media:1"])),),
    upstreams.throttle: (Sends(lambda s, _: upstreams.throttle(s, "aurabox:1", seconds=60)),),
    upstreams.end_throttling: (Sends(lambda s, _: upstreams.end_throttling(s, "aurabox:1")),),
    upstreams.refuse: (Sends(lambda s, _: upstreams.refuse(s, "aurabox:1", why="w", probe_seconds=60)),),
    upstreams.resume: (Sends(lambda s, _: upstreams.resume(s, "aurabox:1")),),
    upstreams.count_calls: (
        Sends(lambda s, _: upstreams.count_calls(s, "aurabox:1", worked=3, failed=True)),
    ),
    users.lock_user: (
        Sends(lambda s, w: users.lock_user(s, w.users[1])),
        Sends(lambda s, w: users.lock_user(s, w.users[1], shared=True)),
    ),
    users.find_user: (Sends(lambda s, _: users.find_user(s, "USER1@x.example")),),
    waking.wake_workers: (Sends(lambda s, _: waking.wake_workers(s)),),
    workers.beat: (Sends(lambda s, _: workers.beat(s, f"{HOST}:1:0", HOST)),),
    workers.heartbeats_of: (Sends(lambda s, _: workers.heartbeats_of(s, [f"{HOST}:1:0"])),),
    workers.has_witness: (Sends(lambda s, _: workers.has_witness(s, silent=30.0)),),
    workers.leave: (Sends(lambda s, _: workers.leave(s, f"{HOST}:1:0")),),
    workers.living_workers: (Sends(lambda s, _: workers.living_workers(s)),),
    workers.silent_hosts: (Sends(lambda s, _: workers.silent_hosts(s, [HOST, "gone"])),),
}

NO_STATEMENT: dict[Callable[..., Any], str] = {
    base.in_seconds: "a part of statements",
    base.literals: "a part of statements",
    base.now: "a part of statements",
    base.ordered_uuid: "asks nothing",
    cursors.read_cursor: "reads a text and no table",
    cursors.write_cursor: "writes a text and no table",
    exams.in_lock_order: "a part of statements",
    links.hint_of: "looks at a token and at no table",
    image_counts.count_images: "asks nothing",
    instances.delivered_before: "asks nothing",
    filings.next_filing: "asks nothing",
    waking.named_in: "reads a text and no table",
    workers.beat_seconds: "asks nothing",
    workers.silent_seconds: "asks nothing",
    holds.is_held: "a part of statements",
    one_time_links.hash_token: "asks nothing",
    schema.head_revision: "reads files",
    migrating.migrate: "is alembic's, with a connection of its own",
}
"""Public functions of the store that send none, and why."""
