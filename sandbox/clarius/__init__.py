"""Simulated Clarius Cloud: public API, webhook sender and the presigned capture store."""
