"""How often a customer's list is looked at: a few times at once, and in the long run no more than the budget grows."""

from uuid import UUID

from sqlalchemy import text

from app.resources import Resources
from app.store.links import LOOKS_AT_ONCE, end_look, take_look
from tests.support.linked import add_clinic, add_link

APART = 2.0


async def look(resources: Resources, link: UUID) -> bool:
    """Take a look and end it; whether it was to be had."""
    async with resources.sessions.begin() as session:
        taken = await take_look(session, link, seconds=60, apart=APART)
        if taken is None:
            return False
        epoch, began = taken
        assert await end_look(session, link, epoch=epoch, began=began)
        return True


async def passes(resources: Resources, seconds: float) -> None:
    """As if so much time had passed since."""
    async with resources.sessions.begin() as session:
        await session.execute(
            text("UPDATE links SET look_budget_at = look_budget_at - make_interval(secs => :seconds)"),
            {"seconds": seconds},
        )


async def test_a_few_looks_follow_each_other_at_once_and_then_one_each_time_the_budget_grows(
    resources: Resources,
) -> None:
    link = (await add_link(resources, "a-customer", await add_clinic(resources))).id
    assert [await look(resources, link) for _ in range(LOOKS_AT_ONCE + 1)] == [True] * LOOKS_AT_ONCE + [False]
    await passes(resources, APART)
    assert [await look(resources, link) for _ in range(2)] == [True, False]
    await passes(resources, 100 * APART)
    assert [await look(resources, link) for _ in range(LOOKS_AT_ONCE + 1)] == [True] * LOOKS_AT_ONCE + [False]


async def test_nobody_looks_while_another_does(resources: Resources) -> None:
    link = (await add_link(resources, "a-customer", await add_clinic(resources))).id
    async with resources.sessions.begin() as session:
        assert await take_look(session, link, seconds=60, apart=APART) is not None
    assert not await look(resources, link)


async def test_one_customers_looks_cost_another_nothing(resources: Resources) -> None:
    clinic = await add_clinic(resources)
    busy, other = [(await add_link(resources, f"customer-{n}", clinic)).id for n in range(2)]
    while await look(resources, busy):
        pass
    assert await look(resources, other)
