"""Our two URLs at Clarius: what they should be, what is registered, and registering them (C6, C7)."""

from dataclasses import dataclass

from app.accounts import AccountKind
from app.clients.clarius import ServiceSettings
from app.config.settings import Settings
from app.resources import Resources
from app.store.audit import By, audit
from app.upstreams.gate import asking


@dataclass(frozen=True)
class Urls:
    """Where Clarius sends notifications, and browsers with a token (`{token}` stands for it)."""

    notification_url: str
    token_transfer_url: str

    def shown(self) -> dict[str, str]:
        """For people and logs: the secret part of the webhook's path is left out."""
        return {
            "notification_url": hide_secret(self.notification_url),
            "token_transfer_url": self.token_transfer_url,
        }


def our_urls(settings: Settings) -> Urls:
    """What should be registered for this installation."""
    secret = settings.webhook_secret
    path = f"/{secret.get_secret_value()}" if secret is not None else ""
    return Urls(
        notification_url=f"{settings.public_url}/webhooks/clarius{path}",
        token_transfer_url=f"{settings.public_url}/connect/clarius/{{token}}",
    )


def hide_secret(notification_url: str) -> str:
    """The URL with what comes after `/webhooks/clarius/` left out: whoever knows it can post notifications."""
    base, path, _ = notification_url.partition("/webhooks/clarius/")
    return f"{base}{path}…" if path else notification_url


async def registered_urls(resources: Resources) -> Urls:
    """What is registered now (C6). Raises from the error tree."""
    async with asking(resources, AccountKind.CLARIUS):
        return _urls(await (await resources.clarius()).settings())


async def register(
    resources: Resources,
    *,
    notification_url: str | None = None,
    token_transfer_url: str | None = None,
    by: By,
) -> Urls:
    """Register URLs (C7): None leaves one as it is, "" clears it; what is registered afterwards."""
    async with asking(resources, AccountKind.CLARIUS):
        clarius = await resources.clarius()
        after = _urls(
            await clarius.update_settings(
                notification_url=notification_url, token_transfer_url=token_transfer_url
            )
        )
    async with resources.sessions.begin() as session:
        shown = after.shown()
        await audit(
            session,
            by=by,
            action="clarius.settings",
            detail=", ".join(f"{name} {value or 'none'}" for name, value in shown.items()),
        )
    return after


async def register_ours(resources: Resources, *, by: By) -> Urls:
    """Register the two URLs of this installation."""
    ours = our_urls(resources.settings)
    return await register(
        resources,
        notification_url=ours.notification_url,
        token_transfer_url=ours.token_transfer_url,
        by=by,
    )


def _urls(settings: ServiceSettings) -> Urls:
    return Urls(settings.notification_url, settings.token_transfer_url)
