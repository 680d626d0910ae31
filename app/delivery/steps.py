"""Which function does which step, and which steps an organisation's policy leaves out."""

from collections.abc import Awaitable, Callable

from app.delivery.confirm import confirm
from app.delivery.convert import convert
from app.delivery.download import download_captures
from app.delivery.fetch import fetch
from app.delivery.match import match
from app.delivery.outcome import Outcome
from app.delivery.report import report
from app.delivery.send import send
from app.delivery.study import study
from app.delivery.verify import verify
from app.delivery.work import Work
from app.states import Step
from app.store.organizations import Images, Organization

StepFunction = Callable[[Work], Awaitable[Outcome]]

STEPS: dict[Step, StepFunction] = {
    Step.VERIFY: verify,
    Step.FETCH: fetch,
    Step.DOWNLOAD: download_captures,
    Step.MATCH: match,
    Step.STUDY: study,
    Step.CONVERT: convert,
    Step.SEND: send,
    Step.CONFIRM: confirm,
    Step.REPORT: report,
}


def following(step: Step, organization: Organization | None) -> Step | None:
    """The step after `step` for an exam of this organisation, or None when that was the last."""
    order = list(Step)
    later = order[order.index(step) + 1 :]
    return next((one for one in later if _wanted(one, organization)), None)


def _wanted(step: Step, organization: Organization | None) -> bool:
    if organization is None:
        return True
    if step in {Step.CONVERT, Step.SEND}:
        return organization.images != Images.NONE
    if step is Step.REPORT:
        return organization.report
    return True
