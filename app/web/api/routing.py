"""What every route of the admin API goes through: who calls, how often, how much, and errors as documented problems.

The token is checked before the body is read, so that nobody without one learns anything or costs anything.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

import asyncpg
from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from app.config.sealing import CannotUnseal
from app.errors import Misuse, NotThere, Rejected, SonobridgeError, UpstreamError
from app.people.tokens import check_token
from app.resources import Resources
from app.store.audit import By
from app.store.exams import StaleMove
from app.store.tokens import Scope
from app.upstreams.gate import Held
from app.web.exam_files import MAX_REPORT_BYTES
from app.web.limits import TokenBucket, bounded
from app.web.problems import Problem

CALLS_PER_SECOND = 100.0
"""Of one token, in one process; a second's worth may come at once."""
REFUSALS_PER_SECOND = 10.0
"""Of one address without a valid token."""
BUCKETS = 1000
MAX_BODY_BYTES = 1024 * 1024
FAILED_DEPENDENCY = 424
CONFLICTS = frozenset(
    {
        *("name_taken", "email_taken", "link_taken", "link_ended", "busy", "changed"),
        *("decision_needed", "no_exam_data", "not_linked"),
    }
)
NOT_FOUND = frozenset(
    {"no_such_exam", "no_such_link", "no_such_user", "no_such_token", "no_such_capture", "not_listed"}
)
# PostgreSQL: a value that the column can't hold (a NUL in a text, a number out of range)
DATA_EXCEPTION = "22"

bearer = HTTPBearer(
    scheme_name="admin token",
    description="An admin token (`sonobridge token create`), of scope `read` for GET and `write` for all.",
    auto_error=False,
)


@dataclass(frozen=True)
class Caller:
    """The token that calls, and from where."""

    name: str
    scope: Scope
    address: str | None

    @property
    def by(self) -> By:
        """How the audit trail names it."""
        return By(f"token:{self.name}", self.address)


def get_caller(request: Request) -> Caller:
    """Who calls; `ApiRoute` has checked it."""
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(get_caller)]


class ApiRoute(APIRoute):
    """A route of the admin API."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler, behind the checks."""
        handle = super().get_route_handler()
        most = MAX_REPORT_BYTES if self.path.endswith("/reports") else MAX_BODY_BYTES

        async def checked(request: Request) -> Response:
            request.state.caller = await _authenticate(request)
            try:
                return await handle(
                    bounded(request, most=most, refusal=Problem(413, f"at most {most} bytes"))
                )
            except HTTPException as error:
                # FastAPI wraps whatever ends the reading of a body into a 400
                if isinstance(error.__cause__, Problem):
                    raise error.__cause__ from None
                raise
            except SonobridgeError as error:
                raise problem_of(error, names_organization="organization" in request.path_params) from error
            except DBAPIError as error:
                if not is_bad_value(error):
                    raise
                raise Problem(422, "a value holds something that can't be stored") from error

        return checked


async def _authenticate(request: Request) -> Caller:
    """Raises Problem: 401 without a valid token, 403 when its scope is too narrow, 429 when it calls too often."""
    resources: Resources = request.app.state.resources
    address = request.client.host if request.client else None
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    token = await check_token(resources, secret.strip()) if scheme.lower() == "bearer" else None
    if token is None:
        _count(request, f"address:{address}", REFUSALS_PER_SECOND)
        raise Problem(
            401,
            "send a valid admin token: Authorization: Bearer …",
            headers={"WWW-Authenticate": 'Bearer realm="sonobridge"'},
        )
    _count(request, f"token:{token.id}", CALLS_PER_SECOND)
    scope = Scope(token.scope)
    if request.method not in {"GET", "HEAD"} and scope is not Scope.WRITE:
        raise Problem(403, "this token may only read", code="insufficient_scope")
    return Caller(token.name, scope, address)


def _count(request: Request, key: str, rate: float) -> None:
    """Count one call of `key` in this process. Raises Problem 429."""
    buckets: OrderedDict[str, TokenBucket] | None = getattr(request.app.state, "admin_rates", None)
    if buckets is None:
        buckets = request.app.state.admin_rates = OrderedDict()
    admit(buckets, key, rate, at=time.monotonic())


def admit(buckets: OrderedDict[str, TokenBucket], key: str, rate: float, *, at: float) -> None:
    """Raise Problem 429 when `key` has used up its share; the longest unused shares are forgotten.

    `rate` is in calls per second, `at` in seconds of a monotonic clock.
    """
    bucket = buckets.setdefault(key, TokenBucket())
    buckets.move_to_end(key)
    while len(buckets) > BUCKETS:
        buckets.popitem(last=False)
    if not bucket.take(rate, at):
        raise Problem(429, "too many calls", headers={"Retry-After": "1"})


def is_bad_value(error: DBAPIError) -> bool:
    """Whether the database refused a value that was sent, and not the work itself."""
    cause = error.orig.__cause__ if error.orig is not None else None
    return isinstance(cause, asyncpg.DataError) or str(getattr(cause, "sqlstate", "")).startswith(
        DATA_EXCEPTION
    )


def problem_of(error: SonobridgeError, *, names_organization: bool = False) -> Problem:  # noqa: PLR0911
    """The answer for an error of the tree: ours are 4xx, an upstream's are 424 with what we make of them.

    What an upstream remarked on single fields is told to the caller, who sent them.

    424 and not 502: this service works, and what went wrong elsewhere must not set off its own alarms.
    """
    if isinstance(error, Held):
        wait = {"Retry-After": str(max(1, round(error.seconds)))}
        return Problem(FAILED_DEPENDENCY, error.message, code=error.code, headers=wait)
    if isinstance(error, NotThere):
        return Problem(404, error.message, code=error.code)
    if isinstance(error, Rejected):
        fields = [{"field": name, "message": text} for name, texts in error.fields.items() for text in texts]
        if error.upstream_message:
            fields.insert(0, {"field": "request", "message": error.upstream_message})
        return Problem(422, error.message, code=error.code, extra={"errors": fields})
    if isinstance(error, UpstreamError):
        return Problem(FAILED_DEPENDENCY, error.message, code=error.code)
    if isinstance(error, CannotUnseal):
        return Problem(503, error.message, code=error.code)
    if error.code in NOT_FOUND or (names_organization and error.code == "no_such_organization"):
        return Problem(404, error.message, code=error.code)
    if isinstance(error, StaleMove):
        return Problem(409, error.message, code="stale_move")
    if isinstance(error, Misuse):
        return Problem(409 if error.code in CONFLICTS else 422, error.message, code=error.code)
    return Problem(FAILED_DEPENDENCY, error.message, code=error.code)
