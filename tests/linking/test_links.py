"""Making, moving, retrying, ending and comparing links."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import select

from app.errors import Misuse, UpstreamError
from app.linking.comparing import compare_tokens
from app.linking.links import (
    CustomerTaken,
    describe_link,
    is_token,
    list_links,
    move_link,
    retry_link,
    start_link,
    unlink,
)
from app.linking.runner import run_link
from app.organizations.changes import add_organization
from app.resources import Resources
from app.states import LinkState
from app.store.audit import AuditEvent, By
from app.store.links import Link, confirmed_links
from app.store.organizations import Organization
from app.store.runs import last_run
from sandbox.faults import answer
from tests.support.clarius import Sandbox


async def linked(resources: Resources, organization: Organization, token: str) -> Link:
    link = await start_link(
        resources, token=token, organization_id=organization.id, user_id=None, by=By("test")
    )
    await run_link(resources, link.id)
    return link


async def other_clinic(resources: Resources) -> Organization:
    return await add_organization(resources, {"name": "Valley Clinic", "aurabox_key": "k"}, by=By("test"))


async def acts(resources: Resources) -> list[tuple[str, str]]:
    async with resources.sessions() as session:
        events = select(AuditEvent).where(AuditEvent.action.startswith("link.")).order_by(AuditEvent.id)
        return [(event.action, event.result) for event in await session.scalars(events)]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("eYENW6HO4xdM0KlGO2kBXtTbD5XX1LTfdV-vYslapMY", True),
        ("a" * 16, True),
        ("a" * 255, True),
        ("A.z_9~-0A.z_9~-0", True),
        ("a" * 15, False),
        ("a" * 256, False),
        ("a" * 20 + "\n", False),
        ("a" * 20 + "/", False),
        ("ä" * 20, False),
        ("", False),
    ],
)
def test_the_shape_of_a_token(text: str, right: bool) -> None:
    assert is_token(text) is right


async def test_a_link_is_made_once_however_often_and_at_once_it_is_asked_for(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    token = sandbox.add_customer()
    made = await asyncio.gather(
        *[
            start_link(resources, token=token, organization_id=organization.id, user_id=None, by=By("test"))
            for _ in range(8)
        ]
    )
    assert len({link.id for link in made}) == 1
    assert sorted(await acts(resources)) == [("link.start", "done")] + [("link.start", "known")] * 7


@pytest.mark.row(40)
async def test_eight_clinicians_link_over_one_database_connection(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    """From its sixth use on, PostgreSQL may plan a prepared statement without looking at its values."""
    for _ in range(8):
        link = await start_link(
            resources,
            token=sandbox.add_customer(),
            organization_id=organization.id,
            user_id=None,
            by=By("test"),
        )
        assert link.state == LinkState.PENDING
    assert resources.engine.pool.checkedin() == 1, "they were to share a connection"


async def test_no_token_no_link(resources: Resources, organization: Organization) -> None:
    with pytest.raises(Misuse):
        await start_link(
            resources, token="short", organization_id=organization.id, user_id=None, by=By("test")
        )


async def test_a_held_token_is_refused_and_an_admin_moves_it(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    valley = await other_clinic(resources)
    token = sandbox.add_customer()
    old = await linked(resources, organization, token)
    with pytest.raises(CustomerTaken) as refused:
        await start_link(resources, token=token, organization_id=valley.id, user_id=None, by=By("test"))
    assert token not in str(refused.value)
    new = await move_link(resources, old.id, organization="Valley Clinic", by=By("admin@valley.example"))
    assert (new.state, new.organization_id) == (LinkState.CONFIRMED, valley.id)
    async with resources.sessions() as session:
        customer = await resources.hash_customer(token)
        assert (await confirmed_links(session, [customer]))[customer].id == new.id
        assert (await session.get_one(Link, old.id)).state == LinkState.DISCONNECTED
    assert [act for act in await acts(resources) if act[0] == "link.move"] == [("link.move", "done")]
    assert ("link.start", "refused") in await acts(resources)
    with pytest.raises(Misuse):
        await move_link(resources, old.id, organization="Valley Clinic", by=By("test"))
    with pytest.raises(Misuse):
        await move_link(resources, new.id, organization="Nowhere", by=By("test"))


async def test_a_pending_link_is_confirmed_under_the_organisation_it_was_moved_to(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    valley = await other_clinic(resources)
    old = await start_link(
        resources, token=sandbox.add_customer(), organization_id=organization.id, user_id=None, by=By("test")
    )
    new = await move_link(resources, old.id, organization=str(valley.id), by=By("test"))
    assert await run_link(resources, old.id) is False
    assert await run_link(resources, new.id) is True
    async with resources.sessions() as session:
        assert (await session.get_one(Link, new.id)).state == LinkState.CONFIRMED


async def test_unlinking_ends_it_and_the_customer_may_link_anew(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    token = sandbox.add_customer()
    link = await linked(resources, organization, token)
    for _ in range(2):
        ended = await unlink(resources, link.id, by=By("test"))
        assert ended.state == LinkState.DISCONNECTED
    assert [act for act in await acts(resources) if act[0] == "link.end"] == [("link.end", "done")]
    async with resources.sessions() as session:
        assert await confirmed_links(session, [await resources.hash_customer(token)]) == {}
    again = await linked(resources, organization, token)
    assert again.id != link.id


async def test_nobody_ends_a_link_of_another_organisation(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    valley = await other_clinic(resources)
    link = await linked(resources, organization, sandbox.add_customer())
    with pytest.raises(Misuse) as refused:
        await unlink(resources, link.id, by=By("test"), organization_id=valley.id)
    assert refused.value.code == "no_such_link"
    with pytest.raises(Misuse):
        await unlink(resources, uuid4(), by=By("test"))


async def test_a_refused_link_can_be_tried_again_and_an_ended_one_not(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    token = "unknown-to-clarius-for-now-0123"
    link = await linked(resources, organization, token)
    sandbox.add_customer(token)
    retried = await retry_link(resources, link.id, by=By("test"))
    assert retried.state == LinkState.PENDING
    await run_link(resources, link.id)
    async with resources.sessions() as session:
        assert (await session.get_one(Link, link.id)).state == LinkState.CONFIRMED
    assert (await retry_link(resources, link.id, by=By("test"))).state == LinkState.CONFIRMED
    await unlink(resources, link.id, by=By("test"))
    with pytest.raises(Misuse):
        await retry_link(resources, link.id, by=By("test"))


async def test_a_link_as_it_is_shown_has_no_token(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    token = sandbox.add_customer()
    await linked(resources, organization, token)
    ((link, owner, user),) = await list_links(resources, organization_id=organization.id)
    shown = describe_link(link, owner, user)
    assert token not in str(shown)
    assert shown.customer_hint == token[-4:]
    assert shown.state == "confirmed"
    assert (shown.organization.id, shown.organization.name) == (organization.id, "Harbour Clinic")
    assert await list_links(resources, organization_id=uuid4()) == []


async def test_comparing_with_clarius_finds_what_differs_each_way(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    both, ours = sandbox.add_customer(), sandbox.add_customer()
    for token in (both, ours):
        await linked(resources, organization, token)
    sandbox.clarius.customers[ours] = False
    theirs = sandbox.add_customer(confirmed=True)
    result = await compare_tokens(resources)
    assert result is not None
    assert (result["confirmed_there"], result["confirmed_here"]) == (2, 2)
    assert (result["missing_here"], result["missing_there"]) == (1, 1)
    assert [(row["hint"], row["missing"]) for row in result["rows"]] == [
        (theirs[-4:], "here"),
        (ours[-4:], "there"),
    ]
    assert all(token not in str(result) for token in (both, ours, theirs))
    assert await compare_tokens(resources, every=3600) is None
    async with resources.sessions() as session:
        run = await last_run(session, "compare_tokens")
    assert run is not None
    assert run.result == result


async def test_a_comparison_that_failed_says_so_and_keeps_the_last_good_result(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    good = await compare_tokens(resources)
    sandbox.faults.arm(answer(401), server="clarius", path="*/confirmed-tokens/")
    with pytest.raises(UpstreamError):
        await compare_tokens(resources)
    async with resources.sessions() as session:
        run = await last_run(session, "compare_tokens")
    assert run is not None
    assert run.error is not None
    assert run.result == good
