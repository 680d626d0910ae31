"""Takes in one request that a person names: looked up at Clarius (C1), never believed on the person's word."""

from uuid import UUID

from app.accounts import AccountKind
from app.errors import SonobridgeError
from app.inbox.reconcile import MAX_PAGES, take_in
from app.resources import Resources
from app.states import Source
from app.store.audit import By, audit
from app.store.exams import Exam, find_exam
from app.upstreams.gate import asking


class NotListed(SonobridgeError):
    """Clarius does not list this request, or no longer."""

    kind = "not_listed"


async def import_exam(resources: Resources, request_uuid: UUID, *, by: By) -> Exam:
    """The exam of this request, taken in if it was not known as verified. Idempotent.

    Raises NotListed, Held when Clarius may not be called now, and from the error tree.
    """
    async with resources.sessions() as session:
        exam = await find_exam(session, request_uuid)
    if exam is not None and exam.verified_at is not None:
        return exam
    await _take_in_listed(resources, request_uuid)
    async with resources.sessions.begin() as session:
        exam = await find_exam(session, request_uuid)
        if exam is None:
            raise NotListed("Clarius lists this request, but not in a form that can be used")
        await audit(session, by=by, action="exam.import", subject=str(request_uuid))
    return exam


async def _take_in_listed(resources: Resources, request_uuid: UUID) -> None:
    async with asking(resources, AccountKind.CLARIUS):
        clarius = await resources.clarius()
        pages = 0
        async for page in clarius.accessible_exam_pages():
            pages += 1
            notices = [notice for notice in page if notice.request_uuid == request_uuid]
            if notices:
                await take_in(resources, notices, source=Source.IMPORT)
                return
            if pages >= MAX_PAGES:
                break
    raise NotListed("Clarius does not list this request for any of its customers")
