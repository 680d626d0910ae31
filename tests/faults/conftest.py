"""A rig for each test; the process that forks the others is started once."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.config.settings import Settings
from tests.support.processes import Zygote, open_zygote
from tests.support.rig import Rig, open_rig


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    with open_zygote() as running:
        yield running


@pytest.fixture
async def rig(settings: Settings, zygote: Zygote, tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(settings, zygote, tmp_path) as opened:
        yield opened
