"""Adds, changes and removes organisations, each act audited; must not show or log a secret.

Called by the command line and the admin API with the same names (`app.organizations.options`).
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import OF_ORGANIZATIONS
from app.config.sealing import new_lookup_key
from app.errors import Misuse
from app.organizations.agreement import check_agreement
from app.organizations.options import PLAIN, SECRETS, OrganizationItem, OrganizationOptions, read_options
from app.resources import Resources
from app.states import UNDER_WAY, ExamState, Reason
from app.store.audit import By, audit
from app.store.base import now
from app.store.credentials import end_credentials
from app.store.exams import Exam, in_lock_order
from app.store.links import end_links_of
from app.store.organizations import POLICY_FIELDS, Images, Organization, find_organization, keep_policy
from app.store.upstreams import forget_accounts, resume
from app.store.users import User


async def add_organization(resources: Resources, values: Mapping[str, Any], *, by: By) -> Organization:
    """Make an organisation. `values` holds the options of `org add` in snake_case; only those that were said.

    Raises Misuse (one readable line) for wrong values, values that do not go together, and a name that is taken.
    """
    options = read_options(values)
    option_names = options.model_fields_set
    if "name" not in option_names:
        raise Misuse("name: an organisation needs a name")
    if options.aurabox_key is None:
        raise Misuse("aurabox_key: an organisation needs the API key of its Aurabox team")
    organization = Organization(pseudonym_key_sealed=resources.sealer.seal(new_lookup_key()))
    for field in PLAIN:
        setattr(organization, field, getattr(options, field))
    if "images" not in option_names:
        organization.images = Images.UPLOADER if resources.settings.aura_app_id else Images.NONE
        option_names = option_names | {"images"}
    _seal_secrets(resources, organization, options)
    check_agreement(organization, frozenset(option_names), resources.settings)
    async with resources.sessions() as session:
        session.add(organization)
        await _flush_name(session, organization)
        keep_policy(session, organization, by=by.actor)
        await _audit(session, "organization.add", organization, by=by)
        await session.commit()
    return organization


async def set_organization(
    resources: Resources,
    id_or_name: str,
    values: Mapping[str, Any],
    *,
    by: By,
) -> Organization:
    """Change what is in `values` and leave the rest; None clears an address, a user name or a second key.

    New credentials lift the pause of this organisation's accounts at once. Raises Misuse.
    """
    options = read_options(values)
    option_names = frozenset(options.model_fields_set)
    if not option_names:
        raise Misuse("nothing to change was given")
    if "aurabox_key" in option_names and options.aurabox_key is None:
        raise Misuse("aurabox_key: can be replaced but not taken away")
    async with resources.sessions() as session:
        organization = await wanted_organization(session, id_or_name, lock=True)
        before = _policy_of(organization)
        for field in option_names - set(SECRETS):
            setattr(organization, field, getattr(options, field))
        _seal_secrets(resources, organization, options)
        with session.no_autoflush:
            check_agreement(organization, option_names, resources.settings)
        changed = _policy_of(organization) != before
        if changed:
            organization.policy_version += 1
        await _flush_name(session, organization)
        if changed:
            keep_policy(session, organization, by=by.actor)
        if option_names & {*SECRETS, "aurabox_url", "dicomweb_url", "dicomweb_user"}:
            await _lift_pauses(session, organization)
        await _audit(
            session,
            "organization.change",
            organization,
            by=by,
            detail=", ".join(sorted(option_names)),
        )
        await session.commit()
    return organization


async def remove_organization(resources: Resources, id_or_name: str, *, by: By) -> Organization:
    """Take an organisation out of use: links end, users are disabled, its keys are forgotten, its history stays.

    Raises Misuse while exams of it are under way, because they would be lost in silence.
    """
    async with resources.sessions.begin() as session:
        organization = await wanted_organization(session, id_or_name, lock=True)
        busy = (
            await session.execute(
                select(func.count())
                .select_from(Exam)
                .where(Exam.organization_id == organization.id, Exam.state.in_(UNDER_WAY))
            )
        ).scalar_one()
        if busy:
            raise Misuse(
                f"{busy} exams of {organization.name} are under way: cancel them or wait", code="busy"
            )
        await end_links_of(session, organization.id)
        users = await session.scalars(select(User).where(User.organization_id == organization.id))
        for user in users:
            user.disabled_at = user.disabled_at or now()
            await end_credentials(session, user)
        organization.removed_at = now()
        # nobody calls these any more, and nobody could mend them
        await forget_accounts(session, [kind.of(organization.id) for kind in OF_ORGANIZATIONS])
        organization.aurabox_key_sealed = None
        organization.service_key_sealed = None
        organization.dicomweb_token_sealed = None
        # the name is free again; the row keeps telling whose the old exams were
        removed_name = organization.name
        organization.name = f"{removed_name} (removed {organization.id.hex[:8]})"
        await _audit(session, "organization.remove", organization, by=by)
    return organization


async def wanted_organization(session: AsyncSession, id_or_name: str, *, lock: bool = False) -> Organization:
    """By id or name; Misuse when there is none. `lock` keeps others from changing it until the commit."""
    organization = await find_organization(session, str(id_or_name))
    if organization is None:
        raise Misuse("there is no organisation with this id or name", code="no_such_organization")
    if lock:
        await session.refresh(organization, with_for_update=True)
    return organization


def describe_organization(organization: Organization) -> OrganizationItem:
    """An organisation as commands, the admin API and pages show it."""
    has = {f"has_{name}": getattr(organization, f"{name}_sealed") is not None for name in SECRETS}
    columns = ("id", *PLAIN, "policy_version", "created_at")
    return OrganizationItem.model_validate(has | {name: getattr(organization, name) for name in columns})


def _policy_of(organization: Organization) -> dict[str, Any]:
    return {name: getattr(organization, name) for name in POLICY_FIELDS}


def _seal_secrets(resources: Resources, organization: Organization, options: OrganizationOptions) -> None:
    for field in SECRETS:
        if field not in options.model_fields_set:
            continue
        value = getattr(options, field)
        sealed = resources.seal_text(value.get_secret_value()) if value is not None else None
        setattr(organization, f"{field}_sealed", sealed)


async def _flush_name(session: AsyncSession, organization: Organization) -> None:
    name = organization.name
    try:
        await session.flush()
        await session.refresh(organization)
    except IntegrityError:
        await session.rollback()
        raise Misuse(f"name: there is an organisation named {name} already", code="name_taken") from None


async def _lift_pauses(session: AsyncSession, organization: Organization) -> None:
    for kind in OF_ORGANIZATIONS:
        await resume(session, kind.of(organization.id))
    paused = in_lock_order(
        Exam.organization_id == organization.id,
        Exam.state == ExamState.WAITING,
        Exam.reason == Reason.PAUSED,
    )
    await session.execute(update(Exam).where(Exam.id.in_(paused)).values(due_at=now()))


async def _audit(
    session: AsyncSession,
    action: str,
    organization: Organization,
    *,
    by: By,
    detail: str | None = None,
) -> None:
    await audit(session, by=by, action=action, subject=str(organization.id), detail=detail)
