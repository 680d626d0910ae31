"""Organisations: what is accepted, what is refused in one line, and that secrets stay sealed."""

from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from app.config.settings import Settings
from app.errors import Misuse
from app.linking.links import start_link
from app.organizations.changes import (
    add_organization,
    describe_organization,
    remove_organization,
    set_organization,
)
from app.organizations.options import DEFAULTS, read_options
from app.people.users import add_user, enable_user
from app.resources import Resources, open_resources
from app.states import LinkState
from app.store.audit import AuditEvent, By
from app.store.exams import Exam
from app.store.links import Link
from app.store.organizations import POLICY_FIELDS, Organization, find_organization, list_organizations
from app.store.upstreams import refuse, upstream
from app.store.users import find_user

KEY = "invented-aurabox-key-1"
BASE: dict[str, Any] = {"name": "Valley Clinic", "aurabox_key": KEY}


async def test_the_defaults_are_those_of_the_command(
    resources: Resources, organization: Organization
) -> None:
    shown = describe_organization(organization).model_dump()
    wanted = {
        "name": "Harbour Clinic",
        "aurabox_url": None,
        "identity": "identified",
        "incomplete": "case",
        "animals": "case",
        "match_existing": "exact",
        "keep_birth_date": False,
        "source": "captures",
        "images": "none",
        "video": "cine",
        "burned_in": "unknown",
        "masks": [],
        "report": False,
        "timezone": "UTC",
        "has_aurabox_key": True,
        "has_service_key": False,
        "has_dicomweb_token": False,
    }
    assert {name: shown[name] for name in wanted} == wanted


async def test_images_go_by_the_uploader_when_its_credentials_are_set(settings: Settings) -> None:
    partner = settings.model_copy(update={"aura_app_id": "app", "aura_app_secret": SecretStr("s")})
    async with open_resources(partner) as resources:
        organization = await add_organization(resources, BASE, by=By("test"))
        assert organization.images == "uploader"


async def test_secrets_are_sealed_and_never_shown(resources: Resources) -> None:
    given = BASE | {
        "service_key": "service-secret-2",
        "images": "dicomweb",
        "dicomweb_url": "https://dicom.example/root",
        "dicomweb_user": "sono",
        "dicomweb_token": "dicom-secret-3",
    }
    organization = await add_organization(resources, given, by=By("test"))
    assert resources.unseal_text(organization.aurabox_key_sealed or b"") == KEY
    assert resources.unseal_text(organization.service_key_sealed or b"") == "service-secret-2"
    assert resources.unseal_text(organization.dicomweb_token_sealed or b"") == "dicom-secret-3"
    assert len(resources.sealer.unseal(organization.pseudonym_key_sealed)) == 32
    for secret in (KEY, "service-secret-2", "dicom-secret-3"):
        assert secret not in str(describe_organization(organization))
        assert secret not in repr(read_options(given))


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({}, "aurabox_key: "),
    ({"name": ""}, "name: "),
    ({"name": "x" * 201}, "name: "),
    ({"name": "00000000-0000-4000-8000-000000000000"}, "name: "),
    ({"aurabox_key": " "}, "aurabox_key: "),
    ({"aurabox_key": "two\nlines"}, "aurabox_key: "),
    ({"identity": "secret"}, "identity: "),
    ({"timezone": "Mars/Olympus"}, "timezone: "),
    ({"timezone": "../etc/passwd"}, "timezone: "),
    ({"aurabox_url": "ftp://aurabox.example"}, "aurabox_url: "),
    ({"aurabox_url": "https://user:pw@aurabox.example"}, "aurabox_url: "),
    ({"masks": ["1,2,3"], "burned_in": "mask"}, "masks.0: "),
    ({"masks": ["0,0,0,5"], "burned_in": "mask"}, "masks.0: "),
    ({"masks": [[0, 0, -1, 5]], "burned_in": "mask"}, "masks.0.2: "),
    ({"burned_in": "mask"}, "masks: "),
    ({"masks": ["0,0,10,10"]}, "masks: "),
    ({"images": "dicomweb"}, "dicomweb_url: "),
    ({"images": "uploader"}, "images: "),
    (
        {"images": "dicomweb", "dicomweb_url": "https://d.example", "dicomweb_user": "u"},
        "dicomweb_token: ",
    ),
    (
        {"images": "dicomweb", "dicomweb_url": "https://d.example", "identity": "deidentified"},
        "burned_in: ",
    ),
    ({"colour": "blue"}, "colour: is not an option"),
    ({"concurrency": 0}, "concurrency: "),
]
"""What is given → how the line begins."""


async def test_a_mistake_is_one_readable_line(resources: Resources) -> None:
    for given, line in MISTAKES:
        whole = {"name": "Valley Clinic"} | ({"aurabox_key": KEY} if given else {}) | given
        with pytest.raises(Misuse) as refused:
            await add_organization(resources, whole, by=By("test"))
        text = str(refused.value)
        assert text.startswith(line), text
        assert "\n" not in text
        assert KEY not in text
    async with resources.sessions() as session:
        assert list(await list_organizations(session)) == []


@pytest.mark.parametrize("said", ["no", "unknown"])
async def test_deidentified_images_are_accepted_once_burned_in_is_said(
    resources: Resources, said: str
) -> None:
    organization = await add_organization(
        resources,
        BASE
        | {
            "identity": "deidentified",
            "images": "dicomweb",
            "dicomweb_url": "https://dicom.example",
            "burned_in": said,
        },
        by=By("test"),
    )
    assert organization.burned_in == said


async def test_production_refuses_plain_http_and_private_addresses(settings: Settings) -> None:
    production = settings.model_copy(update={"env": "production"})
    async with open_resources(production) as resources:
        for url in ("http://aurabox.example", "https://10.0.0.8", "https://[fd00::8]/x"):
            with pytest.raises(Misuse):
                await add_organization(resources, BASE | {"aurabox_url": url}, by=By("test"))


async def test_a_name_is_taken_until_the_organisation_is_removed(resources: Resources) -> None:
    first = await add_organization(resources, BASE, by=By("test"))
    with pytest.raises(Misuse) as refused:
        await add_organization(resources, BASE, by=By("test"))
    assert refused.value.code == "name_taken"
    await remove_organization(resources, "Valley Clinic", by=By("test"))
    second = await add_organization(resources, BASE, by=By("test"))
    assert second.id != first.id


async def test_changing_changes_what_is_said_and_lifts_a_pause_with_new_credentials(
    resources: Resources, organization: Organization
) -> None:
    account = f"aurabox:{organization.id}"
    async with resources.sessions.begin() as session:
        await refuse(session, account, why="401", probe_seconds=900)
    changed = await set_organization(
        resources, "Harbour Clinic", {"report": True, "timezone": "Australia/Melbourne"}, by=By("test")
    )
    assert (changed.report, changed.timezone, changed.incomplete) == (True, "Australia/Melbourne", "case")
    async with resources.sessions() as session:
        known = await upstream(session, account)
        assert known is not None
        assert known.refused_since is not None
    await set_organization(resources, str(organization.id), {"aurabox_key": "a-new-key"}, by=By("test"))
    async with resources.sessions() as session:
        known = await upstream(session, account)
        assert known is not None
        assert known.refused_since is None
        details = await session.scalars(
            select(AuditEvent.detail)
            .where(AuditEvent.action == "organization.change")
            .order_by(AuditEvent.id)
        )
        assert list(details) == ["report, timezone", "aurabox_key"]


async def test_a_change_that_does_not_go_together_changes_nothing(
    resources: Resources, organization: Organization
) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"aurabox_key": None},
        {"images": "dicomweb"},
        {"burned_in": "mask"},
        {"identity": "deidentified", "images": "dicomweb", "dicomweb_url": "https://d.example"},
    )
    for given in changes:
        with pytest.raises(Misuse):
            await set_organization(resources, "Harbour Clinic", given, by=By("test"))
        async with resources.sessions() as session:
            kept = await find_organization(session, "Harbour Clinic")
            assert kept is not None
            assert describe_organization(kept) == describe_organization(organization), given


async def test_removing_ends_links_and_sessions_and_forgets_keys(
    resources: Resources, organization: Organization
) -> None:
    await add_user(
        resources,
        email="mara@harbour.example",
        organization="Harbour Clinic",
        role="clinician",
        password="violet kettle seventeen",
        by=By("test"),
    )
    link = await start_link(
        resources, token="t" * 43, organization_id=organization.id, user_id=None, by=By("test")
    )
    removed = await remove_organization(resources, "Harbour Clinic", by=By("test"))
    assert (removed.aurabox_key_sealed, removed.service_key_sealed) == (None, None)
    async with resources.sessions() as session:
        assert await find_organization(session, str(organization.id)) is None
        assert (await session.get_one(Link, link.id)).state == LinkState.DISCONNECTED
        user = await find_user(session, "mara@harbour.example")
        assert user is not None
        assert user.disabled_at is not None
    with pytest.raises(Misuse):
        await enable_user(resources, "mara@harbour.example", by=By("test"))


async def test_an_organisation_with_exams_under_way_is_not_removed(
    resources: Resources, organization: Organization
) -> None:
    async with resources.sessions.begin() as session:
        session.add(
            Exam(
                request_uuid=uuid4(),
                exam_uuid=uuid4(),
                source="webhook",
                state="waiting",
                organization_id=organization.id,
            )
        )
    with pytest.raises(Misuse) as refused:
        await remove_organization(resources, "Harbour Clinic", by=By("test"))
    assert "1 exams" in str(refused.value)


def test_an_option_that_nobody_said_is_what_its_column_has():
    columns = Organization.__table__.columns
    for name in POLICY_FIELDS:
        default = columns[name].default
        stored = default.arg(None) if default.is_callable else default.arg
        assert stored == DEFAULTS[name], name


async def test_a_stored_value_that_the_rules_refuse_today_is_shown_and_can_be_mended(
    resources: Resources, organization: Organization
) -> None:
    async with resources.sessions.begin() as session:
        row = await session.get_one(Organization, organization.id)
        row.timezone, row.concurrency = "Lost/Zone", 500
    shown = describe_organization(row)
    assert (shown.timezone, shown.concurrency) == ("Lost/Zone", 500)
    mended = await set_organization(
        resources, str(row.id), {"timezone": "UTC", "concurrency": 8}, by=By("test")
    )
    assert describe_organization(mended).timezone == "UTC"
