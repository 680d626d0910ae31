"""Step report: a receipt onto the Clarius exam (C5), after the delivery; whatever becomes of it, the exam is delivered."""

from zoneinfo import ZoneInfo

from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.work import Work
from app.errors import GiveUp, LookFirst, SlowDown, TryLater
from app.gate import Held
from app.imaging.receipt import Receipt, render_receipt
from app.imaging.subjects import US_MULTI_FRAME
from app.store.captures import captures_of
from app.store.instances import instances_of
from app.store.organizations import Organization
from app.store.studies import Study

REPORT_NAME = "Delivered to Aurabox"
REPORT_FILE = "receipt.pdf"
SENDING = "sending"
SENT = "sent"


async def report(work: Work) -> Outcome:
    """Done when Clarius took the receipt. Clarius offers no way to look for a report, so one whose answer was lost
    is not sent again: `receipt_unclear`, shown and left to a person. A 429 or a 5xx is tried again.
    """
    async with work.tx() as (session, exam):
        if exam.report_state == SENT:
            return Done()
        if exam.report_state == SENDING:
            raise _unclear()
        organization = await session.get_one(Organization, exam.organization_id)
        study = await session.get_one(Study, exam.study_id)
        captures = await captures_of(session, exam.id)
        instances = await instances_of(session, exam.id)
        delivered_at = exam.delivered_at or exam.updated_at
    clips = {row.capture_id for row in instances if row.sop_class_uid == US_MULTI_FRAME}
    whole = [capture for capture in captures if not capture.problem_code]
    moving = [
        capture for capture in whole if capture.id in clips or (not instances and capture.kind == "mp4")
    ]
    content = render_receipt(
        Receipt(
            delivered_at=delivered_at.astimezone(ZoneInfo(organization.timezone)),
            stills=len(whole) - len(moving),
            clips=len(moving),
            study_uid=study.study_instance_uid,
        )
    )
    await _upload(work, str(exam.request_uuid), content)
    return Done("receipt sent")


async def _upload(work: Work, request_uuid: str, content: bytes) -> None:
    await _note(work, SENDING)
    try:
        async with work.effect("report:upload_receipt", "clarius"):
            clarius = await work.resources.clarius()
            await clarius.upload_report(
                request_uuid,
                name=REPORT_NAME,
                filename=REPORT_FILE,
                content=content,
                content_type="application/pdf",
            )
    except (Held, TryLater, SlowDown, GiveUp):
        await _note(work, None)
        raise
    except LookFirst as error:
        if error.status is None:
            raise _unclear() from error
        # an answer, though of a server in trouble: at worst the exam carries its receipt twice
        await _note(work, None)
        raise
    await _note(work, SENT)


def _unclear() -> NeedsPerson:
    return NeedsPerson("it is not known whether Clarius took the receipt", code="receipt_unclear")


async def _note(work: Work, state: str | None) -> None:
    async with work.tx() as (_, exam):
        exam.report_state = state
