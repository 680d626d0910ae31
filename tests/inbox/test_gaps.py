"""The gap list: what Clarius says that it sent, against what we have."""

from collections.abc import AsyncIterator

import pytest

from app.config.settings import Settings
from app.inbox.gaps import NOT_HERE, find_gaps
from app.resources import Resources, open_resources
from tests.support.bridge import settings_for
from tests.support.clarius import Sandbox


@pytest.fixture
async def looking(settings: Settings, sandbox: Sandbox) -> AsyncIterator[Resources]:
    async with open_resources(settings_for(settings, sandbox)) as opened:
        yield opened


async def test_one_odd_record_of_clariuss_log_does_not_hide_the_gap_list(
    looking: Resources, sandbox: Sandbox
) -> None:
    sent = await sandbox.submit_exam(customer=sandbox.add_customer(), captures=())
    sandbox.clarius.records.append({"logged_at": "2026-01-01T00:00:00Z", "event": None})
    gaps = await find_gaps(looking)
    assert [(str(gap.request_uuid), gap.reason) for gap in gaps] == [(sent.request_uuid, NOT_HERE)]
