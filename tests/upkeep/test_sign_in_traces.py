"""What is forgotten, and what is not."""

from sqlalchemy import func, select, update

from app.linking.links import keep_token
from app.people.sessions import Visitor, new_cookie
from app.people.signing_in import WrongCredentials, sign_in
from app.people.throttling import network_of
from app.people.users import add_user, invite
from app.resources import Resources
from app.store.audit import By
from app.store.base import in_seconds
from app.store.browser_sessions import BrowserSession
from app.store.one_time_links import OneTimeLink
from app.store.organizations import Organization
from app.store.pending_connects import PendingConnect
from app.store.throttles import Throttle
from app.store.users import User
from app.upkeep.sign_in_traces import purge_accounts

MONTH_SECONDS = 31 * 24 * 3600


async def test_what_ran_its_course_is_forgotten_and_people_stay(
    resources: Resources, organization: Organization
) -> None:
    visitor = Visitor(cookie=new_cookie(), address="127.0.0.1", browser="Test")
    password = "violet kettle seventeen"
    await add_user(
        resources,
        email="mara@harbour.example",
        organization="Harbour Clinic",
        role="admin",
        password=password,
        by=By("test"),
    )
    await sign_in(resources, email="mara@harbour.example", password=password, visitor=visitor)
    try:
        await sign_in(resources, email="nobody@else.example", password=password, visitor=visitor)
    except WrongCredentials:
        await keep_token(resources, "t" * 43, visitor)
    await invite(resources, email="odo@harbour.example", organization="Harbour Clinic", by=By("test"))
    fresh = await purge_accounts(resources)
    assert set(fresh.values()) == {0}
    old = in_seconds(-MONTH_SECONDS)
    async with resources.sessions.begin() as session:
        await session.execute(update(BrowserSession).values(expires_at=old))
        await session.execute(update(OneTimeLink).values(expires_at=old))
        await session.execute(update(PendingConnect).values(expires_at=old))
        await session.execute(update(Throttle).values(last_at=old))
    removed = await purge_accounts(resources)
    assert removed["sessions"] == removed["one_time_links"] == removed["pending_connects"] == 1
    assert removed["throttles"] >= 2
    async with resources.sessions() as session:
        assert (await session.execute(select(func.count()).select_from(User))).scalar_one() == 2


def test_what_counts_as_one_address() -> None:
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1")
    assert network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of(None) == network_of("testclient") == "unknown"
