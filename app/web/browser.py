"""Who is at the other end: the cookie, the person signed in, the CSRF token and the Origin of a form.

What a page's route may ask for:

* `VisitorDep` – the browser, signed in or not (`Visitor`: cookie, address);
* `PersonOrNone` – the person signed in, or None;
* `SignedIn` – the person signed in; nobody is sent to the sign-in page;
* `require_role(Role.ADMIN)` – a dependency that gives the person if they have the role; nobody gets the sign-in
  page with 401, others a page with 403;
* `CheckedForm` – the fields of a posted form, after its Origin and its `csrf_token` were checked. Every route
  that changes something on behalf of a browser asks for it; the template writes `csrf` into it.

A route that signs in or out answers through `set_cookie`, because the cookie's value changes then.
"""

import asyncio
import base64
import hmac
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request, Response

from app.people.sessions import Person, Visitor, find_person, new_cookie
from app.resources import Resources
from app.store.users import Role
from app.web.dependencies import ResourcesDep
from app.web.rendering import PageError

COOKIE_SHAPE = re.compile(r"[A-Za-z0-9_-]{43}")
MAX_FORM_BYTES = 64 * 1024
MAX_FORM_FIELDS = 50
FORM_SECONDS = 5.0
FORM_TYPE = "application/x-www-form-urlencoded"
BACKGROUND_HEADER = "x-sonobridge-follow"
"""Sent by the script of a page that waits: such a request does not count as the person being there."""


class SignInNeeded(Exception):
    """Nobody is signed in; `in_place`: the sign-in page is shown here with 401 instead of being redirected to."""

    def __init__(self, *, in_place: bool = False) -> None:
        super().__init__()
        self.in_place = in_place


def cookie_name(resources: Resources) -> str:
    """`__Host-` binds the cookie to this host over https; browsers refuse that prefix on plain http (loopback)."""
    secure = resources.settings.public_url.startswith("https://")
    return "__Host-sonobridge" if secure else "sonobridge"


def set_cookie(response: Response, resources: Resources, value: str) -> None:
    """Give the browser its cookie: for as long as it is open, out of reach of scripts and of other sites' forms."""
    response.set_cookie(
        cookie_name(resources),
        value,
        path="/",
        httponly=True,
        samesite="lax",
        secure=resources.settings.public_url.startswith("https://"),
    )


async def read_visitor(request: Request, resources: ResourcesDep) -> Visitor:
    """The browser. One without a (well-formed) cookie gets a new one with the answer."""
    cookie = request.cookies.get(cookie_name(resources), "")
    request.state.new_cookie = COOKIE_SHAPE.fullmatch(cookie) is None
    visitor = Visitor(
        cookie=new_cookie() if request.state.new_cookie else cookie,
        address=request.client.host if request.client else None,
        browser=request.headers.get("user-agent"),
    )
    request.state.csrf = csrf_token(visitor.cookie)
    if request.state.new_cookie:
        request.state.finish_page = partial(set_cookie, resources=resources, value=visitor.cookie)
    return visitor


VisitorDep = Annotated[Visitor, Depends(read_visitor)]


async def read_person(request: Request, resources: ResourcesDep, visitor: VisitorDep) -> Person | None:
    """The person signed in, if anybody is."""
    person = None
    if not request.state.new_cookie:
        person = await find_person(resources, visitor.cookie, touch=BACKGROUND_HEADER not in request.headers)
    request.state.person = person
    return person


PersonOrNone = Annotated[Person | None, Depends(read_person)]


async def signed_in(person: PersonOrNone) -> Person:
    """The person signed in. Raises SignInNeeded."""
    if person is None:
        raise SignInNeeded
    return person


SignedIn = Annotated[Person, Depends(signed_in)]


def require_role(role: Role) -> Callable[[Person | None], Awaitable[Person]]:
    """A dependency: `person: Annotated[Person, Depends(require_role(Role.ADMIN))]`."""

    async def check(person: PersonOrNone) -> Person:
        if person is None:
            raise SignInNeeded(in_place=True)
        if person.user.role != role:
            raise PageError(
                403,
                "This page is for administrators",
                "Your account can't open it. If you need it, ask whoever gave you the account.",
            )
        return person

    return check


def clear_cookie(response: Response, resources: Resources) -> None:
    """Take the cookie away; the next page brings a new one."""
    response.delete_cookie(
        cookie_name(resources),
        path="/",
        httponly=True,
        samesite="lax",
        secure=resources.settings.public_url.startswith("https://"),
    )


def csrf_token(cookie: str) -> str:
    """What a form of this browser carries: only who knows the cookie can make it, and it does not give it away."""
    digest = hmac.digest(cookie.encode(), b"sonobridge form", "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


async def checked_form(request: Request, resources: ResourcesDep, visitor: VisitorDep) -> dict[str, str]:
    """The posted fields. Raises PageError: 403 for another site's form, 413, 415, 408."""
    if not is_our_origin(request, resources.settings.public_url):
        raise PageError(
            403,
            "This form did not come from here",
            "Your browser says that another website sent it, so nothing was done. Open the page again and retry.",
        )
    fields = await read_form(request)
    token = fields.pop("csrf_token", "")
    if request.state.new_cookie or not hmac.compare_digest(
        token.encode(), csrf_token(visitor.cookie).encode()
    ):
        raise PageError(
            403,
            "This page was out of date",
            "You signed in or out since it was opened, or your browser keeps no cookies. Nothing was done. "
            "Open the page again and retry.",
        )
    return fields


CheckedForm = Annotated[dict[str, str], Depends(checked_form)]
FORM_IS_CHECKED = Depends(checked_form)
"""For `dependencies=[…]` of a route whose form has no other field."""
PERSON_IS_READ = Depends(read_person)
"""For `dependencies=[…]` of a route that only shows who is signed in."""


def is_our_origin(request: Request, public_url: str) -> bool:
    """Whether a form was sent by a page of ours, as the browser says (Origin, else Referer, else Sec-Fetch-Site).

    A client that says nothing of all this is no browser, and still needs the CSRF token. `Origin: null` is refused.
    """
    origin = request.headers.get("origin") or _origin_of(request.headers.get("referer", ""))
    if not origin:
        return request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
    ours = {_origin_of(public_url), f"{request.url.scheme}://{request.headers.get('host', '')}".lower()}
    return origin.lower() in ours


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else ""


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a small urlencoded body, read within `FORM_SECONDS`; the first of each name counts."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM_TYPE:
        raise PageError(415, "This form could not be read", "It was not sent the way a browser sends it.")
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MAX_FORM_BYTES:
                    raise PageError(
                        413, "This form is too large", "Shorten what you typed and send it again."
                    )
    except TimeoutError:
        raise PageError(408, "The connection is too slow", "Please try again.") from None
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS, errors="strict"
        )
    except ValueError:
        raise PageError(400, "This form could not be read", "Please go back and try again.") from None
    return dict(reversed(pairs))
