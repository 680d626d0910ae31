"""Admin tokens over the admin API: list, create (the secret shown once), read, change, revoke."""

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from app.people.tokens import (
    change_token,
    create_token,
    describe_token,
    list_tokens,
    revoke_token,
    wanted_token,
)
from app.web.api.documents import problems
from app.web.api.paging import DEFAULT, Cursor, Limit, slice_page
from app.web.api.routing import ApiRoute, CallerDep
from app.web.api.shapes import NewToken, TokenChange, TokenCreate, TokenItem, TokenPage
from app.web.dependencies import ResourcesDep

NO_SUCH_TOKEN = {404: "`no_such_token`"}
TAKEN = {409: "`name_taken`: another token has this name"}

router = APIRouter(route_class=ApiRoute, tags=["tokens"])


@router.get("/tokens", responses=problems())
async def all_tokens(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> TokenPage:
    """Tokens in force, by name."""
    rows = sorted(await list_tokens(resources), key=lambda one: one.name)
    page, following = slice_page(rows, key=lambda one: one.name, limit=limit, cursor=cursor)
    return TokenPage.model_validate(
        {"items": [describe_token(one) for one in page], "next_cursor": following}
    )


@router.post("/tokens", status_code=201, responses=problems(TAKEN, writes=True))
async def create(resources: ResourcesDep, caller: CallerDep, body: TokenCreate) -> NewToken:
    """Make a token. Its secret is in this answer and nowhere else."""
    token, secret = await create_token(resources, name=body.name, scope=body.scope.value, by=caller.by)
    return NewToken.model_validate(
        {"id": token.id, "name": token.name, "scope": token.scope, "token": secret}
    )


@router.get("/tokens/{token_id}", responses=problems(NO_SUCH_TOKEN))
async def show(resources: ResourcesDep, _: CallerDep, token_id: UUID) -> TokenItem:
    """One token."""
    async with resources.sessions() as session:
        return TokenItem.model_validate(describe_token(await wanted_token(session, token_id)))


@router.patch("/tokens/{token_id}", responses=problems({**NO_SUCH_TOKEN, **TAKEN}, writes=True))
async def change(resources: ResourcesDep, caller: CallerDep, token_id: UUID, body: TokenChange) -> TokenItem:
    """Give a token another name or scope."""
    token = await change_token(
        resources,
        token_id,
        name=body.name,
        scope=body.scope.value if body.scope else None,
        by=caller.by,
    )
    return TokenItem.model_validate(describe_token(token))


@router.delete("/tokens/{token_id}", status_code=204, responses=problems(NO_SUCH_TOKEN, writes=True))
async def revoke(resources: ResourcesDep, caller: CallerDep, token_id: UUID) -> Response:
    """Revoke a token; it opens nothing from the next call on."""
    await revoke_token(resources, token_id, by=caller.by)
    return Response(status_code=204)
