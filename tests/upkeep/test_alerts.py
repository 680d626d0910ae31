"""Alerts: one message when a condition starts and one when it clears, also when nobody could be told at once."""

import asyncio

import httpx
import pytest
from sqlalchemy import select

from app.config.settings import Settings
from app.resources import Resources, open_resources
from app.store.alerts import Alert
from app.store.overview import read_overview
from app.store.runs import Run
from app.store.upstreams import refuse, resume
from app.upkeep.alerts import conditions, note, tell, watch_when_due
from tests.clients.peer import Peer, Reply, running_peer
from tests.support.bridge import working
from tests.support.wait import until


async def look(resources: Resources) -> tuple[int, int]:
    """One look at what holds."""
    async with resources.sessions.begin() as session:
        seen = await read_overview(session)
        return await note(session, conditions(seen, resources.settings))


async def pause(resources: Resources) -> None:
    """The Clarius key is refused."""
    async with resources.sessions.begin() as session:
        await refuse(session, "clarius", why="C1: clarius answered 401", probe_seconds=900)


async def mend(resources: Resources) -> None:
    """It works again."""
    async with resources.sessions.begin() as session:
        await resume(session, "clarius")


def to(settings: Settings, peer: Peer) -> Settings:
    """The settings with the peer as the place to tell."""
    host = httpx.URL(peer.url)
    return settings.model_copy(
        update={
            "alert_url": f"{peer.url}/hook?secret=s",
            "allowed_upstreams": settings.allowed_upstreams | {f"{host.host}:{host.port}"},
        }
    )


async def test_one_message_at_the_start_and_one_at_the_end(settings: Settings):
    async with running_peer() as peer, open_resources(to(settings, peer)) as resources:
        peer.handler = lambda _: Reply(204)
        await pause(resources)
        assert await look(resources) == (1, 0)
        assert await tell(resources) == 1
        for _ in range(3):
            assert await look(resources) == (0, 0)
            assert await tell(resources) == 0
        await mend(resources)
        assert await look(resources) == (0, 1)
        assert await tell(resources) == 1
        assert await tell(resources) == 0
        told = [one.json() for one in peer.seen]
        assert [(one["event"], one["condition"]) for one in told] == [
            ("started", "paused:clarius"),
            ("cleared", "paused:clarius"),
        ]
        assert "credentials are refused" in told[0]["message"]
        assert told[1]["cleared_at"]
        # the same trouble later is news again
        await pause(resources)
        assert await look(resources) == (1, 0)
        assert await tell(resources) == 1


async def test_what_could_not_be_told_is_told_later(settings: Settings):
    async with running_peer() as peer, open_resources(to(settings, peer)) as resources:
        peer.handler = lambda _: Reply(500)
        await pause(resources)
        await look(resources)
        assert await tell(resources) == 0
        peer.handler = lambda _: Reply(200)
        assert await tell(resources) == 1


async def test_trouble_that_ended_untold_is_not_told_as_ended(settings: Settings):
    async with running_peer() as peer, open_resources(to(settings, peer)) as resources:
        peer.handler = lambda _: Reply(500)
        await pause(resources)
        await look(resources)
        await tell(resources)
        await mend(resources)
        await look(resources)
        peer.handler = lambda _: Reply(200)
        peer.seen.clear()
        assert await tell(resources) == 0
        assert peer.seen == []


async def test_without_a_recipient_pages_show_it_and_a_later_one_hears_no_old_news(settings: Settings):
    async with open_resources(settings) as resources:
        await pause(resources)
        assert await watch_when_due(resources) == {"started": 1, "cleared": 0, "told": 0}
        assert await watch_when_due(resources) is None
        async with resources.sessions() as session:
            [alert] = (await session.scalars(select(Alert))).all()
        assert alert.told_at is not None
    async with running_peer() as peer, open_resources(to(settings, peer)) as resources:
        assert await tell(resources) == 0
        assert peer.seen == []


@pytest.mark.parametrize("stuck", ["failed", "review", "unverified"])
async def test_many_stuck_exams_are_one_condition(settings: Settings, stuck: str):
    async with open_resources(settings) as resources, resources.sessions() as session:
        seen = await read_overview(session)
        seen.states[stuck] = 500
        assert list(conditions(seen, settings)) == ["exams_stuck"]


async def test_whoever_takes_no_alert_holds_up_nothing_else(settings: Settings):
    """An alert URL that takes the connection and never answers: the sweep goes on round after round."""
    reached, over = asyncio.Event(), asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wanted = settings.model_copy(
        update={
            "sweep_seconds": 0.2,
            "alert_url": f"http://127.0.0.1:{port}/hook",
            "allowed_upstreams": settings.allowed_upstreams | {f"127.0.0.1:{port}"},
        }
    )
    try:
        async with open_resources(wanted) as resources:
            await pause(resources)
            async with working(resources):
                await until(reached.is_set)
                async with resources.sessions() as session:
                    before = (await session.get_one(Run, "sweep")).started_at

                async def swept_again() -> bool:
                    async with resources.sessions() as session:
                        run = await session.get_one(Run, "sweep")
                    return (run.started_at or before) > before

                for _ in range(3):
                    await until(swept_again)
                    async with resources.sessions() as session:
                        before = (await session.get_one(Run, "sweep")).started_at
                assert not over.is_set()
                over.set()
    finally:
        over.set()
        server.close()
