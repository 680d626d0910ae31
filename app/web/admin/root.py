"""The admin pages as one router: `app.main` includes it."""

from fastapi import APIRouter

from app.web.admin import (
    aurabox,
    clarius,
    events,
    exam,
    exams,
    links,
    live,
    organizations,
    overview,
    studies,
    users,
)

router = APIRouter()
# `exams` before `exam`: /admin/exams/retry is no request UUID
for part in (overview, live, exams, exam, links, organizations, users, clarius, studies, aurabox, events):
    router.include_router(part.router)
