"""Simulated Clarius and Aurabox over real HTTP, for the demo and the tests; must import nothing from `app`."""
