"""Assembles the web application: resources for its lifetime, the routers, how errors are answered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.types import Receive, Scope, Send

from app.config.settings import Settings, load_settings
from app.observing.logs import configure_logging
from app.opening import opened
from app.resources import Resources
from app.web import account, connect, health, login, oidc, one_time, static_files, webhook
from app.web.access import AccessLog
from app.web.admin import root as admin
from app.web.api import root as api
from app.web.pages import install_error_answers
from app.web.proxies import TrustedProxies

# Included once for every application of a process: what FastAPI prepares of a router at the first request takes 0.15 s.
ROUTES = APIRouter()
for router in (
    health.router,
    connect.router,
    login.router,
    oidc.router,
    one_time.router,
    account.router,
    static_files.router,
    api.router,
    admin.router,
):
    ROUTES.include_router(router)


class Application(FastAPI):
    """FastAPI, with the webhook before everything that is done to find and call a route."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._entry = AccessLog(webhook.Webhook(super().__call__, self.state))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the process's life."""
        await self._entry(scope, receive, send)


def create_app(settings: Settings | None = None, *, resources: Resources | None = None) -> FastAPI:
    """The ASGI application. Without settings the environment is read when it starts, not when it is made.

    A caller that has resources open already lends them; else they are opened and closed with the application.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if resources is not None:
            app.state.resources = resources
            yield
            return
        config = settings or load_settings()
        configure_logging(config.env, config.log_level)
        # a schema that is not right is said by /readyz: whoever migrates need not start us again
        async with opened(config, check=False) as app.state.resources:
            yield

    # the only published description is the admin API's, with the webhook; the pages have none to explore
    app = Application(title="Sonobridge", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedProxies)
    install_error_answers(app)
    app.router.routes.extend(ROUTES.routes)
    return app


app = create_app()
