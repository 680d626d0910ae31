"""`exam …`: lists by page, and each act on an exam once, fenced and audited."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from app.delivery.work import LeaseLost
from app.organizations.changes import add_organization
from app.resources import Resources
from app.states import ExamState, Reason, Step
from app.store.audit import AuditEvent, By
from app.store.captures import Capture
from app.store.claims import Claim
from app.store.exams import Exam
from app.store.filings import filing_of
from sandbox.server import Sandbox, SandboxThread
from tests.cli.conftest import Cli
from tests.support.exams import add_exam, hold, reread


def _add(cli: Cli, **columns: Any) -> Exam:
    columns.setdefault("due_in", None)
    return cli.within(lambda resources: add_exam(resources, **columns))


def _row(cli: Cli, exam: Exam) -> Exam:
    return cli.within(lambda resources: reread(resources, exam.id))


def _organization(cli: Cli) -> UUID:
    given = {"name": "Harbour Clinic", "aurabox_key": "invented", "images": "none"}
    return cli.within(lambda resources: add_organization(resources, given, by=By("test"))).id


async def _decision(resources: Resources, exam: Exam) -> dict[str, Any]:
    async with resources.sessions() as session:
        row = await session.get_one(Exam, exam.id)
        filing = await filing_of(session, row.id, row.filing)
    assert filing is not None
    assert filing.decision is not None
    return filing.decision


async def _audited(resources: Resources) -> list[tuple[str, str | None]]:
    async with resources.sessions() as session:
        rows = await session.execute(
            select(AuditEvent.action, AuditEvent.subject)
            .where(AuditEvent.action.like("exam.%"))
            .order_by(AuditEvent.id)
        )
        return [(row[0], row[1]) for row in rows]


def test_pages_follow_each_other_without_gap_or_repeat(cli: Cli) -> None:
    exams = [_add(cli, state=ExamState.FAILED, error_code="x", error_message="y") for _ in range(5)]
    seen: list[str] = []
    cursor: list[str] = []
    while True:
        page = cli.right("exam", "list", "--limit", "2", *cursor)
        seen += [one["request_uuid"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = ["--cursor", page["next_cursor"]]
    assert seen == [str(exam.request_uuid) for exam in reversed(exams)]


def test_what_an_exam_looks_like(cli: Cli) -> None:
    exam = _add(cli, state=ExamState.WAITING, reason=Reason.LINK)
    shown = cli.right("exam", "show", str(exam.request_uuid))
    assert set(shown) >= {
        *(
            "request_uuid",
            "exam_uuid",
            "organization",
            "state",
            "step",
            "reason",
            "source",
            "attempts",
            "due_at",
        ),
        *("submitted_at", "received_at", "delivered_at", "captures", "aurabox", "error", "timeline"),
    }
    assert set(shown["aurabox"]) == {"kind", "patient_id", "study_id", "study_instance_uid"}
    assert (shown["organization"], shown["error"]) == (None, None)
    assert cli("exam", "show", str(exam.request_uuid)).status == 0
    found = cli.right("exam", "list", "--state", "waiting", "--reason", "link", "-q", str(exam.exam_uuid)[:8])
    assert [one["request_uuid"] for one in found["items"]] == [str(exam.request_uuid)]
    assert cli.right("exam", "list", "--state", "failed")["items"] == []


def test_a_retry_queues_once_with_a_clean_slate(cli: Cli) -> None:
    exam = _add(
        cli,
        state=ExamState.FAILED,
        step=Step.FETCH,
        attempts=7,
        deaths=3,
        error_code="poison",
        error_message="three workers died",
    )
    for _ in range(2):
        assert cli.right("exam", "retry", str(exam.request_uuid))["state"] == "queued"
    row = _row(cli, exam)
    assert (row.step, row.attempts, row.deaths, row.error_code) == ("fetch", 0, 0, None)
    assert row.due_at is not None
    assert cli.within(_audited) == [("exam.retry", str(exam.request_uuid))]


def test_retrying_an_unverified_exam_has_its_claims_checked_anew(cli: Cli) -> None:
    exam = _add(cli, state=ExamState.UNVERIFIED)

    async def claim(resources: Resources) -> UUID:
        async with resources.sessions.begin() as session:
            one = Claim(
                exam_id=exam.id,
                customer_hash=b"h",
                exam_uuid=exam.exam_uuid,
                download_url="https://clarius.example/data/",
                looks=4,
                ended_at=exam.received_at,
            )
            session.add(one)
            await session.flush()
            return one.id

    claim_id = cli.within(claim)
    cli.right("exam", "retry", str(exam.request_uuid))

    async def read(resources: Resources) -> Claim:
        async with resources.sessions() as session:
            return await session.get_one(Claim, claim_id)

    reopened = cli.within(read)
    assert (reopened.looks, reopened.ended_at) == (0, None)


def test_missing_captures_are_downloaded_again_by_a_retry_and_accepted_by_a_release(cli: Cli) -> None:
    organization = _organization(cli)

    def missing() -> Exam:
        exam = _add(
            cli,
            organization_id=organization,
            state=ExamState.REVIEW,
            step=Step.CONFIRM,
            error_code="captures_missing",
            error_message="1 of 1",
            exam_data_sealed=b"sealed",
            verified_at=None,
        )

        async def spoil(resources: Resources) -> None:
            async with resources.sessions.begin() as session:
                session.add(
                    Capture(exam_id=exam.id, index=0, already_delivered=False, problem_code="capture_gone")
                )

        cli.within(spoil)
        return exam

    retried, released = missing(), missing()
    assert cli.right("exam", "retry", str(retried.request_uuid))["step"] == "download"
    assert cli.right("exam", "show", str(retried.request_uuid))["captures"][0]["problem"] is None
    done = cli.right("exam", "release", str(released.request_uuid))
    assert (done["state"], done["step"]) == ("queued", "confirm")
    assert done["captures"][0]["problem"]["code"] == "capture_gone"
    assert _row(cli, released).released_at is not None


@pytest.mark.parametrize("choice", ["separate", "same"])
def test_an_identity_conflict_is_decided_by_name(cli: Cli, choice: str) -> None:
    known = str(uuid4())
    exam = _add(
        cli,
        state=ExamState.REVIEW,
        step=Step.MATCH,
        error_code="identity_conflict",
        error_message="the date of birth differs",
        question={"conflicts": [known]},
        exam_data_sealed=b"sealed",
        organization_id=_organization(cli),
    )
    request = str(exam.request_uuid)
    assert "keep separate, or same patient" in cli.wrong("exam", "release", request)
    done = cli.right("exam", "release", request, "--identity", choice)
    assert (done["state"], done["step"]) == ("queued", "match")
    decision = cli.within(lambda resources: _decision(resources, exam))
    assert decision["choice"] == choice
    assert decision.get("subject") == (known if choice == "same" else None)
    assert cli.right("exam", "release", request, "--identity", choice)["state"] == "queued", "twice is once"


def test_what_can_be_decided_is_shown_with_what_it_does_and_said_again_before_it_is_done(cli: Cli) -> None:
    exam = _add(
        cli,
        state=ExamState.REVIEW,
        step=Step.MATCH,
        error_code="several_matches",
        error_message="Aurabox has 2 that match",
        question={"candidates": ["pat-1", "pat-2"], "of": "patient"},
        exam_data_sealed=b"sealed",
        organization_id=_organization(cli),
    )
    request = str(exam.request_uuid)
    shown = cli("exam", "show", request).out
    for words in (
        "decide … separate",
        "None of them is taken",
        "same --subject pat-1|pat-2",
        "retry",
        "cancel",
    ):
        assert words in shown, words
    ways = {way["decision"]: way["subjects"] for way in cli.right("exam", "show", request)["ways"]}
    assert ways == {"separate": [], "same": ["pat-1", "pat-2"]}
    assert "pat-1, pat-2" in cli.wrong("exam", "decide", request, "same")
    assert "separate, same" in cli.wrong("exam", "decide", request, "as-case")
    done = cli("exam", "decide", request, "same", "--subject", "pat-2")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[0] == "The exam is filed under the one that you name."
    assert done.out.splitlines()[1] == f"{request} is queued at match."
    filing = cli.right("exam", "show", request)["filing"]
    assert (filing["decision"], filing["decided_by"].partition(":")[0]) == ("same", "cli")
    assert cli.within(_audited) == [("exam.decide.same", request)]


def test_an_unverified_exam_is_shown_with_who_announced_it_and_left_out_of_all(cli: Cli) -> None:
    exam = _add(cli, state=ExamState.UNVERIFIED, step=Step.VERIFY)

    async def claim(resources: Resources) -> None:
        async with resources.sessions.begin() as session:
            session.add(
                Claim(
                    exam_id=exam.id,
                    customer_hash=b"h",
                    exam_uuid=exam.exam_uuid,
                    download_url="https://clarius.example/somewhere/?signature=secret",
                )
            )

    cli.within(claim)
    shown = cli("exam", "show", str(exam.request_uuid)).out
    assert "clarius.example" in shown
    assert "/somewhere/" in shown
    assert "secret" not in shown
    assert "you vouch for it" in shown
    for act in ("retry", "release", "cancel"):
        assert cli.right("exam", act, "--all", "--dry-run")["matched"] == 0
    assert cli.right("exam", "cancel", "--state", "unverified", "--dry-run")["matched"] == 1


def test_cancelling_fences_the_worker_that_has_it(cli: Cli) -> None:
    exam = _add(cli, due_in=0.0)

    async def lose(resources: Resources) -> None:
        work = await hold(resources, exam, seconds=60)
        await cancel_in_thread()
        with pytest.raises(LeaseLost):
            await work.read()

    async def cancel_in_thread() -> None:
        done = await asyncio.to_thread(cli.right, "exam", "cancel", str(exam.request_uuid))
        assert done["state"] == "cancelled"

    cli.within(lose)
    assert cli.right("exam", "cancel", str(exam.request_uuid))["state"] == "cancelled"
    assert cli.within(_audited) == [("exam.cancel", str(exam.request_uuid))], "the second changed nothing"


def test_what_is_delivered_stays(cli: Cli) -> None:
    exam = _add(cli, state=ExamState.DELIVERED, step=Step.CONFIRM)
    assert "delivered can't become cancelled" in cli.wrong("exam", "cancel", str(exam.request_uuid))
    assert "nothing to be released from" in cli.wrong("exam", "release", str(exam.request_uuid))
    assert cli.right("exam", "retry", str(exam.request_uuid))["state"] == "delivered"
    assert cli.within(_audited) == []


def test_bulk_retry_by_filter_with_a_dry_run_first(cli: Cli) -> None:
    for state in (
        ExamState.FAILED,
        ExamState.FAILED,
        ExamState.REVIEW,
        ExamState.CANCELLED,
        ExamState.DELIVERED,
    ):
        _add(cli, state=state, step=Step.FETCH)
    assert cli.right("exam", "retry", "--all", "--dry-run") == {"matched": 3, "retried": 0}
    assert cli.right("exam", "retry", "--state", "failed") == {"matched": 2, "retried": 2}
    assert cli.right("exam", "retry", "--all") == {"matched": 1, "retried": 1}
    assert "0 matched" in cli("exam", "retry", "--all").out
    assert len(cli.right("exam", "list", "--state", "queued")["items"]) == 3


def test_retention_took_what_a_retry_needs(cli: Cli) -> None:
    exam = _add(cli, state=ExamState.FAILED, step=Step.STUDY, exam_data_sealed=None)
    assert cli.right("exam", "retry", str(exam.request_uuid))["step"] == "fetch"


def test_an_import_looks_the_request_up_at_clarius(
    bridge: Cli, vendors: SandboxThread, sandbox: Sandbox
) -> None:
    token = sandbox.add_customer()
    submitted = vendors.run(sandbox.submit_exam(customer=token, captures=[], notify_times=0))
    for _ in range(2):
        done = bridge.right("exam", "import", submitted.request_uuid)
        assert (done["state"], done["reason"], done["source"]) == ("waiting", "link", "import")
    missing = bridge("exam", "import", str(uuid4()))
    assert missing.status == 1
    assert "does not list this request" in missing.err
