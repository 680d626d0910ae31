"""`/_sandbox/…` on the Clarius server: the methods of `Handle` over HTTP, for use from another process.

Unauthenticated, because it listens on loopback only; its calls are not journalled.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.aurabox.bounce import DOCUMENTED_LIMITS_PER_MINUTE
from sandbox.aurabox.state import Team
from sandbox.exam_shapes import SHAPES
from sandbox.handle import Handle
from sandbox.media import KINDS

Body = dict[str, Any]
PREFIX = "/_sandbox"


class Control:
    """One method for each control call; 400 with `error` when the arguments make no sense."""

    def __init__(self, sandbox: Handle) -> None:
        self._sandbox = sandbox

    async def state(self, _body: Body) -> Any:
        """Where everything listens, with which keys, and what is armed."""
        sandbox = self._sandbox
        return {
            "clarius_url": sandbox.clarius_url,
            "media_url": sandbox.media_url,
            "aurabox_url": sandbox.aurabox_url,
            "lift_url": sandbox.lift_url,
            "dicomweb_url": sandbox.dicomweb_url,
            "allowed_upstreams": sandbox.allowed_upstreams,
            "environment": sandbox.settings_for_bridge,
            "customers": sandbox.clarius.customers,
            "settings": sandbox.clarius.settings,
            "teams": [_team(t) for t in sandbox.aurabox.teams.values()],
            "exams": len(sandbox.clarius.exams),
            "faults": [r.as_json() for r in sandbox.faults.rules],
            "shapes": {s.name: s.about for s in SHAPES.values()},
            "capture_kinds": sorted(KINDS),
        }

    async def journal(self, body: Body) -> Any:
        """Effects and requests, from the given sequence numbers on."""
        numbers = {k: int(v) for k, v in body.items() if k in ("effects_after", "requests_after")}
        return self._sandbox.journal.as_json(**numbers)

    async def checks(self, _body: Body) -> Any:
        """What must be empty whatever happened: I3, no byte twice, I5."""
        journal = self._sandbox.journal
        return {
            "doubled_creates": journal.doubled_creates(),
            "bytes_sent_twice": journal.bytes_sent_twice(),
            "misplaced_secrets": [r.path for r in journal.misplaced_secrets()],
        }

    async def submit(self, body: Body) -> Any:
        """Submits an exam; the arguments of `Submitting.submit_exam`."""
        return (await self._sandbox.submit_exam(**body)).as_json()

    async def notify(self, body: Body) -> Any:
        """Posts an exam's notification again."""
        return {"answers": await self._sandbox.notify(**body)}

    async def notify_raw(self, body: Body) -> Any:
        """Posts a forged body (`body`, or `base64`)."""
        raw = dict(body)
        if "base64" in raw:
            raw["body"] = base64.b64decode(raw.pop("base64"))
        return {"answers": await self._sandbox.notify_raw(raw.pop("body"), **raw)}

    async def customer(self, body: Body) -> Any:
        """Makes a customer known."""
        token = self._sandbox.add_customer(**body)
        return {"token": token, "connect_url": self._sandbox.connect_url(token)}

    async def team(self, body: Body) -> Any:
        """Makes a realm."""
        return _team(self._sandbox.add_team(**body))

    async def arm(self, body: Body) -> Any:
        """Arms a fault."""
        return self._sandbox.faults.arm_json(body).as_json()

    async def faults(self, _body: Body) -> Any:
        """The armed rules and how often any rule has acted."""
        return {
            "rules": [r.as_json() for r in self._sandbox.faults.rules],
            "hits": self._sandbox.faults.hits(),
        }

    async def release(self, body: Body) -> Any:
        """Lets go of what a rule holds or hides."""
        rule = self._sandbox.faults.get(int(body["id"]))
        rule.release()
        return rule.as_json()

    async def clear(self, _body: Body) -> Any:
        """Disarms everything."""
        self._sandbox.faults.clear()
        return {"rules": []}

    async def delete_exam(self, body: Body) -> Any:
        """Deletes an exam at Clarius."""
        self._sandbox.delete_exam(str(body["request_uuid"]))
        return {}

    async def list_exam(self, body: Body) -> Any:
        """Lets C1 list an exam that was kept back."""
        self._sandbox.list_exam(str(body["request_uuid"]))
        return {}

    async def change_capture(self, body: Body) -> Any:
        """Changes what a capture's links serve."""
        capture = await self._sandbox.change_capture(str(body["capture_id"]), seed=int(body["seed"]))
        return {"sha256": capture.sha256, "etag": capture.etag}

    async def expire_links(self, body: Body) -> Any:
        """Expires presigned links, of one capture or all."""
        return {"expired": self._sandbox.clarius.expire_links(body.get("capture_id"))}

    async def expire_tokens(self, _body: Body) -> Any:
        """Expires every uploader and lift token."""
        self._sandbox.aurabox.expire_tokens()
        return {}

    async def drop_uploads(self, body: Body) -> Any:
        """Forgets unfinished Tus uploads."""
        return {"dropped": self._sandbox.lift.drop(gone=bool(body.get("gone")))}

    async def archive(self, body: Body) -> Any:
        """Archives the patient or case below which an exam's study lies."""
        person = next(
            p
            for team in self._sandbox.aurabox.teams.values()
            for p in team.people.values()
            if any(str(body["exam_uuid"]) in s.fields.values() for s in p.studies.values())
        )
        person.archived = True
        return person.as_json()

    async def reorder(self, body: Body) -> Any:
        """Lists an exam's captures the other way round, and expires the links given out so far."""
        captures = self._sandbox.clarius.exams[str(body["request_uuid"])].capture_ids
        captures.reverse()
        return {"expired": sum(self._sandbox.clarius.expire_links(one) for one in captures)}

    async def settings(self, body: Body) -> Any:
        """Sets Clarius's settings without its API."""
        self._sandbox.clarius.settings |= {k: str(v) for k, v in body.items()}
        return self._sandbox.clarius.settings

    async def limits(self, body: Body) -> Any:
        """Arms the uploader API's limits per minute."""
        limits = DOCUMENTED_LIMITS_PER_MINUTE if body.get("documented") else body
        self._sandbox.aurabox.limits_per_minute = {k: int(v) for k, v in limits.items()}
        return self._sandbox.aurabox.limits_per_minute

    async def people(self, body: Body) -> Any:
        """A team's patients and cases with their studies and instance counts."""
        team = self._sandbox.team(body.get("team"))
        return [
            {
                "kind": p.kind,
                **p.as_json(),
                "studies": [
                    {
                        **s.as_json(),
                        "instances": len(team.instances_of(str(s.fields.get("study_instance_uid")))),
                    }
                    for s in p.studies.values()
                ],
            }
            for p in team.people.values()
        ]


def _team(team: Team) -> Body:
    return {
        "name": team.name,
        "key": team.key,
        "service_key": team.service_key,
        "people": len(team.people),
        "instances": len(team.instances),
    }


def _endpoint(call: Callable[[Body], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        content = await request.body()
        try:
            body = {
                **dict(request.query_params),
                **request.path_params,
                **(json.loads(content) if content else {}),
            }
            return JSONResponse(await call(body))
        except (KeyError, TypeError, ValueError) as problem:
            return JSONResponse({"error": f"{type(problem).__name__}: {problem}"}, 400)

    return endpoint


def routes(sandbox: Handle) -> list[BaseRoute]:
    """The control API of one sandbox."""
    control = Control(sandbox)
    calls: list[tuple[str, str, Callable[[Body], Awaitable[Any]]]] = [
        ("GET", "/state", control.state),
        ("GET", "/journal", control.journal),
        ("GET", "/checks", control.checks),
        ("GET", "/people", control.people),
        ("POST", "/people/of/{exam_uuid}/archive", control.archive),
        ("POST", "/exams/{request_uuid}/reorder", control.reorder),
        ("POST", "/exams", control.submit),
        ("POST", "/exams/{request_uuid}/notify", control.notify),
        ("POST", "/exams/{request_uuid}/list", control.list_exam),
        ("DELETE", "/exams/{request_uuid}", control.delete_exam),
        ("POST", "/notify", control.notify_raw),
        ("POST", "/customers", control.customer),
        ("POST", "/teams", control.team),
        ("GET", "/faults", control.faults),
        ("POST", "/faults", control.arm),
        ("DELETE", "/faults", control.clear),
        ("POST", "/faults/{id}/release", control.release),
        ("POST", "/captures/{capture_id}/change", control.change_capture),
        ("POST", "/captures/expire", control.expire_links),
        ("POST", "/tokens/expire", control.expire_tokens),
        ("POST", "/uploads/drop", control.drop_uploads),
        ("PATCH", "/settings", control.settings),
        ("PUT", "/limits", control.limits),
    ]
    return [Route(f"{PREFIX}{path}", _endpoint(call), methods=[method]) for method, path, call in calls]
