"""A running bridge over a sandbox with an admin and a clinician, each with a browser of their own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import structlog

from app.config.settings import Settings
from app.observing.logs import configure_logging
from app.store.organizations import Organization
from app.store.users import Role, User
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.pages import Browsing
from tests.web.conftest import PASSWORD, hash_of_the_password


@dataclass
class Office:
    """The bridge, its first organisation, and three browsers: of an admin, of a clinician, of nobody."""

    bridge: Bridge
    organization: Organization
    admin: Browsing
    clinician: Browsing
    nobody: Browsing


@pytest.fixture
async def office(settings: Settings) -> AsyncIterator[Office]:
    """Everything, running; the two are signed in."""
    # as in production: an exception is logged as its place, not as pages of a template's local variables
    configure_logging("production")
    async with AsyncExitStack() as stack:
        stack.callback(structlog.reset_defaults)
        sandbox = await stack.enter_async_context(Sandbox())
        bridge = await stack.enter_async_context(open_bridge(settings_for(settings, sandbox), sandbox))
        organization = await bridge.organization()
        browsers = {}
        for role in Role:
            async with bridge.resources.sessions.begin() as session:
                session.add(
                    User(
                        email=f"{role}@harbour.example",
                        role=role,
                        organization_id=organization.id,
                        password_hash=hash_of_the_password(),
                    )
                )
            browsers[role] = await stack.enter_async_context(Browsing(bridge.url))
            await browsers[role].sign_in(f"{role}@harbour.example", PASSWORD)
        nobody = await stack.enter_async_context(Browsing(bridge.url))
        yield Office(bridge, organization, browsers[Role.ADMIN], browsers[Role.CLINICIAN], nobody)
