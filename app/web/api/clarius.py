"""Clarius over the admin API: registered URLs, records, confirmed tokens, API keys, applications."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from fastapi.responses import Response

from app.accounts import AccountKind
from app.clients.clarius import Annotation
from app.consoles import clarius as clarius_admin
from app.consoles.clarius import describe_key, describe_pair, describe_receipt
from app.consoles.clarius_keys import rotate_key
from app.consoles.registration import our_urls, register, register_ours, registered_urls
from app.errors import Misuse
from app.store.audit import By
from app.store.cursors import read_cursor, write_cursor
from app.upstreams.gate import asking
from app.web.api.documents import problems
from app.web.api.paging import DEFAULT, Cursor, Limit, slice_page
from app.web.api.routing import ApiRoute, Caller, CallerDep
from app.web.api.shapes import (
    AnnotationsBody,
    ApiKeyCreate,
    ApiKeyItem,
    ApiKeyPage,
    ApplicationPage,
    ClariusSettingsBody,
    ClariusSettingsChange,
    ConfirmedTokenPage,
    CustomisedItem,
    CustomisedPage,
    NewApiKeyItem,
    RecordPage,
    RegisterResult,
)
from app.web.dependencies import ResourcesDep

NO_APPLICATION = {404: "`clarius_not_found`: Clarius has no such application, or none that we customised"}

router = APIRouter(route_class=ApiRoute, prefix="/clarius", tags=["clarius"])


def _by(caller: Caller) -> By:
    return caller.by


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
) -> RecordPage:
    """Clarius's records of its webhook calls, each beside our own receipt, the newest first."""
    skip = read_cursor(cursor, int) if cursor else None
    start = min(skip[0], clarius_admin.MOST_RECORDS) if skip else 0
    found = await clarius_admin.read_records(resources, skip=start, limit=limit + 1)
    page = found[:limit]
    return RecordPage.model_validate(
        {
            "items": [describe_receipt(one) for one in page],
            "next_cursor": write_cursor(start + limit) if len(found) > limit else None,
        }
    )


@router.get("/confirmed-tokens", responses=problems(upstream=True))
async def confirmed_tokens(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> ConfirmedTokenPage:
    """The customers that Clarius holds as confirmed beside our links, differences first."""
    pairs = await clarius_admin.compare_tokens(resources)
    page, following = slice_page(sorted(pairs, key=_pair_place), key=_pair_place, limit=limit, cursor=cursor)
    return ConfirmedTokenPage.model_validate(
        {"items": [describe_pair(one) for one in page], "next_cursor": following}
    )


def _pair_place(pair: clarius_admin.TokenPair) -> str:
    return f"{int(pair.difference is None)}{pair.customer_hint}{pair.customer_hash.hex()}"


@router.get("/api-keys", responses=problems(upstream=True))
async def api_keys(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> ApiKeyPage:
    """The API keys at Clarius, without their secrets; `in_use` marks ours."""
    keys, used = await clarius_admin.list_keys(resources)
    page, following = slice_page(
        sorted(keys, key=lambda key: key.prefix), key=lambda key: key.prefix, limit=limit, cursor=cursor
    )
    return ApiKeyPage.model_validate(
        {"items": [describe_key(key, used) for key in page], "next_cursor": following}
    )


@router.post("/api-keys", status_code=201, responses=problems(writes=True, upstream=True))
async def create_api_key(resources: ResourcesDep, caller: CallerDep, body: ApiKeyCreate) -> NewApiKeyItem:
    """Make an API key at Clarius beside the one in use. Its secret is in this answer and nowhere else."""
    made = await clarius_admin.create_key(resources, body.name, by=_by(caller))
    return NewApiKeyItem(
        prefix=made.prefix, name=made.name, created_at=made.created, key=made.key.get_secret_value()
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
    await clarius_admin.revoke_key(resources, prefix, by=_by(caller))
    return Response(status_code=204)


@router.get("/applications", responses=problems(upstream=True))
async def applications(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> ApplicationPage:
    """All exam applications on Clarius Cloud."""
    async with asking(resources, AccountKind.CLARIUS):
        found = await (await resources.clarius()).applications()
    page, following = slice_page(
        sorted(found, key=lambda one: str(one.uuid)),
        key=lambda one: str(one.uuid),
        limit=limit,
        cursor=cursor,
    )
    return ApplicationPage.model_validate(
        {"items": [{"uuid": one.uuid, "name": one.name} for one in page], "next_cursor": following}
    )


@router.get("/applications/customised", responses=problems(upstream=True))
async def customised(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> CustomisedPage:
    """The applications that we customised."""
    async with asking(resources, AccountKind.CLARIUS):
        found = await (await resources.clarius()).customised_applications()
    page, following = slice_page(
        sorted(found, key=lambda one: str(one.uuid)),
        key=lambda one: str(one.uuid),
        limit=limit,
        cursor=cursor,
    )
    return CustomisedPage.model_validate(
        {"items": [one.model_dump() for one in page], "next_cursor": following}
    )


@router.get("/applications/{application}", responses=problems(NO_APPLICATION, upstream=True))
async def show_application(resources: ResourcesDep, _: CallerDep, application: UUID) -> CustomisedItem:
    """One application with our annotations."""
    async with asking(resources, AccountKind.CLARIUS):
        found = await (await resources.clarius()).customised_application(application)
    return CustomisedItem.model_validate(found.model_dump())


@router.put("/applications/{application}", responses=problems(NO_APPLICATION, writes=True, upstream=True))
async def set_application(
    resources: ResourcesDep, caller: CallerDep, application: UUID, body: AnnotationsBody
) -> CustomisedItem:
    """Replace our annotations of an application."""
    annotations = [Annotation.model_validate(one.model_dump()) for one in body.annotations]
    await clarius_admin.set_annotations(resources, application, annotations, by=_by(caller))
    return await show_application(resources, caller, application)


@router.delete(
    "/applications/{application}",
    status_code=204,
    responses=problems(NO_APPLICATION, writes=True, upstream=True),
)
async def remove_application(resources: ResourcesDep, caller: CallerDep, application: UUID) -> Response:
    """Remove our annotations of an application."""
    await clarius_admin.remove_annotations(resources, application, by=_by(caller))
    return Response(status_code=204)
