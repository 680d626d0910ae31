"""The one object that every simulated endpoint reaches its state through; holds no logic of its own."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from starlette.requests import Request

from sandbox.aurabox.state import AuraboxState
from sandbox.clarius.state import ClariusState
from sandbox.faults import Faults
from sandbox.journal import Journal


@dataclass(eq=False, repr=False)
class World:
    """State, journal, faults, and where the servers listen (filled in once they do)."""

    folder: Path
    journal: Journal = field(default_factory=Journal)
    faults: Faults = field(default_factory=Faults)
    clarius: ClariusState = field(default_factory=ClariusState)
    aurabox: AuraboxState = field(default_factory=AuraboxState)
    clarius_url: str = ""
    media_url: str = ""
    aurabox_url: str = ""
    lift_url: str = ""

    def secrets(self) -> dict[str, str]:
        """Every credential that is valid somewhere → the server that it belongs to (`aurabox:<team>`)."""
        known = {k.key: "clarius" for k in self.clarius.keys.values()}
        known |= dict.fromkeys([*self.clarius.revoked_keys, *self.clarius.research_tokens], "clarius")
        for team in self.aurabox.teams.values():
            known |= {team.key: f"aurabox:{team.name}", team.service_key: f"aurabox:{team.name}"}
        known |= {token: f"aurabox:{bearer.team}" for token, bearer in self.aurabox.bearers.items()}
        return known | dict.fromkeys(self.aurabox.lift_tokens, "lift")


def world_of(request: Request) -> World:
    """The world that the application of this request was made with."""
    return cast("World", request.app.state.world)
