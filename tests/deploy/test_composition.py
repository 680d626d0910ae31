"""What the composition sets is understood, and says the same in its several places."""

import ipaddress
import re
from pathlib import Path

import yaml

from app.config.settings import load_settings

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"
# the innermost first: a default may hold another variable
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^${}]*)|:\?[^${}]*)?\}")


def interpolated(text: str, **given: str) -> str:
    """As docker compose reads it."""
    while VARIABLE.search(text):
        text = VARIABLE.sub(lambda found: given.get(found[1]) or found[2] or "", text)
    return text


def test_the_composition_trusts_its_own_network_and_nobody_else() -> None:
    for given in ({}, {"SONOBRIDGE_SUBNET": "10.77.0.0/24"}):
        composition = yaml.safe_load(interpolated(COMPOSE.read_text(), **given))
        (network,) = composition["networks"]["default"]["ipam"]["config"]
        environment = composition["services"]["api"]["environment"]
        settings = load_settings({"SONOBRIDGE_TRUSTED_PROXIES": environment["SONOBRIDGE_TRUSTED_PROXIES"]})
        assert settings.trusted_proxies == {network["subnet"], "127.0.0.1/32"}
        assert ipaddress.ip_network(network["subnet"]).is_private
