"""Rotating the Clarius key: killed at any point, a working key is left, and the next rotation ends what was begun."""

import asyncio
import os
import signal
import sys

import pytest
from sqlalchemy import update

from app.config.settings import Settings
from app.consoles.clarius_keys import RETIRING, ROTATION_SECONDS, RotationUnderWay, rotate_key
from app.errors import SonobridgeError
from app.faultpoints import ARMED_VARIABLE, ROTATION_POINTS
from app.resources import Resources, open_resources
from app.store.audit import By
from app.store.base import in_seconds
from app.store.runs import Run, begin_run
from app.store.secrets import read_secret
from sandbox.faults import answer, cut_after
from tests.support.bridge import settings_for
from tests.support.clarius import Sandbox
from tests.support.processes import environment_of


async def works(resources: Resources) -> bool:
    """Whether the key in use opens anything at Clarius."""
    await (await resources.clarius()).settings()
    return True


async def forget_the_run(resources: Resources) -> None:
    """As if the time were over in which a rotation that died keeps the next one out."""
    async with resources.sessions.begin() as session:
        await session.execute(update(Run).values(started_at=in_seconds(-ROTATION_SECONDS)))


@pytest.mark.parametrize("point", sorted(ROTATION_POINTS))
async def test_killed_at_any_point_a_working_key_is_left(settings: Settings, point: str):
    async with Sandbox() as sandbox:
        wanted = settings_for(settings, sandbox)
        before = set(sandbox.clarius.keys)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app.cli",
            "clarius",
            "keys",
            "rotate",
            env={"PATH": os.environ["PATH"], **environment_of(wanted), ARMED_VARIABLE: point},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == -signal.SIGKILL, output.decode()
        async with open_resources(wanted) as resources:
            assert await works(resources)
            await forget_the_run(resources)
            rotated = await rotate_key(resources, by=By("test"))
            assert await works(resources)
            async with resources.sessions() as session:
                assert await read_secret(session, RETIRING) is None
        assert rotated["prefix"] in sandbox.clarius.keys
        assert before.isdisjoint(sandbox.clarius.keys), "the first key is still valid"
        assert len(sandbox.clarius.keys) == 1, "a key was left that nobody has"


async def test_two_at_once_are_one(settings: Settings):
    async with Sandbox() as sandbox, open_resources(settings_for(settings, sandbox)) as resources:
        async with resources.sessions.begin() as session:
            assert await begin_run(session, "rotate_clarius_key", every=0)
        with pytest.raises(RotationUnderWay):
            await rotate_key(resources, by=By("test"))
        assert len(sandbox.clarius.keys) == 1


async def test_a_create_whose_answer_was_lost_leaves_no_key_that_nobody_has(settings: Settings):
    async with Sandbox() as sandbox, open_resources(settings_for(settings, sandbox)) as resources:
        before = set(sandbox.clarius.keys)
        sandbox.faults.arm(cut_after(), server="clarius", method="POST", path="*/api-keys/")
        with pytest.raises(SonobridgeError):
            await rotate_key(resources, by=By("test"))
        assert set(sandbox.clarius.keys) == before
        assert await works(resources)


async def test_a_new_key_that_does_not_work_is_not_kept(settings: Settings):
    async with Sandbox() as sandbox, open_resources(settings_for(settings, sandbox)) as resources:
        sandbox.faults.arm(answer(401), server="clarius", method="GET", path="*/services/settings/")
        with pytest.raises(SonobridgeError):
            await rotate_key(resources, by=By("test"))
        assert await works(resources)
        # and the next one is not kept out
        assert (await rotate_key(resources, by=By("test")))["in_use"] is True


async def test_a_key_that_clarius_would_not_revoke_is_revoked_by_the_next_rotation(settings: Settings):
    async with Sandbox() as sandbox, open_resources(settings_for(settings, sandbox)) as resources:
        sandbox.faults.arm(
            answer(400, {"detail": "not now"}),
            server="clarius",
            method="DELETE",
            path="*/api-keys/*",
            times=1,
        )
        await rotate_key(resources, by=By("test"))
        assert len(sandbox.clarius.keys) == 2
        rotated = await rotate_key(resources, by=By("test"))
        assert set(sandbox.clarius.keys) == {rotated["prefix"]}


async def test_a_new_key_that_does_not_work_is_revoked_by_the_next_rotation(settings: Settings):
    async with Sandbox() as sandbox, open_resources(settings_for(settings, sandbox)) as resources:
        sandbox.faults.arm(answer(401), server="clarius", method="GET", path="*/services/settings/", times=1)
        with pytest.raises(SonobridgeError):
            await rotate_key(resources, by=By("test"))
        rotated = await rotate_key(resources, by=By("test"))
        assert set(sandbox.clarius.keys) == {rotated["prefix"]}
