"""Clarius Cloud's two APIs; must not know Aurabox or a delivery."""

from app.clients.clarius.client import ClariusClient
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
