"""The admin API as one router: `app.main` includes it."""

from fastapi import APIRouter, Depends

from app.web.api import clarius, exams, links, organizations, state, tokens, users
from app.web.api.documents import document_route
from app.web.api.routing import bearer

api = APIRouter(prefix="/api/admin/v1", dependencies=[Depends(bearer)])
for part in (state, exams, links, organizations, users, tokens, clarius):
    api.include_router(part.router)

router = APIRouter()
router.include_router(api)
router.include_router(document_route(api))
