"""Step report: a receipt onto the Clarius exam (C5), after the delivery; whatever becomes of it, the exam is delivered."""

from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import AccountKind
from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.work import Work
from app.errors import GiveUp, LookFirst, SlowDown, TryLater
from app.imaging.receipt import Evidence, Receipt
from app.imaging.subjects import US_MULTI_FRAME
from app.named import Named
from app.store.exams import Exam
from app.store.image_counts import images_of
from app.store.instances import THERE, InstanceState, instances_of
from app.store.organizations import Organization
from app.store.studies import Study
from app.upstreams.gate import Held

REPORT_FILE = "receipt.pdf"
RENDER_RECEIPT: Named[bytes] = Named("app.imaging.receipt_pdf", "render_receipt")
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
        receipt = await _receipt(session, exam)
    content = await work.resources.pool.run(RENDER_RECEIPT, receipt, turn=exam.organization_id)
    await _upload(work, str(exam.request_uuid), receipt.title, content)
    return Done("receipt sent")


async def _receipt(session: AsyncSession, exam: Exam) -> Receipt:
    """What may be said of the exam: of its images those that are there, the others with their reasons."""
    organization = await session.get_one(Organization, exam.organization_id)
    study = await session.get_one(Study, exam.study_id)
    images = await images_of(session, exam)
    counted = images.seen is not None
    there = [
        image
        for image in await instances_of(session, exam)
        if image.state == InstanceState.SEEN or (not counted and image.state in THERE)
    ]
    clips = sum(1 for image in there if image.sop_class_uid == US_MULTI_FRAME)
    evidence: Evidence = "seen" if counted else "accepted"
    return Receipt(
        delivered_at=(exam.delivered_at or exam.updated_at).astimezone(ZoneInfo(organization.timezone)),
        stills=len(there) - clips,
        clips=clips,
        study_uid=study.study_instance_uid,
        evidence=evidence if images.takes_images else "not_sent",
        wanted_count=images.wanted,
        missing=images.reasons,
    )


async def _upload(work: Work, request_uuid: str, title: str, content: bytes) -> None:
    await _note(work, SENDING)
    try:
        async with work.effect("report:upload_receipt", AccountKind.CLARIUS):
            clarius = await work.resources.clarius()
            await clarius.upload_report(
                request_uuid,
                name=title,
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
