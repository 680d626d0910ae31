"""What the tests of captures share with those of conversion."""

from tests.imaging.conftest import convert

__all__ = ["convert"]
