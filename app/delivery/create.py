"""The create protocol: intent held, its sending committed with the check right before the POST, outcome committed; looked for before it is ever repeated.

Aurabox has no idempotency keys (docs/vendors.md, "Aurabox"), so a create whose answer was lost may have happened.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import exists
from sqlalchemy.ext.asyncio import AsyncSession

from app.delivery.holds import Hold
from app.delivery.outcome import NeedsPerson
from app.delivery.work import Work
from app.errors import GiveUp, RenewCredentials, SlowDown, TryLater
from app.faultpoints import fault_point
from app.states import Reason
from app.store.base import clock
from app.store.creates import Create, CreateState, mark_create, take_create
from app.store.holds import HoldKind
from app.upstreams.gate import Held

# between two looks for a create whose answer was lost
LOOK_AGAIN_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Creation:
    """One thing to be there exactly once.

    `search` returns the remote ids that match on all fields; `send` makes it and returns its id. Both go through
    `Work.effect`, and `send` is bounded by the settings' `request_seconds`: after that long, a look tells the
    truth. `keep` records what was made under its id, in the transaction that ends the create: whoever finds the
    create ended finds the record too. `look_first`: look also before the first POST (somebody else may have made it).
    """

    organization_id: UUID
    kind: str
    natural_key: str
    search: Callable[[], Awaitable[Sequence[str]]] = field(repr=False)
    send: Callable[[], Awaitable[str]] = field(repr=False)
    keep: Callable[[AsyncSession, "Made"], Awaitable[None]] = field(repr=False)
    look_first: bool


@dataclass(frozen=True)
class Made:
    """The remote id, and whether it was there already and taken over. `ended_before`: another turn, or exam, made and recorded it."""

    remote_id: str
    adopted: bool
    ended_before: bool = False


async def create_once(work: Work, creation: Creation) -> Made:
    """The thing's remote id, creating it if and only if it is surely absent.

    Raises Held (settling) while another exam holds the intent or a lost answer may still show; NeedsPerson
    (`several_matches`) when a search finds more than one; the error tree for the rest.
    """
    create = await _take(work, creation)
    if create.state == CreateState.DONE and create.remote_id is not None:
        return Made(create.remote_id, create.adopted, ended_before=True)
    with work.holds.also(Hold(HoldKind.CREATE, create.id, create.epoch)) as intent:
        return await _look_and_send(work, creation, create, intent)


async def _look_and_send(work: Work, creation: Creation, create: Create, intent: Hold) -> Made:
    lost = create.state == CreateState.SENDING
    settled = False
    if lost:
        # asked before the look: what appears while it is under way would be missed and made again
        settled = await _is_settled(work, create)
    if lost or creation.look_first:
        matches = await creation.search()
        if len(matches) > 1:
            raise NeedsPerson(
                f"Aurabox has {len(matches)} that match; a person must choose", code="several_matches"
            )
        if matches:
            return await _end(work, creation, intent, create, Made(matches[0], adopted=True))
    if lost and not settled:
        raise Held(Reason.SETTLING, LOOK_AGAIN_SECONDS, "a create whose answer was lost does not show yet")
    return await _send(work, creation, create, intent)


async def _take(work: Work, creation: Creation) -> Create:
    term = work.resources.settings.lease_seconds
    # whoever lost the exam meanwhile learns it before anything is sent, and whoever has it now may take this over
    async with work.resources.statements() as session:
        create = await take_create(
            session,
            organization_id=creation.organization_id,
            kind=creation.kind,
            natural_key=creation.natural_key,
            holder=work.exam_id,
            seconds=max(term, work.resources.settings.request_seconds),
        )
    if create is None:
        raise Held(
            Reason.SETTLING, LOOK_AGAIN_SECONDS / 2, f"another exam is just creating this {creation.kind}"
        )
    return create


async def _is_settled(work: Work, create: Create) -> bool:
    """Whether absence counts by now: a search may lag behind a create, for as long as the settling time.

    Raises Held while the POST itself may still be under way; only after that a look tells anything.
    """
    since = await _since_sent(work, create)
    settings = work.resources.settings
    if since < settings.request_seconds:
        left = min(settings.request_seconds - since, LOOK_AGAIN_SECONDS)
        raise Held(Reason.SETTLING, left, "a create may still be under way")
    return since >= settings.settle_seconds


async def _since_sent(work: Work, create: Create) -> float:
    async with work.tx() as (session, _):
        at = await clock(session)
    return (at - create.sent_at).total_seconds() if create.sent_at else float("inf")


async def _send(work: Work, creation: Creation, create: Create, intent: Hold) -> Made:
    # written by the check before the POST itself, so that the POST is over when its time after `sent_at` is
    intent.sends = True
    try:
        remote_id = await creation.send()
    except (Held, SlowDown, RenewCredentials, GiveUp, TryLater):
        # nothing was sent, or it was surely refused: the intent is as if it had not been begun
        async with work.tx() as (session, _):
            await mark_create(session, create, CreateState.PLANNED)
        raise
    finally:
        intent.sends = False
    fault_point("create:before_record")
    return await _end(work, creation, intent, create, Made(remote_id, adopted=False))


async def _end(work: Work, creation: Creation, intent: Hold, create: Create, outcome: Made) -> Made:
    """The create is done and what it made is on record, both or neither. Raises Held when another exam has it now."""
    async with work.resources.sessions.begin() as session:
        if not await mark_create(
            session,
            create,
            CreateState.DONE,
            remote_id=outcome.remote_id,
            adopted=outcome.adopted,
            only=exists().where(work.ours),
        ):
            raise intent.lost()
        await creation.keep(session, outcome)
    return outcome
