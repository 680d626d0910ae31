"""The handle by which the simulated vendors are steered: the world, with teams, customers and exams put into it.

Starts nothing. Every method that does not send anything is plain and may be called from any thread.
"""

from pathlib import Path
from urllib.parse import urlsplit

from sandbox.aurabox.state import Team
from sandbox.aurabox.tus import Lift
from sandbox.clarius.state import new_token
from sandbox.submitting import Submitting

SERVERS = ("clarius", "media", "aurabox", "lift")


class Handle(Submitting):
    """Simulated Clarius, its capture store, Aurabox and its upload receiver ("lift"), whoever serves them."""

    def __init__(self, folder: Path, *, notification_url: str, teams: tuple[str, ...]) -> None:
        super().__init__(folder)
        self.lift = Lift()
        self.clarius.settings["notification_url"] = notification_url
        self.clarius_key = self.clarius.new_key("Sandbox key").key
        self.clarius.research_users["researcher"] = "sandbox-password"
        for team in teams:
            self.aurabox.add_team(team)

    @property
    def dicomweb_url(self) -> str:
        """Base URL of Aurabox's DICOMweb face."""
        return f"{self.aurabox_url}/dicomweb"

    @property
    def allowed_upstreams(self) -> str:
        """What SONOBRIDGE_ALLOWED_UPSTREAMS must hold: `host:port` of each server, comma separated."""
        return ",".join(urlsplit(getattr(self, f"{name}_url")).netloc for name in SERVERS)

    @property
    def settings_for_bridge(self) -> dict[str, str]:
        """The environment that points a bridge at this sandbox (keys of organisations are the teams' own)."""
        return {
            "SONOBRIDGE_ENV": "development",
            "SONOBRIDGE_ALLOWED_UPSTREAMS": self.allowed_upstreams,
            "CLARIUS_BASE_URL": self.clarius_url,
            "CLARIUS_API_KEY": self.clarius_key,
            "AURABOX_BASE_URL": self.aurabox_url,
            "AURA_APP_ID": self.aurabox.app_id,
            "AURA_APP_SECRET": self.aurabox.app_secret,
            "CLARIUS_RESEARCH_USERNAME": "researcher",
            "CLARIUS_RESEARCH_PASSWORD": "sandbox-password",
        }

    def team(self, name: str | None = None) -> Team:
        """A team by name, or the first one; KeyError when there is none."""
        return self.aurabox.teams[name] if name is not None else next(iter(self.aurabox.teams.values()))

    def add_team(self, name: str, *, service_key: str | None = None) -> Team:
        """A new realm with its own API key."""
        return self.aurabox.add_team(name, service_key=service_key)

    def add_customer(self, token: str | None = None, *, confirmed: bool = False) -> str:
        """Makes a customer known to Clarius and answers the token: what a token transfer would carry."""
        token = token or new_token()
        self.clarius.customers[token] = confirmed
        return token

    def connect_url(self, token: str) -> str:
        """Where Clarius would send this customer's browser; "" when no token_transfer_url is registered."""
        return self.clarius.settings["token_transfer_url"].replace("{token}", token)
