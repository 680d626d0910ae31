"""What each transport of images does; must not fall back: whoever asks for one that has no entry gets a KeyError."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from app.clients.aurabox import Study as RemoteStudy
from app.delivery.counting import Counted
from app.delivery.filing import Plan
from app.delivery.transports.dicomweb import count_by_dicomweb, send_by_dicomweb
from app.delivery.transports.uploader import count_by_uploader, end_begun_uploads, send_by_uploader
from app.delivery.work import Work
from app.store.instances import Instance
from app.store.organizations import Images, PolicyFields
from app.store.studies import Study


@dataclass(frozen=True)
class Transport:
    """How images are sent, how those that were sent are counted, and how what was begun is ended."""

    #: how many images were accepted; None when one is no longer in staging
    send: Callable[[Work, Plan], Awaitable[int | None]]
    #: what is there of all that was sent for the study; None where nothing can be counted
    count: Callable[[Work, Plan, Study, RemoteStudy, Sequence[Instance]], Awaitable[Counted | None]]
    #: when the organisation has another transport by now; None for one that leaves nothing half done
    end: Callable[[Work, Plan], Awaitable[None]] | None


TRANSPORTS: dict[Images, Transport | None] = {
    Images.UPLOADER: Transport(send_by_uploader, count_by_uploader, end_begun_uploads),
    Images.DICOMWEB: Transport(send_by_dicomweb, count_by_dicomweb, None),
    Images.NONE: None,
}


def transport_of(policy: PolicyFields) -> Transport | None:
    """The transport by which images go; None when none are sent."""
    return TRANSPORTS[Images(policy.images)]


async def end_other_transports(work: Work, plan: Plan) -> None:
    """End what this exam began by the transports that its organisation had before."""
    for transport in TRANSPORTS.values():
        if transport is not None and transport is not transport_of(plan.policy) and transport.end is not None:
            await transport.end(work, plan)
