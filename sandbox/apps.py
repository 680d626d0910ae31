"""Puts the simulated endpoints together into the four applications; no trailing slash is ever added for a caller."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from sandbox.aurabox import bounce, dicomweb, studies
from sandbox.aurabox.people import CASES, PATIENTS
from sandbox.aurabox.tus import Lift
from sandbox.clarius import captures, exams, research, services
from sandbox.serving import Connections
from sandbox.wire import Wire
from sandbox.world import World


async def _clarius_error(_request: Request, problem: Exception) -> Response:
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    return JSONResponse({"detail": "Not found." if status == 404 else f"Error {status}."}, status)


async def _aurabox_error(_request: Request, problem: Exception) -> Response:
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    return JSONResponse({"message": "Not found" if status == 404 else f"Error {status}"}, status)


def clarius_routes() -> list[BaseRoute]:
    """C1–C19 and captures on Clarius's own origin."""
    return [*exams.routes(), *services.routes(), *research.routes(), *captures.clarius_routes()]


def aurabox_routes() -> list[BaseRoute]:
    """A1–A15, the uploader API and DICOMweb."""
    return [*PATIENTS.routes(), *CASES.routes(), *studies.routes(), *bounce.routes(), *dicomweb.routes()]


def build(world: World, *, lift: Lift, control: list[BaseRoute]) -> dict[str, tuple[ASGIApp, Connections]]:
    """Each server's application with the connections that faults may break, by server name."""
    routes: dict[str, list[BaseRoute]] = {
        "clarius": [*control, *clarius_routes()],
        "media": [*captures.media_routes()],
        "aurabox": aurabox_routes(),
        "lift": [*lift.routes()],
    }
    return {name: _one(world, name, its_routes) for name, its_routes in routes.items()}


def _one(world: World, name: str, routes: list[BaseRoute]) -> tuple[ASGIApp, Connections]:
    on_error = _clarius_error if name in ("clarius", "media") else _aurabox_error
    app = Starlette(routes=routes, exception_handlers={HTTPException: on_error})
    app.router.redirect_slashes = False
    app.state.world = world
    connections = Connections()
    wire = Wire(
        app,
        server=name,
        journal=world.journal,
        faults=world.faults,
        connections=connections,
        secrets=world.secrets,
        expire_signature=world.clarius.expire_signature,
    )
    return wire, connections
