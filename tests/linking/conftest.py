"""Resources pointed at a simulated Clarius, and an organisation."""

from tests.support.pointed import organization, resources, sandbox

__all__ = ["organization", "resources", "sandbox"]
