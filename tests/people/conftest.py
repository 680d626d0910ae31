"""Resources pointed at a simulated Clarius, and an organisation."""

from tests.support.pointed import organization, resources

__all__ = ["organization", "resources"]
