"""Admin tokens over the admin API: list, create (the secret shown once), read, change, revoke."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from app.people.tokens import (
    TokenItem,
    change_token,
    create_token,
    describe_token,
    list_tokens,
    revoke_token,
    wanted_token,
)
from app.store.tokens import Scope
from app.web.api.bodies import Body, Page
from app.web.api.documents import problems
from app.web.api.paging import DEFAULT, Cursor, Limit, slice_page
from app.web.api.routing import ApiRoute, CallerDep
from app.web.dependencies import ResourcesDep

NO_SUCH_TOKEN = {404: "`no_such_token`"}
TAKEN = {409: "`name_taken`: another token has this name"}

router = APIRouter(route_class=ApiRoute, tags=["tokens"])


class TokenCreate(Body):
    """A new admin token."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@\-]{0,99}$", examples=["nightly report"])]
    scope: Scope = Scope.WRITE


class TokenChange(Body):
    """What to change."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@\-]{0,99}$")] | None = None
    scope: Scope | None = None


class NewToken(BaseModel):
    """A token just made; `token` is its secret and is not shown again."""

    id: UUID = Field(examples=["2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809"])
    name: str = Field(examples=["nightly report"])
    scope: Scope = Field(examples=["read"])
    token: str = Field(examples=["sbt_shown-once"])


@router.get("/tokens", responses=problems())
async def all_tokens(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Page[TokenItem]:
    """Tokens in force, by name."""
    rows = await list_tokens(resources)
    page, following = slice_page(rows, key=lambda token: token.name, limit=limit, cursor=cursor)
    return Page(items=[describe_token(token) for token in page], next_cursor=following)


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
        return describe_token(await wanted_token(session, token_id))


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
    return describe_token(token)


@router.delete("/tokens/{token_id}", status_code=204, responses=problems(NO_SUCH_TOKEN, writes=True))
async def revoke(resources: ResourcesDep, caller: CallerDep, token_id: UUID) -> Response:
    """Revoke a token; it opens nothing from the next call on."""
    await revoke_token(resources, token_id, by=caller.by)
    return Response(status_code=204)
