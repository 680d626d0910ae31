"""Resources pointed at a simulated Clarius."""

from tests.support.pointed import resources

__all__ = ["resources"]
