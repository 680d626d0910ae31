"""Clarius's own DICOM export as the source of an exam's images (Research Bundle: C17, C19)."""

from app.accounts import AccountKind
from app.clients.clarius import ClariusResearchClient, DicomOptions, login
from app.delivery.work import Work
from app.errors import Misuse
from app.store.exams import Exam
from app.store.organizations import PolicyFields


async def bundle_url(work: Work, exam: Exam, policy: PolicyFields) -> str:
    """The presigned address of the exam as a zip of DICOM; it lives 7 days.

    Raises StillProcessing (a TryLater) while Clarius works on it, Misuse without the Research API's credentials.
    Burned-in text is Clarius's default: none.
    """
    settings = work.resources.settings
    if settings.clarius_research_username is None or settings.clarius_research_password is None:
        raise Misuse(
            "the DICOM source needs CLARIUS_RESEARCH_USERNAME and CLARIUS_RESEARCH_PASSWORD",
            code="research_not_configured",
        )
    async with work.effect("download:request_dicom", AccountKind.RESEARCH):
        token = await login(
            work.resources.http,
            base_url=settings.clarius_base_url,
            username=settings.clarius_research_username,
            password=settings.clarius_research_password,
        )
        client = ClariusResearchClient(work.resources.http, base_url=settings.clarius_base_url, token=token)
        return await client.dicom(exam.exam_uuid, DicomOptions(tz=policy.timezone))
