"""Neutral calls that tell whether an account's credentials work; must not ask for anything of an exam.

A refusal may speak of the one thing asked for. Only what a call about nothing in particular meets, too, is evidence about
the credentials: C6 at Clarius, C17 at its Research API, A1 with one row, the uploader's configuration, one study by QIDO.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import assert_never
from uuid import UUID

import structlog

from app.accounts import AccountKind, read_account
from app.clients.clarius import login
from app.config.sealing import CannotUnseal
from app.errors import Misuse, NotThere, Rejected, RenewCredentials, SonobridgeError
from app.faultpoints import fault_point
from app.resources import Resources
from app.store.organizations import Organization

log = structlog.get_logger(__name__)


class Standing(StrEnum):
    """What a neutral call tells of an account."""

    WELCOME = "welcome"
    REFUSED = "refused"
    #: no answer, or none that says anything of the credentials
    UNKNOWN = "unknown"


def can_be_asked(account: str) -> bool:
    """Whether the account has credentials of its own, and thus a neutral call (`media:…` has neither)."""
    return read_account(account).kind is not AccountKind.MEDIA


async def ask_account(resources: Resources, account: str) -> Standing:
    """One neutral call with the account's credentials. Does not go through the gate, and raises nothing of its own."""
    try:
        async with probing():
            await _ask(resources, account)
    except (NotThere, Rejected):
        # an answer of any sense: the credentials were taken
        return Standing.WELCOME
    except (RenewCredentials, CannotUnseal):
        return Standing.REFUSED
    except SonobridgeError as error:
        log.info("account_asked_in_vain", account=account, detail_code=error.code)
        return Standing.UNKNOWN
    return Standing.WELCOME


@asynccontextmanager
async def probing() -> AsyncIterator[None]:
    """Surround one neutral call with its kill points."""
    fault_point("probe:before_ask_account")
    yield
    fault_point("probe:after_ask_account")


async def _ask(resources: Resources, account: str) -> None:
    kind, organization_id = read_account(account)
    match kind:
        case AccountKind.CLARIUS:
            clarius = await resources.clarius()
            await clarius.settings()
        case AccountKind.RESEARCH:
            await _sign_in(resources)
        case AccountKind.AURABOX:
            organization = await _organization(resources, organization_id)
            async for _patient in resources.aurabox(organization).patients(per_page=1):
                break
        case AccountKind.UPLOADER:
            await resources.uploader(await _organization(resources, organization_id)).lift()
        case AccountKind.DICOMWEB:
            await resources.dicomweb(await _organization(resources, organization_id)).check()
        case AccountKind.MEDIA:
            raise Misuse("there are no credentials to ask about", code="no_credentials")
        case _:
            assert_never(kind)


async def _organization(resources: Resources, organization_id: UUID | None) -> Organization:
    async with resources.sessions() as session:
        organization = await session.get(Organization, organization_id) if organization_id else None
    if organization is None or organization.removed_at is not None:
        raise Misuse("there is no such organisation any more", code="no_such_organization")
    return organization


async def _sign_in(resources: Resources) -> None:
    settings = resources.settings
    if settings.clarius_research_username is None or settings.clarius_research_password is None:
        raise Misuse("no credentials of the Research API are set", code="research_not_configured")
    await login(
        resources.http,
        base_url=settings.clarius_base_url,
        username=settings.clarius_research_username,
        password=settings.clarius_research_password,
    )
