"""Whether an exam whose data answers 404 is gone: only when Clarius's own list says so too (C1).

A 404 alone is an observation: the data may lag behind the notification and the list, or a part of Clarius be away.
"""

from datetime import timedelta

from app.accounts import AccountKind
from app.delivery.outcome import Outcome, Rest, Wait
from app.delivery.work import Work
from app.states import ExamState, Reason
from app.store.base import clock
from app.store.exams import Exam
from app.store.links import Link, confirmed_links
from app.upstreams.gate import backoff

# a list longer than this proves nothing by what is not on its first pages
MAX_LOOK_PAGES = 50
LOOK_CAP_SECONDS = 300.0
NOT_THERE_YET = "exam_data_not_there"

GONE = Rest(ExamState.GONE, "gone", "the exam was deleted at Clarius before it could be read")


async def exam_data_missing(work: Work, exam: Exam) -> Outcome:
    """What a 404 of the exam data comes to: `gone`, or another look later, uncounted within the verify window.

    An exam that Clarius never listed, and a person vouched for, is on no list that could be asked.
    """
    if exam.verified_at is None:
        return GONE
    async with work.tx() as (session, row):
        links = await confirmed_links(session, [row.customer_hash] if row.customer_hash else [])
        link = links.get(row.customer_hash or b"")
    if link is None:
        # nobody's list may be asked: when the account is linked again it goes on from here
        return Wait(Reason.LINK, None)
    if not await _is_listed(work, exam, link):
        return GONE
    return await _look_again(work)


async def _look_again(work: Work) -> Wait:
    settings = work.resources.settings
    looks = await work.count("exam_data_looks")
    async with work.tx() as (session, row):
        at = await clock(session)
        row.data_missing_since = row.data_missing_since or at
        over = at - row.data_missing_since >= timedelta(seconds=settings.clarius_verify_window)
    cap = min(LOOK_CAP_SECONDS, settings.retry_cap_seconds)
    return Wait(
        Reason.RETRY,
        backoff(looks, base=settings.retry_base_seconds, cap=max(cap, settings.retry_base_seconds)),
        counted=over,
        code=NOT_THERE_YET,
        message="Clarius lists the exam, but does not give its data yet",
    )


async def _is_listed(work: Work, exam: Exam, link: Link) -> bool:
    """Whether the customer's list names the request; True also when the list is too long to tell.

    What is not found on several pages is looked for once more: an entry that goes while they are read moves the others.
    """
    for _ in range(2):
        listed, pages = await _read(work, exam, link)
        if listed or pages <= 1:
            return listed
    return False


async def _read(work: Work, exam: Exam, link: Link) -> tuple[bool, int]:
    customer_id = work.resources.unseal_text(link.token_sealed)
    pages = 0
    async with work.effect("fetch:look_again", AccountKind.CLARIUS):
        clarius = await work.resources.clarius()
        async for page in clarius.accessible_exam_pages(customer_id=customer_id):
            pages += 1
            ours = (notice for notice in page if notice.customer_id == customer_id)
            if any(notice.request_uuid == exam.request_uuid for notice in ours) or pages >= MAX_LOOK_PAGES:
                return True, pages
    return False, pages
