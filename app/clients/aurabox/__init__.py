"""Aurabox's REST API and its uploader; must not know Clarius or a delivery."""

from app.clients.aurabox.client import AuraboxClient
from app.clients.aurabox.models import Address, Case, CaseFields, Patient, PatientFields, Sex, Study

__all__ = ["Address", "AuraboxClient", "Case", "CaseFields", "Patient", "PatientFields", "Sex", "Study"]
