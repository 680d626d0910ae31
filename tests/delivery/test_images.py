"""Captures become images in Aurabox: each transport end to end against the sandbox, from webhook to delivered."""

import pytest
from pydantic import SecretStr

from app.settings import Settings
from app.states import ExamState
from sandbox.server import Sandbox
from tests.support.bridge import open_bridge, settings_for


def image_settings(settings: Settings, sandbox: Sandbox) -> Settings:
    given = sandbox.settings_for_bridge
    return settings_for(
        settings,
        sandbox,
        aura_app_id=given["AURA_APP_ID"],
        aura_app_secret=SecretStr(given["AURA_APP_SECRET"]),
        clarius_research_username=given["CLARIUS_RESEARCH_USERNAME"],
        clarius_research_password=SecretStr(given["CLARIUS_RESEARCH_PASSWORD"]),
        capture_retention_hours=0,
    )


TRANSPORTS = ["uploader", "dicomweb"]


def transport_options(sandbox: Sandbox, transport: str) -> dict[str, object]:
    if transport == "uploader":
        return {"images": "uploader"}
    return {"images": "dicomweb", "dicomweb_url": sandbox.dicomweb_url, "dicomweb_token": sandbox.team().key}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_images_arrive_and_are_confirmed(settings: Settings, transport: str) -> None:
    async with Sandbox() as sandbox, open_bridge(image_settings(settings, sandbox), sandbox) as bridge:
        clinic = await bridge.organization(**transport_options(sandbox, transport), report=True)
        customer = await bridge.customer(clinic)
        submitted = await sandbox.submit_exam(customer=customer, captures=("jpeg", "png", "mp4"))
        exam = await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
        assert exam.sent_count == 3
        assert len(sandbox.team().instances) == 3
        assert bridge.resources.staging.held() == []
