"""Single sign-on: out to the issuer and back."""

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.people.single_sign_on import CALLBACK_PATH, SsoFailed, begin_sso, finish_sso
from app.people.throttling import TooManyAttempts
from app.web.browser import VisitorDep
from app.web.dependencies import ResourcesDep
from app.web.login import signed_in_answer, too_many
from app.web.rendering import PAGE_HEADERS, PageError

router = APIRouter(include_in_schema=False)


def no_sso(error: SsoFailed) -> PageError:
    """The page for a sign-in that came to nothing."""
    missing = error.code == "sso_not_configured"
    return PageError(
        404 if missing else 403,
        "Single sign-on did not work",
        f"{error.message} You are not signed in. Please try again, or ask your administrator.",
        action=("Back to sign in", "/login"),
    )


@router.get("/login/oidc")
async def leave(request: Request, resources: ResourcesDep, visitor: VisitorDep) -> Response:
    """To the issuer."""
    try:
        url = await begin_sso(resources, visitor)
    except SsoFailed as error:
        raise no_sso(error) from None
    except TooManyAttempts as error:
        raise PageError(
            429, "Too many attempts", too_many(error), action=("Back to sign in", "/login")
        ) from None
    response = RedirectResponse(url, status_code=303, headers=PAGE_HEADERS)
    if request.state.new_cookie:
        request.state.finish_page(response)
    return response


@router.get(CALLBACK_PATH)
async def come_back(
    resources: ResourcesDep, visitor: VisitorDep, state: str = "", code: str = "", error: str = ""
) -> Response:
    """From the issuer; signed in, or told why not."""
    try:
        cookie = await finish_sso(resources, visitor, state=state, code=code, error=error)
    except SsoFailed as failed:
        raise no_sso(failed) from None
    return await signed_in_answer(resources, visitor, cookie)
