"""Users: adding, inviting by mail and by link, disabling, resetting."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import SecretStr
from sqlalchemy import select

from app.config.settings import Settings
from app.errors import Misuse
from app.infrastructure.mail import Mail, MailFailed, send_mail
from app.organizations.changes import add_organization, remove_organization
from app.people.passwords import check_new_password, common_passwords, hash_password, verify_password
from app.people.sessions import Visitor, new_cookie
from app.people.signing_in import ask_for_reset, sign_in
from app.people.users import (
    add_user,
    change_role,
    describe_user,
    disable_user,
    enable_user,
    invite,
    list_users,
    reset_password,
)
from app.resources import Resources, open_resources
from app.store.audit import AuditEvent, By
from app.store.organizations import Organization
from app.store.users import find_user
from tests.support.certificates import make_certificate
from tests.support.ports import free_port

EMAIL = "mara.quill@harbour.example"
PASSWORD = "violet kettle seventeen"


@dataclass
class Inbox:
    """What a real SMTP server was given and called; `refuse` makes it say no."""

    url: str = ""
    messages: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str | None, list[str]]] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    refuse: bool = False

    async def handle_RCPT(  # noqa: N802 - aiosmtpd looks for this name
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        self.names.append(session.host_name)
        if session.host_name in {None, "localhost"}:
            # as a Postfix that wants a name (watchtower#572, passbolt_docker#132)
            return "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname"
        envelope.rcpt_tos.append(address)
        return "250 taken"

    async def handle_DATA(  # noqa: N802 - aiosmtpd looks for this name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        if self.refuse:
            return f"550 not wanted of {envelope.mail_from}"
        assert isinstance(envelope.content, bytes)
        self.envelopes.append((envelope.mail_from, list(envelope.rcpt_tos)))
        message = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        return "250 taken"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """An SMTP server on loopback."""
    made = Inbox()
    port = free_port()
    controller = Controller(made, hostname="127.0.0.1", port=port)
    controller.start()
    made.url = f"smtp://127.0.0.1:{port}?from=bridge@sonobridge.example"
    yield made
    controller.stop()


def with_mail(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"smtp_url": SecretStr(url), "public_url": "https://bridge.example"})


def visitor() -> Visitor:
    return Visitor(cookie=new_cookie(), address="127.0.0.1", browser=None)


async def add(resources: Resources, **more: str) -> None:
    given = {
        "email": EMAIL,
        "organization": "Harbour Clinic",
        "role": "clinician",
        "password": PASSWORD,
        "by": By("test"),
    }
    await add_user(resources, **(given | more))


async def test_a_user_is_added_and_shown_without_the_password(
    resources: Resources, organization: Organization
) -> None:
    await add(resources)
    ((user, owner),) = await list_users(resources)
    shown = describe_user(user, owner)
    assert (shown.email, shown.role, shown.invited, shown.disabled) == (
        EMAIL,
        "clinician",
        False,
        False,
    )
    assert "password" not in str(shown)
    assert user.password_hash is not None
    assert user.password_hash.startswith("$argon2id$")


async def test_a_mistake_is_one_readable_line(resources: Resources, organization: Organization) -> None:
    mistakes: tuple[dict[str, str], ...] = (
        {"email": "not an address"},
        {"email": "a@b@c.example"},
        {"role": "owner"},
        {"organization": "Nowhere"},
        {"password": "short"},
        {"password": "password1234"},
        {"password": "aaaaaaaaaaaaaa"},
        {"password": EMAIL},
        {"password": "x" * 300},
    )
    for wrong in mistakes:
        with pytest.raises(Misuse) as refused:
            await add(resources, **wrong)
        assert "\n" not in str(refused.value), wrong
    assert await list_users(resources) == []


async def test_an_address_is_taken_whatever_its_case(
    resources: Resources, organization: Organization
) -> None:
    await add(resources)
    with pytest.raises(Misuse) as refused:
        await add(resources, email=EMAIL.upper())
    assert refused.value.code == "email_taken"
    with pytest.raises(Misuse):
        await invite(resources, email=EMAIL, organization="Harbour Clinic", by=By("test"))


async def test_an_invitation_goes_out_by_mail(settings: Settings, inbox: Inbox) -> None:
    async with open_resources(with_mail(settings, inbox.url)) as resources:
        await add_organization(resources, {"name": "Harbour Clinic", "aurabox_key": "k"}, by=By("test"))
        invitation = await invite(resources, email=EMAIL, organization="Harbour Clinic", by=By("test"))
    assert invitation.mailed
    (message,) = inbox.messages
    assert message["To"] == EMAIL
    assert message["From"] == "bridge@sonobridge.example"
    assert "Harbour Clinic" in message["Subject"]
    assert invitation.url in message.get_content()
    assert invitation.url.startswith("https://bridge.example/invite/")


async def test_an_invitation_stands_when_the_mail_server_does_not_take_it(
    settings: Settings, inbox: Inbox
) -> None:
    inbox.refuse = True
    for url in (inbox.url, f"smtp://127.0.0.1:{free_port()}"):
        async with open_resources(with_mail(settings, url)) as resources:
            if url == inbox.url:
                await add_organization(
                    resources, {"name": "Harbour Clinic", "aurabox_key": "k"}, by=By("test")
                )
            invitation = await invite(resources, email=EMAIL, organization="Harbour Clinic", by=By("test"))
            assert not invitation.mailed
            assert "/invite/" in invitation.url


async def test_the_servers_reply_is_told_without_addresses(settings: Settings, inbox: Inbox) -> None:
    inbox.refuse = True
    with pytest.raises(MailFailed, match="550 not wanted of …"):
        await send_mail(with_mail(settings, inbox.url), Mail(to=EMAIL, subject="x", text="x"))
    nameless = with_mail(settings, inbox.url).model_copy(update={"public_url": "http://localhost"})
    with pytest.raises(MailFailed, match=r"504 5\.5\.2 <localhost>: Helo command rejected"):
        await send_mail(nameless, Mail(to=EMAIL, subject="x", text="x"))


async def test_we_are_called_by_the_public_urls_host(settings: Settings, inbox: Inbox) -> None:
    await send_mail(with_mail(settings, inbox.url), Mail(to=EMAIL, subject="x", text="x"))
    for public, helo in (
        ("https://192.0.2.7:8443", None),
        ("https://[2001:db8::7]", None),
        ("https://brücke.example", None),
        ("https://inside.example", "outside.example"),
    ):
        changed = {"public_url": public, "smtp_helo": helo}
        asked = with_mail(settings, inbox.url).model_copy(update=changed)
        await send_mail(asked, Mail(to=EMAIL, subject="x", text="x"))
    assert inbox.names == [
        "bridge.example",
        "[192.0.2.7]",
        "[IPv6:2001:db8::7]",
        "xn--brcke-lva.example",
        "outside.example",
    ]


async def test_addresses_are_what_was_written(settings: Settings, inbox: Inbox) -> None:
    url = inbox.url.replace("bridge@", "ops+bridge@")
    await send_mail(with_mail(settings, url), Mail(to="post@klinik-köln.example", subject="x", text="x"))
    await send_mail(with_mail(settings, url), Mail(to="post@faß.example", subject="x", text="x"))
    assert inbox.envelopes == [
        ("ops+bridge@sonobridge.example", ["post@xn--klinik-kln-lcb.example"]),
        # not fass.example, which is somebody else's
        ("ops+bridge@sonobridge.example", ["post@xn--fa-hia.example"]),
    ]


async def test_no_password_goes_over_the_network_in_the_clear(settings: Settings, inbox: Inbox) -> None:
    # upyo#36, chatto#226; written like this, glibc still leads it to loopback, and it is a network for all we know
    url = inbox.url.replace("smtp://127.0.0.1:", "smtp://bridge:secret@127.1:")
    with pytest.raises(MailFailed, match="STARTTLS"):
        await send_mail(with_mail(settings, url), Mail(to=EMAIL, subject="x", text="x"))
    assert (inbox.messages, inbox.names) == ([], [])


async def test_mail_goes_to_a_server_whose_authority_is_the_houses_own(
    settings: Settings, tmp_path: Path
) -> None:
    both, alone = make_certificate(tmp_path, "127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(both)
    inbox, port = Inbox(), free_port()
    controller = Controller(inbox, hostname="127.0.0.1", port=port, tls_context=tls, require_starttls=True)
    controller.start()
    try:
        stranger = with_mail(settings, f"smtp://127.0.0.1:{port}")
        with pytest.raises(MailFailed, match=r"certificate|SSLCertVerificationError"):
            await send_mail(stranger, Mail(to=EMAIL, subject="x", text="x"))
        assert inbox.messages == []
        trusting = stranger.model_copy(update={"ca_file": alone})
        for _ in range(8):
            await send_mail(trusting, Mail(to=EMAIL, subject="x", text="x"))
        assert len(inbox.messages) == 8
    finally:
        controller.stop()


async def test_mail_cannot_be_made_to_carry_other_headers(settings: Settings, inbox: Inbox) -> None:
    mail = Mail(to=EMAIL, subject="One\r\nBcc: all@else.example", text="x")
    with pytest.raises(ValueError, match="linefeed"):
        await send_mail(with_mail(settings, inbox.url), mail)
    assert inbox.messages == []


async def test_without_a_mail_server_it_says_so(settings: Settings) -> None:
    with pytest.raises(MailFailed) as failed:
        await send_mail(settings, Mail(to=EMAIL, subject="x", text="x"))
    assert failed.value.code == "mail_not_configured"


async def test_a_reset_link_goes_to_known_addresses_only(settings: Settings, inbox: Inbox) -> None:
    async with open_resources(with_mail(settings, inbox.url)) as resources:
        await add_organization(resources, {"name": "Harbour Clinic", "aurabox_key": "k"}, by=By("test"))
        await add(resources)
        for email in ("nobody@else.example", EMAIL):
            await ask_for_reset(resources, email=email, address="127.0.0.1")
        (message,) = inbox.messages
        assert message["To"] == EMAIL
        assert "https://bridge.example/reset/" in message.get_content()
        async with resources.sessions() as session:
            events = await session.scalars(
                select(AuditEvent.result).where(AuditEvent.action == "password.reset_ask")
            )
            assert list(events) == ["mailed"]


async def test_a_disabled_user_can_be_enabled_again(resources: Resources, organization: Organization) -> None:
    await add(resources)
    await disable_user(resources, EMAIL, by=By("test"))
    user = await enable_user(resources, EMAIL, by=By("test"))
    assert user.disabled_at is None
    assert await sign_in(resources, email=EMAIL, password=PASSWORD, visitor=visitor())
    with pytest.raises(Misuse):
        await disable_user(resources, "nobody@else.example", by=By("test"))


async def test_nobody_is_enabled_in_an_organisation_that_was_removed(
    resources: Resources, organization: Organization
) -> None:
    await add(resources)
    await remove_organization(resources, "Harbour Clinic", by=By("test"))
    with pytest.raises(Misuse) as refused:
        await enable_user(resources, EMAIL, by=By("test"))
    assert refused.value.code == "organization_removed"


async def test_a_password_set_by_somebody_else_is_the_only_one(
    resources: Resources, organization: Organization
) -> None:
    await add(resources)
    with pytest.raises(Misuse):
        await reset_password(resources, EMAIL, password="short", by=By("test"))
    user = await reset_password(resources, EMAIL, password="marble orchid lantern", by=By("test"))
    assert await verify_password(user.password_hash, "marble orchid lantern")
    assert not await verify_password(user.password_hash, PASSWORD)


async def test_a_role_is_changed_and_audited_once(resources: Resources, organization: Organization) -> None:
    await add(resources)
    for _ in range(2):
        user = await change_role(resources, EMAIL, role="admin", by=By("test"))
        assert user.role == "admin"
    async with resources.sessions() as session:
        events = await session.scalars(select(AuditEvent).where(AuditEvent.action == "user.role"))
        assert len(events.all()) == 1
        assert (await find_user(session, EMAIL)) is not None


async def test_no_password_is_right_where_there_is_none() -> None:
    assert not await verify_password(None, "nobody's password")
    assert not await verify_password("not a hash", "x")
    assert await verify_password(await hash_password(PASSWORD), PASSWORD)


def test_common_passwords_are_refused_and_only_hold_what_would_pass_by_length() -> None:
    assert len(common_passwords()) > 100
    assert min(len(word) for word in common_passwords()) >= 12
    for word in common_passwords():
        with pytest.raises(Misuse):
            check_new_password(word.upper(), email="someone@else.example")
    check_new_password(PASSWORD, email=EMAIL)
