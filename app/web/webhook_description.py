"""The webhook as the OpenAPI document describes it: it stands before the routes, from which the others are described."""

from typing import Any

from app.inbox.receive import Notification, Verdict
from app.web.webhook import MAX_BODY_BYTES, PATH

REFERENCE = "#/components/schemas/{model}"
REFUSALS = {
    400: "`bad_request`: the connection ended within the body",
    404: "`not_found`: no such path; with WEBHOOK_SECRET set, only the one that ends in it",
    408: "`timeout`: the body took too long",
    413: f"`too_large`: at most {MAX_BODY_BYTES} bytes",
    415: "`unsupported_media_type`: send application/json",
    422: "`invalid`: not a notification; `errors` names the fields",
    429: "`too_many_requests`: more than WEBHOOK_RATE; `Retry-After` says when",
    503: "`unavailable`: it was not stored; `Retry-After` says when to send it again",
}


def described() -> tuple[dict[str, Any], dict[str, Any]]:
    """The path with its operation, and the schemas that it refers to, as OpenAPI 3.1 has them."""
    schemas = {
        "Notification": Notification.model_json_schema(ref_template=REFERENCE),
        "NotificationTaken": {
            "type": "object",
            "description": "The notification is committed: a worker will see to it, whatever becomes of this process.",
            "required": ["status", "request_uuid"],
            "properties": {
                "status": {"enum": [Verdict.ACCEPTED, Verdict.DUPLICATE]},
                "request_uuid": {"type": "string", "format": "uuid"},
            },
        },
        "NotificationProblem": {
            "type": "object",
            "description": "RFC 9457 problem details; `errors` are names of fields, without their values.",
            "required": ["type", "title", "status", "detail", "code"],
            "properties": {
                **{name: {"type": "string"} for name in ("type", "title", "detail", "code")},
                "status": {"type": "integer"},
                "errors": {"type": "array", "items": {"type": "string"}},
            },
        },
    }
    operation = {
        "summary": "Notify",
        "description": "What Clarius Cloud posts once for each exam that is submitted. Needs no token.",
        "operationId": "notify",
        "security": [],
        "requestBody": {"required": True, "content": _content("application/json", "Notification")},
        "responses": {
            "202": {
                "description": "It is stored",
                "content": _content("application/json", "NotificationTaken"),
            },
            **{
                str(status): {
                    "description": text,
                    "content": _content("application/problem+json", "NotificationProblem"),
                }
                for status, text in REFUSALS.items()
            },
        },
    }
    return {PATH: {"post": operation}}, schemas


def _content(kind: str, model: str) -> dict[str, Any]:
    return {kind: {"schema": {"$ref": REFERENCE.format(model=model)}}}
