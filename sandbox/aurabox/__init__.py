"""Simulated Aurabox: REST API, uploader API, Tus receiver and a small DICOMweb face."""
