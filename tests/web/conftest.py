"""The web application on a real port, an organisation with two people, and browsers for them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from app.accounts.organizations import add_organization
from app.accounts.users import add_user
from app.resources import Resources, open_resources
from app.settings import Settings
from app.store.organizations import Organization
from app.store.users import User
from tests.support.bridge import serving
from tests.support.pages import Browsing, Page

PASSWORD = "violet kettle seventeen"
TOKEN = "eYENW6HO4xdM0KlGO2kBXtTbD5XX1LTfdV-vYslapMY"


@dataclass
class Clinic:
    """An organisation and its people; each signs in with `PASSWORD`."""

    organization: Organization
    clinician: User
    admin: User


@dataclass
class Site:
    """The running application. `browser()` opens another browser; all are closed with the test."""

    resources: Resources
    url: str
    browser: Callable[[], Browsing]

    async def clinic(self, name: str = "Harbour Clinic") -> Clinic:
        """A new organisation with a clinician and an admin."""
        organization = await add_organization(
            self.resources, {"name": name, "aurabox_key": "invented-key"}, actor="test"
        )
        host = name.lower().replace(" ", "-") + ".example"
        people = [
            await add_user(
                self.resources,
                email=f"{role}@{host}",
                organization=name,
                role=role,
                password=PASSWORD,
                actor="test",
            )
            for role in ("clinician", "admin")
        ]
        return Clinic(organization, *people)

    async def signed_in(self, user: User) -> tuple[Browsing, Page]:
        """A new browser in which this person is signed in, and the page they landed on."""
        browser = self.browser()
        return browser, await browser.sign_in(user.email, PASSWORD)


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    """The test's resources, open."""
    async with open_resources(settings) as opened:
        yield opened


@pytest.fixture
async def site(resources: Resources) -> AsyncIterator[Site]:
    """The application on a port of loopback."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(resources))
        browsers: list[Browsing] = []

        def browser() -> Browsing:
            browsers.append(Browsing(url))
            return browsers[-1]

        yield Site(resources, url, browser)
        for opened in browsers:
            await opened.client.aclose()
