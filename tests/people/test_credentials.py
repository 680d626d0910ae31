"""What ends credentials ends also the sign-in whose check is under way: held up in the database, not by luck."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.organizations.changes import add_organization
from app.people.passwords import hash_password
from app.people.sessions import Person, Visitor, begin_session, find_person
from app.people.signing_in import WrongCredentials, accept_link, change_password, sign_in
from app.people.users import add_user, disable_user, enable_user, reset_link, reset_password
from app.resources import Resources
from app.store.audit import AuditEvent, By
from app.store.base import now
from app.store.browser_sessions import BrowserSession, living_browser_sessions
from app.store.credentials import end_credentials
from app.store.one_time_links import OneTimeLinkKind, hash_token
from app.store.users import User
from tests.support.wait import until

OLD = "violet kettle seventeen"
NEW = "marble orchid lantern"
OWNER = "owner@harbour.example"
COLLEAGUE = "colleague@harbour.example"


def visitor(cookie: str = "a-cookie") -> Visitor:
    return Visitor(cookie=cookie, address="198.51.100.7", browser="a browser")


@pytest.fixture
async def owner(resources: Resources) -> User:
    await add_organization(resources, {"name": "Harbour", "aurabox_key": "an-invented-key"}, by=By("test"))
    return await add_user(
        resources, email=OWNER, organization="Harbour", role="clinician", password=OLD, by=By("test")
    )


async def waiting(resources: Resources) -> int:
    """How many of this database's connections wait for a lock."""
    async with resources.sessions() as session:
        found = await session.execute(
            text(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )
        return int(found.scalar_one())


async def living(resources: Resources, user: User) -> int:
    async with resources.sessions() as session:
        return len(await living_browser_sessions(session, user.id))


async def new_password(session: AsyncSession, user: User, hashed: str) -> None:
    user.password_hash = hashed


async def disabled(session: AsyncSession, user: User, hashed: str) -> None:
    user.disabled_at = await session.scalar(select(now()))


@pytest.mark.row(47)
@pytest.mark.parametrize("change", [new_password, disabled])
async def test_a_password_checked_before_the_change_and_a_session_wanted_after_it(
    resources: Resources, owner: User, change: Callable[[AsyncSession, User, str], Awaitable[None]]
) -> None:
    hashed = await hash_password(NEW)
    async with resources.sessions() as session:
        held = (await session.scalars(select(User).where(User.id == owner.id).with_for_update())).one()
        signing_in = asyncio.create_task(sign_in(resources, email=OWNER, password=OLD, visitor=visitor()))
        # the old password was found right, and the session is about to be written
        await until(lambda: waiting(resources))
        await change(session, held, hashed)
        await end_credentials(session, held)
        await session.commit()
        with pytest.raises(WrongCredentials):
            await signing_in
    assert await living(resources, owner) == 0
    async with resources.sessions() as session:
        acts = list(await session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)))
    assert acts[-1] == "session.sign_in_failed"
    assert "session.sign_in" not in acts


@asynccontextmanager
async def held_sign_in(resources: Resources, cookie: str) -> AsyncIterator[asyncio.Task[str]]:
    """A sign-in with the old password that stops in its last transaction, at the row of the colleague who is signed
    in in the same browser, and goes on when the block ends.
    """
    async with resources.sessions() as session:
        row = select(BrowserSession).where(BrowserSession.token_hash == hash_token(cookie))
        (await session.scalars(row.with_for_update())).one()
        signing_in = asyncio.create_task(
            sign_in(resources, email=OWNER, password=OLD, visitor=visitor(cookie))
        )
        await until(lambda: waiting(resources))
        yield signing_in
        await session.rollback()


async def by_oneself(resources: Resources, user: User) -> None:
    cookie = await sign_in(resources, email=OWNER, password=OLD, visitor=visitor("elsewhere"))
    person = await find_person(resources, cookie, touch=False)
    assert isinstance(person, Person)
    await change_password(resources, person, current=OLD, new=NEW, visitor=visitor(cookie))


async def by_reset_link(resources: Resources, user: User) -> None:
    url = await reset_link(resources, OWNER, by=By("test"))
    token = url.rpartition("/")[2]
    await accept_link(resources, OneTimeLinkKind.RESET, token, password=NEW, visitor=visitor("elsewhere"))


async def by_an_admin(resources: Resources, user: User) -> None:
    await reset_password(resources, OWNER, password=NEW, by=By("test"))


async def by_disabling(resources: Resources, user: User) -> None:
    await disable_user(resources, OWNER, by=By("test"))
    await enable_user(resources, OWNER, by=By("test"))


@pytest.mark.row(47)
@pytest.mark.parametrize("act", [by_oneself, by_reset_link, by_an_admin, by_disabling])
async def test_no_session_of_the_old_password_is_left_whoever_ends_it(
    resources: Resources, owner: User, act: Callable[[Resources, User], Awaitable[None]]
) -> None:
    await add_user(
        resources, email=COLLEAGUE, organization="Harbour", role="clinician", password=OLD, by=By("test")
    )
    cookie = await sign_in(resources, email=COLLEAGUE, password=OLD, visitor=visitor())
    async with held_sign_in(resources, cookie) as signing_in:
        acting = asyncio.create_task(act(resources, owner))

        async def done_or_behind() -> bool:
            return acting.done() or await waiting(resources) > 1

        await until(done_or_behind)
    await acting
    (outcome,) = await asyncio.gather(signing_in, return_exceptions=True)
    if isinstance(outcome, str):
        assert await find_person(resources, outcome, touch=False) is None
    else:
        assert isinstance(outcome, WrongCredentials)


async def test_two_who_change_one_password_with_the_old_one_do_not_both_succeed(
    resources: Resources, owner: User
) -> None:
    people = []
    for place in ("here", "there"):
        cookie = await sign_in(resources, email=OWNER, password=OLD, visitor=visitor(place))
        person = await find_person(resources, cookie, touch=False)
        assert person is not None
        people.append((person, cookie))
    outcomes = await asyncio.gather(
        *(
            change_password(resources, person, current=OLD, new=f"{NEW} {number}", visitor=visitor(cookie))
            for number, (person, cookie) in enumerate(people)
        ),
        return_exceptions=True,
    )
    cookies = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert len(cookies) == 1
    assert sum(isinstance(outcome, WrongCredentials) for outcome in outcomes) == 1
    assert await living(resources, owner) == 1
    assert await find_person(resources, cookies[0], touch=False) is not None


async def test_a_session_of_an_older_epoch_is_no_session(resources: Resources, owner: User) -> None:
    async with resources.sessions.begin() as session:
        cookie = await begin_session(session, owner, visitor(), how="password")
    assert await find_person(resources, cookie, touch=False) is not None
    async with resources.sessions.begin() as session:
        user = await session.get_one(User, owner.id)
        user.credentials_epoch = User.credentials_epoch + 1
    assert await find_person(resources, cookie, touch=False) is None
    assert await living(resources, owner) == 0
