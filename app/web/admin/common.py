"""What all admin pages share: who may open them, how they are rendered, how an act ends; must not query anything."""

from collections.abc import Awaitable, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.responses import Response

from app.errors import Misuse, SonobridgeError, UpstreamError
from app.people.sessions import Person
from app.store.audit import By
from app.store.users import Role
from app.upstreams.gate import Held
from app.web.browser import VisitorDep, require_role
from app.web.rendering import PageError, render
from app.web.words import STEP_WORDS, WAITING_WORDS, exam_words_for_admins, link_words

T = TypeVar("T")

ADMIN_ONLY = Depends(require_role(Role.ADMIN))
AdminDep = Annotated[Person, ADMIN_ONLY]

TABS = (
    ("overview", "Overview", "/admin"),
    ("exams", "Exams", "/admin/exams"),
    ("links", "Links", "/admin/links"),
    ("organizations", "Organisations", "/admin/organizations"),
    ("users", "Users", "/admin/users"),
    ("clarius", "Clarius", "/admin/clarius"),
    ("aurabox", "Aurabox", "/admin/aurabox"),
    ("events", "Events", "/admin/events"),
)
TONES = {"done": "good", "under way": "wait", "stopped": "bad"}


def get_by(person: AdminDep, visitor: VisitorDep) -> By:
    """The admin, as the audit trail names them."""
    return By(f"user:{person.user.email}", visitor.address)


ByDep = Annotated[By, Depends(get_by)]


def admin_page(
    request: Request,
    template: str,
    context: Mapping[str, Any],
    *,
    tab: str,
    status: int = 200,
) -> Response:
    """Render a page below `admin/`, with the tabs."""
    defaults = {"tabs": TABS, "tab": tab, "done": None, "problem": None}
    return render(request, f"admin/{template}", defaults | words() | dict(context), status=status)


def words() -> dict[str, Any]:
    """How states are called and coloured."""
    return {
        "exam_words": exam_words_for_admins,
        "link_words": link_words,
        "tones": TONES,
        "waiting_words": WAITING_WORDS,
        "step_words": STEP_WORDS,
        "size": size,
        "span": span,
    }


def size(count: int | None) -> str:
    """Bytes for people."""
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def span(seconds: float | None) -> str:
    """A length of time for people."""
    if seconds is None:
        return "–"
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


async def attempt(doing: Awaitable[T], *, back: str) -> T:
    """Do it; when it can't be done, a page says why and leads back. Raises PageError."""
    try:
        return await doing
    except SonobridgeError as error:
        raise refusal(error, back=back) from error


def refusal(error: SonobridgeError, *, back: str) -> PageError:
    """The page for an act that could not be done."""
    action = ("Go back", back)
    if error.code.startswith("no_such_"):
        return PageError(404, "This is not here (any more)", sentence(error.message), action=action)
    if isinstance(error, Held):
        return PageError(409, "Not possible just now", sentence(error.message), action=action)
    if isinstance(error, UpstreamError):
        return PageError(409, "The other side refused, or did not answer", explained(error), action=action)
    title = "That can't be done" if isinstance(error, Misuse) else "That did not work"
    return PageError(409, title, sentence(error.message), action=action)


def explained(error: SonobridgeError) -> str:
    """The error with the upstream's own words, for the person whose call it was."""
    words = error.words if isinstance(error, UpstreamError) else ""
    return sentence(f"{error.message}: {words}" if words else error.message)


def sentence(text: str) -> str:
    """A message as a sentence."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
