"""Tests of Sonobridge; mirrors the source. A package, so that no other package called `tests` can get in its way."""
