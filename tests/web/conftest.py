"""The web application on a real port, an organisation with two people, and browsers for them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache

import pytest

from app.main import create_app
from app.organizations.changes import add_organization
from app.people.passwords import HASHER
from app.resources import Resources
from app.store.audit import By
from app.store.organizations import Organization
from app.store.users import Role, User
from tests.support.pages import Browsing, Page
from tests.support.serving import serving_app

PASSWORD = "violet kettle seventeen"
TOKEN = "eYENW6HO4xdM0KlGO2kBXtTbD5XX1LTfdV-vYslapMY"


@cache
def hash_of_the_password() -> str:
    """Made once: it takes a fifth of a second each time."""
    return HASHER.hash(PASSWORD)


@dataclass
class Staffed:
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

    async def clinic(self, name: str = "Harbour Clinic") -> Staffed:
        """A new organisation with a clinician and an admin."""
        organization = await add_organization(
            self.resources, {"name": name, "aurabox_key": "invented-key"}, by=By("test")
        )
        host = name.lower().replace(" ", "-") + ".example"
        clinician, admin = (
            User(
                email=f"{role}@{host}",
                role=role,
                organization_id=organization.id,
                password_hash=hash_of_the_password(),
            )
            for role in Role
        )
        async with self.resources.sessions.begin() as session:
            session.add_all((clinician, admin))
        return Staffed(organization, clinician, admin)

    async def signed_in(self, user: User) -> tuple[Browsing, Page]:
        """A new browser in which this person is signed in, and the page they landed on."""
        browser = self.browser()
        return browser, await browser.sign_in(user.email, PASSWORD)


@pytest.fixture
async def site(resources: Resources) -> AsyncIterator[Site]:
    """The application on a port of loopback."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving_app(create_app(resources=resources)))
        browsers: list[Browsing] = []

        def browser() -> Browsing:
            browsers.append(Browsing(url))
            return browsers[-1]

        yield Site(resources, url, browser)
        for opened in browsers:
            await opened.client.aclose()
