"""Sends the few e-mails there are, through the configured SMTP server; must not know who asked for them."""

import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

from app.errors import SonobridgeError
from app.settings import Settings

SMTP_SECONDS = 15.0
SMTP_PORT = 587
SMTPS_PORT = 465


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

    `smtp://[user:password@]host[:587]` uses STARTTLS where offered; `smtps://` speaks TLS from the start.
    `?from=address` names the sender, else `sonobridge@<host of the public URL>`.
    """
    if settings.smtp_url is None:
        raise MailFailed("no mail server is set up", code="mail_not_configured")
    url = urlsplit(settings.smtp_url.get_secret_value())
    sender = parse_qs(url.query).get("from", [f"sonobridge@{urlsplit(settings.public_url).hostname}"])[0]
    message = EmailMessage()
    message["From"] = sender
    message["To"] = mail.to
    message["Subject"] = mail.subject
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = make_msgid(domain=urlsplit(settings.public_url).hostname)
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
            start_tls=None,
            timeout=SMTP_SECONDS,
            tls_context=ssl.create_default_context() if encrypted else None,
        )
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        raise MailFailed(f"the mail server did not take the message ({type(error).__name__})") from None
