"""Slows down guessing, by account and by address; must not say whether an account exists."""

import ipaddress

from app.errors import SonobridgeError
from app.resources import Resources
from app.store.throttles import begin_attempt, forget_attempts, take_back_attempt

FREE_PER_ACCOUNT = 5
FREE_PER_ADDRESS = 30


class TooManyAttempts(SonobridgeError):
    """Wait `seconds` before the next attempt; the same for accounts that exist and that do not."""

    kind = "too_many_attempts"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many attempts; wait {seconds:.0f} s")
        self.seconds = seconds


async def admit(resources: Resources, *, purpose: str, email: str | None, address: str | None) -> None:
    """Count one attempt. Raises TooManyAttempts, and then neither account nor password may be looked at.

    Without an `email` (single sign-on, where we don't know it yet) only the address is counted.
    """
    account_key, address_key = await _keys(resources, purpose=purpose, email=email, address=address)
    async with resources.sessions() as session:
        wait = await begin_attempt(session, address_key, free=FREE_PER_ADDRESS)
        if not wait and email is not None:
            wait = await begin_attempt(session, account_key, free=FREE_PER_ACCOUNT)
        await session.commit()
    if wait:
        raise TooManyAttempts(wait)


async def forgive(resources: Resources, *, purpose: str, email: str | None, address: str | None) -> None:
    """The attempt succeeded: the account's count begins anew, the address gets this one back."""
    account_key, address_key = await _keys(resources, purpose=purpose, email=email, address=address)
    async with resources.sessions.begin() as session:
        await take_back_attempt(session, address_key, free=FREE_PER_ADDRESS)
        await forget_attempts(session, account_key)


async def _keys(
    resources: Resources, *, purpose: str, email: str | None, address: str | None
) -> tuple[bytes, bytes]:
    account = await resources.hash_text("throttle", f"{purpose}:account:{(email or '').strip().lower()}")
    place = await resources.hash_text("throttle", f"{purpose}:address:{network_of(address)}")
    return account, place


def network_of(address: str | None) -> str:
    """What counts as one address: an IPv4 address, or the /64 that an IPv6 customer gets."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
