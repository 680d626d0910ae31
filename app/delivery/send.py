"""Step send: the exam's new images by the organisation's transport; nothing new means nothing is sent."""

from app.delivery.outcome import Done, Outcome
from app.delivery.send_dicomweb import send_by_dicomweb
from app.delivery.send_uploader import send_by_uploader
from app.delivery.work import Work
from app.states import Step
from app.store.instances import instances_of
from app.store.organizations import Images, Organization


async def send(work: Work) -> Outcome:
    """Done when the transport has accepted every image. Files gone from staging send the exam back to convert."""
    async with work.tx() as (session, exam):
        organization = await session.get_one(Organization, exam.organization_id)
        instances = list(await instances_of(session, exam.id))
        exam.sent_count = len(instances)
    if organization.images == Images.NONE:
        return Done("this organisation takes no images any more")
    waiting = [instance for instance in instances if instance.stored_at is None]
    if not waiting:
        return Done("nothing new to send" if not instances else "sent already")
    sender = send_by_uploader if organization.images == Images.UPLOADER else send_by_dicomweb
    if not await sender(work, organization, waiting):
        return Done("the images are no longer in staging", to=Step.CONVERT)
    return Done(f"{len(waiting)} images")
