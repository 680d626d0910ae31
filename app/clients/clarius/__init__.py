"""Clarius Cloud's two APIs; must not know Aurabox or a delivery."""

from app.clients.clarius.client import EXAMS_PER_PAGE, ClariusClient
from app.clients.clarius.models import (
    Annotation,
    ApiKey,
    Application,
    CaptureLink,
    CustomisedApplication,
    ExamData,
    ExamNotice,
    NewApiKey,
    NotificationRecord,
    RawCapture,
    ServiceSettings,
)
from app.clients.clarius.research import ClariusResearchClient, DicomOptions, login

__all__ = [
    "EXAMS_PER_PAGE",
    "Annotation",
    "ApiKey",
    "Application",
    "CaptureLink",
    "ClariusClient",
    "ClariusResearchClient",
    "CustomisedApplication",
    "DicomOptions",
    "ExamData",
    "ExamNotice",
    "NewApiKey",
    "NotificationRecord",
    "RawCapture",
    "ServiceSettings",
    "login",
]
