"""Sonobridge: carries ultrasound exams from Clarius Cloud into Aurabox."""

__version__ = "0.1.0"
