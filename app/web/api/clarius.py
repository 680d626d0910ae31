"""Clarius over the admin API: registered URLs, records, confirmed tokens, API keys, applications."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from app.accounts import AccountKind
from app.clients.clarius import Annotation, Application
from app.consoles import clarius as clarius_admin
from app.consoles.clarius import ApiKeyItem, RecordItem, describe_key, describe_record
from app.consoles.clarius_keys import rotate_key
from app.consoles.registration import our_urls, register, register_ours, registered_urls
from app.errors import Misuse
from app.linking.comparing import ConfirmedTokenItem, TokenPair, describe_pair, pair_tokens
from app.store.cursors import read_cursor, write_cursor
from app.upstreams.gate import asking
from app.web.api.bodies import Body, Page
from app.web.api.documents import problems
from app.web.api.paging import DEFAULT, Cursor, Limit, slice_page
from app.web.api.routing import ApiRoute, CallerDep
from app.web.dependencies import ResourcesDep

NO_APPLICATION = {404: "`clarius_not_found`: Clarius has no such application, or none that we customised"}

router = APIRouter(route_class=ApiRoute, prefix="/clarius", tags=["clarius"])


class ClariusSettingsBody(BaseModel):
    """The two URLs registered at Clarius; "" when none is."""

    notification_url: str = Field(examples=["https://bridge.example.org/webhooks/clarius"])
    token_transfer_url: str = Field(examples=["https://bridge.example.org/connect/clarius/{token}"])


class ClariusSettingsChange(Body):
    """What to register; "" clears a URL, leaving one out keeps it."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "minProperties": 1,
            "example": {"notification_url": "https://bridge.example.org/webhooks/clarius"},
        },
    )
    notification_url: Annotated[str, Field(max_length=2000)] | None = None
    token_transfer_url: Annotated[str, Field(max_length=2000)] | None = None


class RegisterResult(BaseModel):
    """What is registered now, and whether it is what this bridge serves."""

    notification_url: str = Field(examples=["https://bridge.example.org/webhooks/clarius"])
    token_transfer_url: str = Field(examples=["https://bridge.example.org/connect/clarius/{token}"])
    matches: bool = Field(examples=[True])


class ApiKeyCreate(Body):
    """A new key's name at Clarius."""

    name: Annotated[str, Field(min_length=1, max_length=50, examples=["bridge 2026"])]


class NewApiKeyItem(BaseModel):
    """A key just made at Clarius; `key` is its secret and is not shown again."""

    prefix: str = Field(examples=["a1b2c3d4"])
    name: str = Field(examples=["bridge 2026"])
    created_at: datetime | None = Field(examples=["2026-11-21T23:03:00Z"])
    key: str = Field(examples=["a1b2c3d4.shown-once"])


class AnnotationItem(BaseModel):
    """A list of labels that users are offered; linked ones are combined into one label."""

    title: Annotated[str, Field(max_length=200, examples=["Side"])]
    labels: Annotated[
        list[Annotated[str, Field(max_length=200)]], Field(max_length=200, examples=[["left", "right"]])
    ] = []
    linked: bool = False


class ApplicationItem(BaseModel):
    """An exam application on Clarius Cloud."""

    uuid: UUID = Field(examples=["9f9531da-84a7-4149-8d59-c4c86c0afaa3"])
    name: str = Field(examples=["Abdomen"])


class CustomisedItem(ApplicationItem):
    """An application with our annotations."""

    annotations: list[AnnotationItem]


class AnnotationsBody(Body):
    """The annotations of one application; they replace what was there."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "example": {"annotations": [{"title": "Side", "labels": ["left", "right"], "linked": False}]}
        },
    )
    annotations: Annotated[list[AnnotationItem], Field(max_length=200)]


@router.get("/settings", responses=problems(upstream=True))
async def read_settings(resources: ResourcesDep, _: CallerDep) -> ClariusSettingsBody:
    """The two URLs registered at Clarius. A webhook secret in them is shown as `…`."""
    return ClariusSettingsBody(**(await registered_urls(resources)).shown())


@router.patch("/settings", responses=problems(writes=True, upstream=True))
async def change_settings(
    resources: ResourcesDep, caller: CallerDep, body: ClariusSettingsChange
) -> ClariusSettingsBody:
    """Register other URLs; the answer is what Clarius has afterwards."""
    if body.notification_url is None and body.token_transfer_url is None:
        raise Misuse("nothing to change was given")
    changed = await register(
        resources,
        notification_url=body.notification_url,
        token_transfer_url=body.token_transfer_url,
        by=caller.by,
    )
    return ClariusSettingsBody(**changed.shown())


@router.post("/register", responses=problems(writes=True, upstream=True))
async def register_bridge(resources: ResourcesDep, caller: CallerDep) -> RegisterResult:
    """Register this bridge's own two URLs and check that they are what is served."""
    registered = await register_ours(resources, by=caller.by)
    return RegisterResult(**registered.shown(), matches=registered == our_urls(resources.settings))


@router.get("/records", responses=problems(upstream=True))
async def records(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Page[RecordItem]:
    """Clarius's records of its webhook calls, each beside our own receipt, the newest first."""
    skip = read_cursor(cursor, int) if cursor else None
    start = min(skip[0], clarius_admin.MOST_RECORDS) if skip else 0
    records = await clarius_admin.read_records(resources, skip=start, limit=limit + 1)
    page = records[:limit]
    return Page(
        items=[describe_record(record) for record in page],
        next_cursor=write_cursor(start + limit) if len(records) > limit else None,
    )


@router.get("/confirmed-tokens", responses=problems(upstream=True))
async def confirmed_tokens(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Page[ConfirmedTokenItem]:
    """The customers that Clarius holds as confirmed beside our links, differences first."""
    pairs = await pair_tokens(resources, by_hand=True)
    page, following = slice_page(pairs, key=_pair_place, limit=limit, cursor=cursor)
    return Page(items=[describe_pair(pair) for pair in page], next_cursor=following)


def _pair_place(pair: TokenPair) -> str:
    return f"{int(pair.difference is None)}{pair.customer_hint}{pair.customer_hash.hex()}"


@router.get("/api-keys", responses=problems(upstream=True))
async def api_keys(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Page[ApiKeyItem]:
    """The API keys at Clarius, without their secrets; `in_use` marks ours."""
    keys, used = await clarius_admin.list_keys(resources)
    page, following = slice_page(keys, key=lambda key: key.prefix, limit=limit, cursor=cursor)
    return Page(items=[describe_key(key, used) for key in page], next_cursor=following)


@router.post("/api-keys", status_code=201, responses=problems(writes=True, upstream=True))
async def create_api_key(resources: ResourcesDep, caller: CallerDep, body: ApiKeyCreate) -> NewApiKeyItem:
    """Make an API key at Clarius beside the one in use. Its secret is in this answer and nowhere else."""
    key = await clarius_admin.create_key(resources, body.name, by=caller.by)
    return NewApiKeyItem(
        prefix=key.prefix, name=key.name, created_at=key.created, key=key.key.get_secret_value()
    )


@router.post("/api-keys/rotate", responses=problems(writes=True, upstream=True))
async def rotate(resources: ResourcesDep, caller: CallerDep) -> ApiKeyItem:
    """Put a new key in place of the one in use, without a gap: make, store, use, verify, revoke the old one."""
    rotated = await rotate_key(resources, by=caller.by)
    return ApiKeyItem.model_validate(rotated)


@router.delete(
    "/api-keys/{prefix}",
    status_code=204,
    responses=problems({404: "`clarius_not_found`: there is no such key"}, writes=True, upstream=True),
)
async def revoke_api_key(
    resources: ResourcesDep, caller: CallerDep, prefix: Annotated[str, Path(min_length=1, max_length=100)]
) -> Response:
    """Revoke an API key; Clarius refuses that for the one in use."""
    await clarius_admin.revoke_key(resources, prefix, by=caller.by)
    return Response(status_code=204)


def _application_place(application: Application) -> str:
    return str(application.uuid)


@router.get("/applications", responses=problems(upstream=True))
async def applications(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Page[ApplicationItem]:
    """All exam applications on Clarius Cloud."""
    async with asking(resources, AccountKind.CLARIUS):
        rows = await (await resources.clarius()).applications()
    page, following = slice_page(rows, key=_application_place, limit=limit, cursor=cursor)
    items = [ApplicationItem(uuid=application.uuid, name=application.name) for application in page]
    return Page(items=items, next_cursor=following)


@router.get("/applications/customised", responses=problems(upstream=True))
async def customised(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Page[CustomisedItem]:
    """The applications that we customised."""
    async with asking(resources, AccountKind.CLARIUS):
        rows = await (await resources.clarius()).customised_applications()
    page, following = slice_page(rows, key=_application_place, limit=limit, cursor=cursor)
    items = [CustomisedItem.model_validate(application.model_dump()) for application in page]
    return Page(items=items, next_cursor=following)


@router.get("/applications/{application}", responses=problems(NO_APPLICATION, upstream=True))
async def show_application(resources: ResourcesDep, _: CallerDep, application: UUID) -> CustomisedItem:
    """One application with our annotations."""
    async with asking(resources, AccountKind.CLARIUS):
        row = await (await resources.clarius()).customised_application(application)
    return CustomisedItem.model_validate(row.model_dump())


@router.put("/applications/{application}", responses=problems(NO_APPLICATION, writes=True, upstream=True))
async def set_application(
    resources: ResourcesDep, caller: CallerDep, application: UUID, body: AnnotationsBody
) -> CustomisedItem:
    """Replace our annotations of an application."""
    annotations = [Annotation.model_validate(annotation.model_dump()) for annotation in body.annotations]
    await clarius_admin.set_annotations(resources, application, annotations, by=caller.by)
    return await show_application(resources, caller, application)


@router.delete(
    "/applications/{application}",
    status_code=204,
    responses=problems(NO_APPLICATION, writes=True, upstream=True),
)
async def remove_application(resources: ResourcesDep, caller: CallerDep, application: UUID) -> Response:
    """Remove our annotations of an application."""
    await clarius_admin.remove_annotations(resources, application, by=caller.by)
    return Response(status_code=204)
