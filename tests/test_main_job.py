"""The main job: a notification over HTTP becomes a patient or case and a study in Aurabox."""

from app.config.settings import Settings
from app.states import ExamState
from tests.support.bridge import open_bridge, settings_for
from tests.support.clarius import Sandbox


async def test_a_notification_becomes_a_patient_and_a_study(settings: Settings) -> None:
    async with Sandbox() as sandbox, open_bridge(settings_for(settings, sandbox), sandbox) as bridge:
        customer = await bridge.customer(await bridge.organization())
        submitted = await sandbox.submit_exam(customer=customer)
        assert submitted.answers == (202,)
        await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
        assert len(sandbox.journal.effects_of("aurabox.patient.create")) == 1
        assert len(sandbox.journal.effects_of("aurabox.study.create")) == 1
