"""Each review has its ways out, and each was gone to its end; one decision after another keeps what was decided before."""

from app.delivery.actions import decide
from app.settings import Settings
from app.states import ExamState
from tests.support.clinic import open_clinic


async def test_a_second_decision_keeps_the_first(settings: Settings) -> None:
    """Two people of one number who say too little for a patient, where such are held: two questions, asked once each."""
    async with open_clinic(settings, incomplete="hold") as clinic:
        resources = clinic.bridge.resources
        first = await clinic.rests(
            one := await clinic.submit({"identifier": "P-1", "date_of_birth": "1980-01-02"})
        )
        await decide(resources, first.request_uuid, "as-case", actor="test")
        assert (await clinic.rests(one, besides=1)).state == ExamState.DELIVERED
        exam = await clinic.rests(
            other := await clinic.submit({"identifier": "P-1", "date_of_birth": "1991-03-04"})
        )
        assert exam.error_code == "identity_conflict"
        await decide(resources, exam.request_uuid, "separate", actor="test")
        exam = await clinic.rests(other, besides=1)
        assert exam.error_code == "patient_incomplete"
        await decide(resources, exam.request_uuid, "as-case", actor="test")
        exam = await clinic.rests(other, besides=2)
        assert (exam.state, exam.error_code) == (ExamState.DELIVERED, None)
        assert [len(person.studies) for person in clinic.people] == [1, 1]
