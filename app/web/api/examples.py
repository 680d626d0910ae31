"""One invented example of every answer of the admin API, by the name of its schema; nobody in it exists."""

from typing import Any

AT = "2026-11-21T23:03:00Z"
REQUEST = "7b0f3b0e-8a53-4c53-9d0e-3f1b9c1d2e4f"
EXAM = "0d1c9c1e-33a0-4f1f-8f0a-2a9f7f1f6a10"
ORGANIZATION = {"id": "5a3c1f60-6f1b-4a57-9c55-0d3b1d0f7e21", "name": "Harbour Clinic"}
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def page(item: dict[str, Any]) -> dict[str, Any]:
    """A last page with one item."""
    return {"items": [item], "next_cursor": None}


EXAM_ITEM: dict[str, Any] = {
    "request_uuid": REQUEST,
    "exam_uuid": EXAM,
    "organization": ORGANIZATION,
    "state": "delivered",
    "step": "confirm",
    "reason": None,
    "source": "webhook",
    "attempts": 0,
    "due_at": None,
    "submitted_at": AT,
    "received_at": AT,
    "delivered_at": AT,
    "captures": [
        {
            "index": 0,
            "kind": "jpeg",
            "bytes": 48213,
            "sha256": SHA256,
            "sop_instance_uid": "2.25.17358",
            "already_delivered": False,
            "there": True,
            "problem": None,
        }
    ],
    "images": {"wanted": 1, "accepted": 1, "seen": 1, "missing": 0, "why": None},
    "sent": 1,
    "seen": 1,
    "report": None,
    "filing": {
        "organization": ORGANIZATION,
        "policy_version": 3,
        "link": "0e8c0f0a-5f0b-4e0d-8e43-1f8f5b2b7c11",
        "customer_hint": "apMY",
        "kind": "patient",
        "mode": "identified",
        "decided_by": "rules",
        "decision": None,
    },
    "claims": [],
    "ways": [],
    "mend": None,
    "aurabox": {
        "kind": "patient",
        "patient_id": "b3f0",
        "study_id": "c4a1",
        "study_instance_uid": "2.25.17357",
    },
    "error": None,
    "timeline": [{"at": AT, "step": "verify", "event": "received", "detail": "webhook"}],
}
LINK = {
    "id": "0e8c0f0a-5f0b-4e0d-8e43-1f8f5b2b7c11",
    "organization": ORGANIZATION,
    "user": "ana.novak@example.org",
    "customer_hint": "apMY",
    "state": "confirmed",
    "created_at": AT,
    "confirmed_at": AT,
    "error": None,
    "exams_under_way": 2,
}
ORGANIZATION_ITEM: dict[str, Any] = {
    **ORGANIZATION,
    "aurabox_url": None,
    "identity": "identified",
    "incomplete": "case",
    "animals": "case",
    "match_existing": "exact",
    "keep_birth_date": False,
    "source": "captures",
    "images": "uploader",
    "video": "cine",
    "burned_in": "unknown",
    "masks": [],
    "dicomweb_url": None,
    "dicomweb_user": None,
    "report": False,
    "timezone": "Australia/Melbourne",
    "corrections": "review",
    "policy_version": 3,
    "concurrency": 8,
    "has_aurabox_key": True,
    "has_service_key": False,
    "has_dicomweb_token": False,
    "created_at": AT,
}
USER = {
    "id": "1f2d3c4b-5a69-4788-9796-a5b4c3d2e1f0",
    "email": "ana.novak@example.org",
    "organization": ORGANIZATION,
    "role": "clinician",
    "invited": True,
    "disabled": False,
    "created_at": AT,
}
TOKEN = {
    "id": "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809",
    "name": "nightly report",
    "scope": "read",
    "hint": "x7Qa",
    "created_by": "cli:ops",
    "created_at": AT,
    "last_used_at": None,
}
URLS = {
    "notification_url": "https://bridge.example.org/webhooks/clarius",
    "token_transfer_url": "https://bridge.example.org/connect/clarius/{token}",
}
KEY = {"prefix": "a1b2c3d4", "name": "Sonobridge 2026-11-21", "created_at": AT, "in_use": True}
APPLICATION = {"uuid": "9f9531da-84a7-4149-8d59-c4c86c0afaa3", "name": "Abdomen"}
CUSTOMISED = {**APPLICATION, "annotations": [{"title": "Side", "labels": ["left", "right"], "linked": False}]}

EXAMPLES: dict[str, dict[str, Any]] = {
    "ExamItem": EXAM_ITEM,
    "ExamPage": page(EXAM_ITEM),
    "RetryCount": {"matched": 12, "retried": 12},
    "ReportReceipt": {"request_uuid": REQUEST, "name": "Findings", "bytes": 48213},
    "LinkItem": LINK,
    "LinkPage": page(LINK),
    "OrganizationItem": ORGANIZATION_ITEM,
    "OrganizationPage": page(ORGANIZATION_ITEM),
    "CheckResult": {
        "ok": True,
        "checks": [
            {"name": "aurabox of Harbour Clinic", "ok": True, "detail": "the key is accepted", "remedy": None}
        ],
    },
    "UserItem": USER,
    "NewUser": {
        **USER,
        "invitation_url": "https://bridge.example.org/invite/example",
        "invitation_mailed": False,
    },
    "UserPage": page(USER),
    "TokenItem": TOKEN,
    "NewToken": {
        "id": TOKEN["id"],
        "name": "nightly report",
        "scope": "read",
        "token": "sbt_shown-once",
    },
    "TokenPage": page(TOKEN),
    "EventPage": page(
        {
            "id": 4711,
            "at": AT,
            "actor": "user:admin@example.org",
            "action": "exam.retry",
            "subject": REQUEST,
            "result": "done",
            "detail": "was failed",
            "address": "192.0.2.7",
        }
    ),
    "OverviewBody": {
        "states": {"queued": 0, "running": 1, "waiting": 3, "delivered": 1204, "failed": 1},
        "waiting": {"link": 3, "retry": 0},
        "oldest_due_seconds": 1.5,
        "workers": [{"id": "host:4711:ab12cd34", "host": "host", "heartbeat_at": AT}],
        "last_webhook_at": AT,
        "last_reconcile_at": AT,
        "gaps": 3,
        "paused": [],
        "breakers": [],
        "throttled": [],
        "alerts": [
            {
                "condition": "exams_stuck",
                "message": "exams have failed or need a person's decision",
                "since": AT,
            }
        ],
    },
    "ReconcileResult": {"looked_at": 100, "new": 2},
    "GapPage": page(
        {
            "request_uuid": REQUEST,
            "exam_uuid": EXAM,
            "organization": ORGANIZATION,
            "submitted_at": AT,
            "reason": "waiting for a link of its Clarius account",
        }
    ),
    "ClariusSettingsBody": URLS,
    "RegisterResult": {**URLS, "matches": True},
    "RecordPage": page(
        {
            "logged_at": AT,
            "sent_at": AT,
            "request_uuid": REQUEST,
            "status": 202,
            "error": None,
            "known": True,
            "state": "delivered",
        }
    ),
    "ConfirmedTokenPage": page(
        {
            "customer_hint": "apMY",
            "link_id": LINK["id"],
            "organization": ORGANIZATION,
            "at_clarius": True,
            "difference": None,
        }
    ),
    "ApiKeyItem": KEY,
    "ApiKeyPage": page(KEY),
    "NewApiKeyItem": {
        "prefix": "a1b2c3d4",
        "name": "bridge 2026",
        "created_at": AT,
        "key": "a1b2c3d4.shown-once",
    },
    "ApplicationPage": page(APPLICATION),
    "CustomisedItem": CUSTOMISED,
    "CustomisedPage": page(CUSTOMISED),
}
