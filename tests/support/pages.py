"""A plain browser for tests of pages: keeps cookies, reads forms, sends them as a browser does; runs no script."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx


@dataclass
class Form:
    """One form of a page as it would be sent: where to, and its fields with the values that they came with."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.states: list[str] = []
        self.links: list[str] = []
        self.title = ""
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get")))
        elif tag == "input" and self.forms and "name" in given:
            self.forms[-1].fields[given["name"]] = given.get("value", "")
        elif tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "title":
            self._in_title = True
        if "data-state" in given:
            self.states.append(given["data-state"])

    def handle_endtag(self, tag: str) -> None:
        self._in_title = self._in_title and tag != "title"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data


class Page:
    """An answer, read."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.text = response.text
        self.path = urlsplit(str(response.url)).path
        reader = _Reader()
        reader.feed(response.text)
        self.forms = reader.forms
        self.states = reader.states
        self.links = reader.links
        self.title = reader.title

    def form(self, action: str) -> Form:
        """The form that is sent there, one that is posted before one that searches; without an action it goes to its
        own page.
        """
        for form in sorted(self.forms, key=lambda one: one.method.lower() != "post"):
            if urlsplit(urljoin(str(self.response.url), form.action)).path == action:
                return form
        raise AssertionError(f"no form for {action} on {self.path}: {[form.action for form in self.forms]}")


class Browsing:
    """One browser. Follows redirects to our own pages; `visited` holds every URL, `referers` what it would tell."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url = url
        self.client = httpx.AsyncClient(
            base_url=url,
            transport=transport,
            verify=False,  # plain http; loading the trusted certificates would take longer than most tests
            headers={"Accept": "text/html", "User-Agent": "Test browser"},
            follow_redirects=True,
            timeout=30,
            # a connection that rested may be closed by the server just as it is used again
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.client.aclose()

    @property
    def cookie(self) -> str | None:
        """The session cookie's value."""
        return next((cookie.value for cookie in self.client.cookies.jar), None)

    async def get(self, path: str, **more: Any) -> Page:
        """Open a page."""
        return Page(await self.client.get(path, **more))

    async def send(self, page: Page, action: str, *, origin: str | None = "", **typed: str) -> Page:
        """Fill in and send a form of `page`. `origin`: what the browser says, by default our own; None says nothing."""
        form = page.form(action)
        headers = {} if origin is None else {"Origin": origin or self.url}
        return Page(await self.client.post(action, data=form.fields | typed, headers=headers))

    async def sign_in(self, email: str, password: str) -> Page:
        """Open the sign-in page and send it."""
        return await self.send(await self.get("/login"), "/login", email=email, password=password)
