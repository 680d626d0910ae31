"""Whose things one may see and touch, and that a token is nowhere it should not be (docs/faults.md, row 28)."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
from fastapi import Depends
from fastapi.routing import APIRoute
from sqlalchemy import select

from app.linking.links import start_link
from app.main import create_app
from app.people.sessions import Person
from app.resources import Resources
from app.states import LinkState
from app.store.audit import By
from app.store.browser_sessions import BrowserSession
from app.store.exams import Exam
from app.store.links import Link
from app.store.users import Role
from app.web import account, connect, login, oidc, one_time, static_files
from app.web.browser import require_role
from tests.support.pages import Browsing
from tests.support.ports import free_port
from tests.support.serving import serving_app
from tests.support.wait import until
from tests.web.conftest import PASSWORD, TOKEN, Site, Staffed

ROUTERS = (account, connect, login, oidc, one_time, static_files)
NOBODYS = {"link_id", "session_id"}
"""Path parameters that name somebody's row."""
SECRETS_OR_NAMES = {"token", "name"}
"""Path parameters that are secrets themselves, or name a file of ours."""


def routes() -> list[APIRoute]:
    return [route for module in ROUTERS for route in module.router.routes if isinstance(route, APIRoute)]


async def their_rows(site: Site, theirs: Staffed) -> dict[str, UUID]:
    """A link and a session of another organisation."""
    link = await start_link(
        site.resources,
        token=TOKEN,
        organization_id=theirs.organization.id,
        user_id=theirs.clinician.id,
        by=By("test"),
    )
    await site.signed_in(theirs.clinician)
    async with site.resources.sessions() as session:
        row = (await session.scalars(select(BrowserSession))).one()
    return {"link_id": link.id, "session_id": row.id}


def test_every_parameter_of_a_path_is_known_to_these_tests() -> None:
    for route in routes():
        names = set(re.findall(r"{(\w+)", route.path))
        assert names <= NOBODYS | SECRETS_OR_NAMES, f"{route.path}: is a row of somebody's in it?"


async def test_a_foreign_id_is_not_found_on_any_route(site: Site) -> None:
    ours, theirs = await site.clinic(), await site.clinic("Other Clinic")
    rows = await their_rows(site, theirs)
    browser, landed = await site.signed_in(ours.admin)
    token = landed.form("/logout").fields["csrf_token"]
    walked = []
    for route in routes():
        if not set(re.findall(r"{(\w+)", route.path)) & NOBODYS:
            continue
        for ids in (rows, {name: uuid4() for name in rows}):
            path = route.path.format(**ids)
            for method in route.methods or ():
                answer = await browser.client.request(method, path, data={"csrf_token": token})
                assert answer.status_code == 404, f"{method} {route.path}"
                walked.append((method, route.path))
    assert ("POST", "/account/links/{link_id}/unlink") in walked
    assert ("POST", "/account/sessions/{session_id}/end") in walked
    async with site.resources.sessions() as session:
        assert (await session.get_one(Link, rows["link_id"])).state == LinkState.PENDING
        assert (await session.get_one(BrowserSession, rows["session_id"])).ended_at is None


async def test_one_ends_a_link_of_ones_own_organisation_and_only_by_post(site: Site) -> None:
    clinic = await site.clinic()
    rows = await their_rows(site, clinic)
    browser, _ = await site.signed_in(clinic.admin)
    path = f"/account/links/{rows['link_id']}/unlink"
    page = await browser.get(path)
    async with site.resources.sessions() as session:
        assert (await session.get_one(Link, rows["link_id"])).state == LinkState.PENDING
    assert "has ended" in (await browser.send(page, path)).text
    async with site.resources.sessions() as session:
        assert (await session.get_one(Link, rows["link_id"])).state == LinkState.DISCONNECTED
    assert (await browser.get(path)).status == 404


async def test_the_account_page_shows_the_own_organisation_and_no_patient(site: Site) -> None:
    ours, theirs = await site.clinic(), await site.clinic("Other Clinic")
    await their_rows(site, theirs)
    mine, foreign = uuid4(), uuid4()
    async with site.resources.sessions.begin() as session:
        for exam_uuid, clinic in ((mine, ours), (foreign, theirs)):
            session.add(
                Exam(
                    request_uuid=uuid4(),
                    exam_uuid=exam_uuid,
                    source="webhook",
                    state="failed",
                    step="match",
                    organization_id=clinic.organization.id,
                    error_code="aurabox_rejected",
                    error_message="Canary Patientname is not valid",
                )
            )
    page = (await site.signed_in(ours.clinician))[1]
    assert str(mine)[:8] in page.text
    assert str(foreign)[:8] not in page.text
    assert TOKEN[-4:] not in page.text
    assert "Other Clinic" not in page.text
    assert "Canary" not in page.text
    assert "aurabox_rejected" not in page.text
    assert "Not delivered" in page.text


async def test_nobody_is_sent_to_the_sign_in_page(site: Site) -> None:
    for path in ("/account", "/connect/status", f"/account/links/{uuid4()}/unlink"):
        answer = await site.browser().client.get(path, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login"), path


async def test_a_page_for_admins_is_401_for_nobody_and_403_for_a_clinician(
    site: Site, resources: Resources
) -> None:
    clinic = await site.clinic()
    app = create_app(resources=resources)

    @app.get("/admin/for-this-test")
    async def page(person: Annotated[Person, Depends(require_role(Role.ADMIN))]) -> dict[str, Any]:
        return {"hello": person.user.email}

    async with serving_app(app) as url, Browsing(url) as browser:
        nobody = await browser.get("/admin/for-this-test")
        assert nobody.status == 401
        assert nobody.form("/login").fields["next"] == "/admin/for-this-test"
        await browser.sign_in(clinic.clinician.email, PASSWORD)
        assert (await browser.get("/admin/for-this-test")).status == 403
        await browser.send(await browser.get("/account"), "/logout")
        await browser.sign_in(clinic.admin.email, PASSWORD)
        assert (await browser.get("/admin/for-this-test")).status == 200


async def test_get_changes_nothing(site: Site) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    await browser.get(f"/connect/clarius/{TOKEN}")
    for path in ("/connect", "/connect/status", "/account", "/login", "/logout"):
        await browser.get(path)
    async with site.resources.sessions() as session:
        assert (await session.scalars(select(Link))).all() == []
        assert (await session.scalars(select(BrowserSession))).one().ended_at is None


@asynccontextmanager
async def any_server(resources: Resources, output: Path) -> AsyncIterator[str]:
    """`uvicorn app.main:app` as a person would run it, with its own logging as talkative as it gets."""
    port = free_port()
    settings = resources.settings
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("SONOBRIDGE_", "CLARIUS_"))
    } | {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "SONOBRIDGE_DATA_DIR": str(settings.data_dir),
        "SONOBRIDGE_SECRET_KEYS": ",".join(key.get_secret_value() for key in settings.secret_keys),
    }
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port), "--log-level", "trace"]
    with output.open("wb") as file:
        server = await asyncio.create_subprocess_exec(*command, env=environment, stdout=file, stderr=file)
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

                async def alive() -> bool:
                    try:
                        return (await client.get("/healthz")).status_code == 200
                    except httpx.TransportError:
                        return False

                await until(alive, timeout=60)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            await server.wait()


async def test_the_token_is_in_no_log_line_no_page_and_no_header_after_the_door(
    site: Site, tmp_path: Path
) -> None:
    clinic = await site.clinic()
    output = tmp_path / "server.log"
    async with any_server(site.resources, output) as url, Browsing(url) as browser:
        seen: list[httpx.Response] = []

        async def keep(response: httpx.Response) -> None:
            await response.aread()
            seen.append(response)

        browser.client.event_hooks["response"].append(keep)
        for door in (f"{TOKEN}/x", TOKEN, f"?token={TOKEN}"):
            await browser.get(f"/connect/clarius{'' if '?' in door else '/'}{door}")
        login = await browser.get("/connect")
        confirm = await browser.send(login, "/login", email=clinic.clinician.email, password=PASSWORD)
        status = await browser.send(confirm, "/connect")
        assert status.states == ["pending"]
        await browser.get("/account")
    for response in seen:
        assert TOKEN not in str(response.headers), response.url.path
        assert TOKEN not in response.text, response.url.path
    logged = output.read_text()
    assert logged.count("/connect/clarius") >= 3
    assert TOKEN not in logged
    assert PASSWORD not in logged
    assert browser.cookie is not None
    assert browser.cookie not in logged


async def test_an_odd_body_ends_in_a_page(site: Site) -> None:
    bodies: dict[bytes, int] = {
        b"csrf_token=" + b"x" * 70_000: 413,
        b"&".join(b"a%d=1" % number for number in range(60)): 400,
        b"email=%ff%fe": 400,
        b"\xff\xfe": 400,
    }
    browser = site.browser()
    await browser.get("/login")
    headers = {"content-type": "application/x-www-form-urlencoded", "origin": site.url}
    for body, status in bodies.items():
        answer = await browser.client.post("/login", content=body, headers=headers)
        assert answer.status_code == status, body[:40]
        assert "<h1>" in answer.text
    answer = await browser.client.post("/login", json={}, headers={"origin": site.url})
    assert answer.status_code == 415


async def test_programs_get_problem_json_and_people_get_a_page(site: Site) -> None:
    async with httpx.AsyncClient(base_url=site.url) as program:
        answer = await program.get("/no/such/page", headers={"accept": "application/json"})
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "not_found"
    page = await site.browser().get("/no/such/page")
    assert (page.status, page.title.strip()) == (404, "There is no such page · Sonobridge")
    assert (await site.browser().get("/static/../../etc/passwd")).status == 404
    assert (await site.browser().get("/static/base.html")).status == 404
