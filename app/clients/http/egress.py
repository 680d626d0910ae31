"""Decides which outside places may be spoken to; must not open connections or know any vendor.

Source: security design, "Egress". `allowed` is the only way round the rules in production; development
permits plain http and loopback besides, never link-local or other private addresses.
"""

import ipaddress
from dataclasses import dataclass

import httpx

from app.errors import NotAllowed

HTTPS_PORT = 443
DEFAULT_PORTS = {"http": 80, "https": HTTPS_PORT}

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# `ipaddress.is_global` depends on the Python release and calls multicast global; these are refused whatever it says.
# Translated ranges (NAT64, 6to4, Teredo, IPv4-compatible) can carry a private IPv4 address inside a public one.
REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)


def is_public(address: str) -> bool:
    """Whether an IP address, in text, is a public unicast one and nothing that translates to another."""
    ip = _unmapped(address)
    return ip.is_global and not any(ip.version == net.version and ip in net for net in REFUSED_NETWORKS)


def is_loopback(address: str) -> bool:
    """Whether an IP address, in text, is this host itself (IPv4-mapped too)."""
    return _unmapped(address).is_loopback


def _unmapped(address: str) -> IpAddress:
    ip = ipaddress.ip_address(address)
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


def parse_url(text: str) -> httpx.URL:
    """The URL, or `NotAllowed` when it is none; the refusal does not repeat what was given."""
    try:
        url = httpx.URL(text)
        _ = url.host, url.port
    except (httpx.InvalidURL, ValueError, TypeError):
        raise NotAllowed("this is not a URL that can be followed", code="bad_url") from None
    return url


def port_of(url: httpx.URL) -> int:
    """The port that would be dialled; 0 for schemes other than http and https."""
    return url.port or DEFAULT_PORTS.get(url.scheme, 0)


def same_origin(url: httpx.URL, other: httpx.URL) -> bool:
    """Scheme, host and port are equal (default ports filled in)."""
    return (url.scheme, url.host.lower(), port_of(url)) == (other.scheme, other.host.lower(), port_of(other))


def place(url: httpx.URL) -> str:
    """`scheme://host:port`, the only part of a URL that may be shown to people."""
    return f"{url.scheme or '?'}://{url.host or '?'}:{port_of(url)}"


@dataclass(frozen=True, slots=True)
class Egress:
    """`allowed` holds `host` or `host:port` entries that may be private or plain http."""

    production: bool
    allowed: frozenset[str] = frozenset()

    def permits(self, host: str, port: int) -> bool:
        """Whether the operator named this place himself."""
        name = host.lower().strip("[]")
        spellings = {name, f"{name}:{port}", f"[{name}]", f"[{name}]:{port}"}
        return not spellings.isdisjoint(entry.strip().lower() for entry in self.allowed)

    def check_url(self, url: httpx.URL, *, configured: bool) -> None:
        """Raise `NotAllowed` for a URL that may not be followed. Nothing is resolved or dialled here.

        `configured`: the origin is one that the operator set as a base URL, which may use another port than 443.
        """
        if url.scheme not in DEFAULT_PORTS or not url.host:
            raise NotAllowed(f"only web addresses may be followed, not {place(url)}")
        if url.userinfo:
            raise NotAllowed(f"an address with user information may not be followed: {place(url)}")
        if self.permits(url.host, port_of(url)) or not self.production:
            return
        if url.scheme != "https":
            raise NotAllowed(f"plain http may not be followed: {place(url)}")
        if not configured and port_of(url) != HTTPS_PORT:
            raise NotAllowed(f"only port {HTTPS_PORT} may be followed: {place(url)}")

    def check_addresses(self, host: str, port: int, addresses: list[str]) -> None:
        """Raise `NotAllowed` unless every address that the name resolved to may be dialled."""
        if self.permits(host, port):
            return
        for address in addresses:
            if not is_public(address) and (self.production or not is_loopback(address)):
                raise NotAllowed(f"{host} is not at a public address")
