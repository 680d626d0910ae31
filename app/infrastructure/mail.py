"""Sends the few e-mails there are, through the configured SMTP server; must not know who asked for them."""

import re
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
import httpx

from app.config.settings import Settings
from app.config.trust import tls_context
from app.errors import SonobridgeError

SMTP_SECONDS = 15.0
SMTP_PORT = 587
SMTPS_PORT = 465
REASON_LETTERS = 200
IPV6 = 6


class MailFailed(SonobridgeError):
    """The server did not take the message; the reason holds no address and no text of it."""

    kind = "mail_failed"


@dataclass(frozen=True)
class Mail:
    """One plain-text message to one person."""

    to: str
    subject: str
    text: str


def invitation_mail(*, to: str, organization: str, url: str) -> Mail:
    """The invitation to `organization`; `url` works once."""
    return Mail(
        to=to,
        subject=f"Your Sonobridge account at {organization}",
        text=(
            f"Hello,\n\nyou have been invited to Sonobridge for {organization}.\n"
            "Sonobridge carries your Clarius ultrasound exams into Aurabox.\n\n"
            "Open this link to set up your account. It works once, within 7 days:\n\n"
            f"{url}\n\nIf you did not expect this message, you can ignore it.\n"
        ),
    )


def reset_mail(*, to: str, url: str) -> Mail:
    """The way to a new password; `url` works once."""
    return Mail(
        to=to,
        subject="Choose a new Sonobridge password",
        text=(
            "Hello,\n\nsomebody, we hope you, asked for a new password for this address.\n\n"
            "Open this link to choose one. It works once, within one hour:\n\n"
            f"{url}\n\nIf it was not you, ignore this message: your password stays as it is.\n"
        ),
    )


def alert_mail(*, to: str, subject: str, text: str) -> Mail:
    """A message to those who run the service."""
    return Mail(to=to, subject=subject, text=text)


async def send_mail(settings: Settings, mail: Mail) -> None:
    """Hand the message to the server of SONOBRIDGE_SMTP_URL. Raises MailFailed, also when none is set up.

    `smtps://` speaks TLS from the start. `smtp://[user:password@]host[:587]` uses STARTTLS: where it is offered, and
    not without it when a password would go over the network. `?from=address` names the sender, else
    `sonobridge@<host of the public URL>`. That host is our name in EHLO too, unless SONOBRIDGE_SMTP_HELO says another.
    """
    if settings.smtp_url is None:
        raise MailFailed("no mail server is set up", code="mail_not_configured")
    url = urlsplit(settings.smtp_url.get_secret_value())
    here = _dns_name(urlsplit(settings.public_url).hostname or "localhost")
    # in an address a plus is a plus
    senders = parse_qs(url.query.replace("+", "%2B")).get("from")
    sender = _ascii_domain(senders[0] if senders else f"sonobridge@{here}")
    message = EmailMessage()
    message["From"] = sender
    message["To"] = _ascii_domain(mail.to)
    message["Subject"] = mail.subject
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = make_msgid(domain=here)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    encrypted = url.scheme == "smtps"
    try:
        await aiosmtplib.send(
            message,
            hostname=url.hostname,
            port=url.port or (SMTPS_PORT if encrypted else SMTP_PORT),
            username=unquote(url.username) if url.username else None,
            password=unquote(url.password) if url.password else None,
            use_tls=encrypted,
            start_tls=True if url.password and not encrypted and not _is_loopback(url.hostname) else None,
            local_hostname=settings.smtp_helo or _helo(here),
            timeout=SMTP_SECONDS,
            tls_context=tls_context(settings.ca_file),
        )
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        raise MailFailed(f"the mail server did not take the message ({_reason(error)})") from None


def _is_loopback(host: str | None) -> bool:
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def _helo(host: str) -> str:
    """How a host calls itself (RFC 5321 4.1.3): an address in brackets, a name as it is."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return f"[IPv6:{address}]" if address.version == IPV6 else f"[{address}]"


def _ascii_domain(address: str) -> str:
    """The address with its domain as the DNS spells it, which every mail server takes. Raises MailFailed."""
    name, at, domain = address.rpartition("@")
    return f"{name}{at}{_dns_name(domain)}"


def _dns_name(name: str) -> str:
    """By IDNA 2008, as registries do; Python's own codec would make another domain of some. Raises MailFailed."""
    try:
        return httpx.URL(scheme="https", host=name).raw_host.decode()
    except httpx.InvalidURL:
        raise MailFailed("the domain of an address is none", code="mail_address") from None


def _reason(error: Exception) -> str:
    """The server's reply, without the addresses in it; the error's type where there was none."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused) and error.recipients:
        error = error.recipients[0]
    if isinstance(error, aiosmtplib.SMTPResponseException):
        reply = f"{error.code} {error.message}"
    elif isinstance(error, aiosmtplib.SMTPException):
        reply = str(error) or type(error).__name__
    else:
        return type(error).__name__
    return re.sub(r"\S+@\S+", "…", " ".join(reply.split()))[:REASON_LETTERS]
