"""`arq workers.settings.WorkerSettings` is a worker like any other: it opens, checks, works and leaves as ours does."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process

import pytest
from sqlalchemy import text

from app.config.settings import Settings
from app.resources import open_resources
from app.states import ExamState
from app.store.workers import living_workers
from tests.support.bridge import open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.processes import ROOT, environment_of

pytestmark = pytest.mark.slow


async def arq_worker(settings: Settings) -> Process:
    """The process as an operator starts it who runs the parts alone."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "arq", "workers.settings.WorkerSettings"),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment_of(settings)},
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def test_a_worker_that_arq_starts_links_delivers_and_leaves_in_good_order(settings: Settings) -> None:
    async with (
        Sandbox() as sandbox,
        open_bridge(settings_for(settings, sandbox), sandbox, worker=False) as bridge,
    ):
        process = await arq_worker(bridge.resources.settings)
        try:
            # a link that nobody works on stays pending
            customer = await bridge.customer(await bridge.organization(images="none"))
            submitted = await sandbox.submit_exam(customer=customer, captures=())
            await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
        finally:
            process.send_signal(signal.SIGTERM)
            said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        async with bridge.resources.sessions() as session:
            assert await living_workers(session) == []


async def test_a_worker_that_arq_starts_refuses_a_schema_that_is_not_its_own(settings: Settings) -> None:
    async with open_resources(settings) as resources:
        async with resources.sessions.begin() as session:
            await session.execute(text("UPDATE alembic_version SET version_num = 'of_next_year'"))
        said, _ = await (process := await arq_worker(settings)).communicate()
        assert process.returncode != 0
        assert "which a newer Sonobridge made" in said.decode()
        async with resources.sessions() as session:
            assert await living_workers(session) == []
