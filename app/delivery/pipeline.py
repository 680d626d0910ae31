"""Which function does which step, and which steps an organisation's policy leaves out."""

from collections.abc import Awaitable, Callable

from app.delivery.filing import filed
from app.delivery.outcome import Outcome
from app.delivery.steps.confirm import confirm
from app.delivery.steps.convert import convert
from app.delivery.steps.download import download_captures
from app.delivery.steps.fetch import fetch
from app.delivery.steps.match import match
from app.delivery.steps.report import report
from app.delivery.steps.send import send
from app.delivery.steps.study import study
from app.delivery.steps.verify import verify
from app.delivery.work import Work
from app.states import Step
from app.store.organizations import Images, PolicyFields

StepFunction = Callable[[Work], Awaitable[Outcome]]

STEPS: dict[Step, StepFunction] = {
    Step.VERIFY: verify,
    Step.FETCH: fetch,
    Step.DOWNLOAD: filed(download_captures),
    Step.MATCH: filed(match),
    Step.STUDY: filed(study),
    Step.CONVERT: filed(convert),
    Step.SEND: filed(send),
    Step.CONFIRM: filed(confirm),
    Step.REPORT: report,
}


def following(step: Step, policy: PolicyFields | None) -> Step | None:
    """The step after `step` for an exam that is delivered by this policy, or None when that was the last."""
    order = list(Step)
    later = order[order.index(step) + 1 :]
    return next((candidate for candidate in later if _wanted(candidate, policy)), None)


def _wanted(step: Step, policy: PolicyFields | None) -> bool:
    if policy is None:
        return True
    if step in {Step.CONVERT, Step.SEND}:
        return policy.images != Images.NONE
    if step is Step.REPORT:
        return policy.report
    return True
