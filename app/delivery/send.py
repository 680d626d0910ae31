"""Step send: the exam's new images by the organisation's transport; nothing new means nothing is sent."""

from app.delivery.filing import plan_of
from app.delivery.outcome import Done, Outcome
from app.delivery.send_dicomweb import send_by_dicomweb
from app.delivery.send_uploader import send_by_uploader
from app.delivery.work import Work
from app.states import Step
from app.store.instances import instances_of
from app.store.organizations import Images


async def send(work: Work) -> Outcome:
    """Done when the transport has accepted every image. Files gone from staging send the exam back to convert."""
    async with work.tx() as (session, exam):
        plan = await plan_of(session, exam)
        instances = list(await instances_of(session, exam.id))
        exam.sent_count = len(instances)
    if plan.policy.images == Images.NONE:
        return Done("this organisation takes no images any more")
    waiting = [instance for instance in instances if instance.stored_at is None]
    if not waiting:
        return Done("nothing new to send" if not instances else "sent already")
    sender = send_by_uploader if plan.policy.images == Images.UPLOADER else send_by_dicomweb
    if not await sender(work, plan, waiting):
        return Done("the images are no longer in staging", to=Step.CONVERT)
    return Done(f"{len(waiting)} images")
