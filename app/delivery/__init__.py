"""Carries one exam request from claim to delivery: a file for each step, the runner, the errors' meaning."""
