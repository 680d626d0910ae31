"""Turns templates into pages with the security headers that every page needs; must not know sessions or the database.

Templates are in `templates/`, extend `base.html`, and get: `person` (or None), `csrf` (the form token), `path`, and what
the route gives. Values are escaped by Jinja; nothing is inline: no script, no style, no third party's file.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from app.web.words import browser_name

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # forms need it: under no-referrer browsers send `Origin: null`
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class PageError(Exception):
    """Ends a route in a page of words: what happened, and what to do. `action` is a link (text, path)."""

    def __init__(
        self,
        status: int,
        title: str,
        text: str,
        *,
        action: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.text = text
        self.action = action
        self.headers = dict(headers or {})


@cache
def environment() -> Environment:
    """The templates; read once a process."""
    environment = Environment(
        loader=PackageLoader("app.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = moment
    environment.filters["pairs"] = pairs
    environment.filters["browser_name"] = browser_name
    return environment


def pairs(values: Iterable[str]) -> list[tuple[str, str]]:
    """Options of a choice whose values are their own labels."""
    return [(str(value), str(value)) for value in values]


def moment(at: datetime, zone: str = "UTC") -> str:
    """A time for people, in the organisation's zone: `21 Nov 2026, 23:03 AEDT`."""
    try:
        local = at.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        local = at
    return f"{local.day} {local:%b %Y, %H:%M %Z}"


def render(
    request: Request,
    template: str,
    context: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """The page. Sets the browser's cookie when it came without one, so that its forms can be checked."""
    variables: dict[str, Any] = {
        "person": getattr(request.state, "person", None),
        "path": request.url.path,
        "csrf": getattr(request.state, "csrf", ""),
    }
    text = environment().get_template(template).render(variables | dict(context or {}))
    response = HTMLResponse(text, status_code=status, headers={**PAGE_HEADERS, **(headers or {})})
    finish = getattr(request.state, "finish_page", None)
    if finish is not None:
        finish(response)
    return response


def see_other(path: str, *, headers: Mapping[str, str] | None = None) -> RedirectResponse:
    """Redirect to a page of ours by GET."""
    return RedirectResponse(path, status_code=303, headers={**PAGE_HEADERS, **(headers or {})})


def error_page(request: Request, error: PageError) -> HTMLResponse:
    """The page of a `PageError`."""
    context = {"title": error.title, "text": error.text, "action": error.action}
    return render(request, "message.html", context, status=error.status, headers=error.headers)
