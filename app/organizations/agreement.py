"""Which options of an organisation go together; must not read or write anything."""

from app.config import rules
from app.config.settings import Settings
from app.errors import Misuse
from app.store.organizations import BurnedIn, IdentityPolicy, Images, Organization


def check_agreement(organization: Organization, option_names: frozenset[str], settings: Settings) -> None:
    """Raise Misuse when the options of an organisation, as it would be, do not go together.

    `option_names` are those given now.
    """
    images = organization.images != Images.NONE
    if (
        organization.identity == IdentityPolicy.DEIDENTIFIED
        and images
        and not _burned_in_known(organization, option_names)
    ):
        raise Misuse(
            "burned_in: say no, mask or unknown when de-identified images are sent "
            "(unknown sends every exam with images to review)"
        )
    if organization.burned_in == BurnedIn.MASK and not organization.masks:
        raise Misuse("masks: burned_in mask needs at least one rectangle X,Y,W,H")
    if "masks" in option_names and organization.masks and organization.burned_in != BurnedIn.MASK:
        raise Misuse("masks: rectangles are only blanked with burned_in mask")
    if organization.images == Images.DICOMWEB and not organization.dicomweb_url:
        raise Misuse("dicomweb_url: images dicomweb needs the address of the DICOMweb service")
    if organization.dicomweb_user and not organization.dicomweb_token_sealed:
        raise Misuse("dicomweb_token: dicomweb_user needs a token, which is then its password")
    if "images" in option_names and organization.images == Images.UPLOADER and settings.aura_app_id is None:
        raise Misuse("images: uploader needs AURA_APP_ID and AURA_APP_SECRET to be set")
    for field in ("aurabox_url", "dicomweb_url"):
        check_address(field, getattr(organization, field), settings)


def _burned_in_known(organization: Organization, option_names: frozenset[str]) -> bool:
    bears_on_images = option_names & {"identity", "images", "burned_in"}
    return not bears_on_images or "burned_in" in option_names or organization.burned_in != BurnedIn.UNKNOWN


def check_address(field: str, url: str | None, settings: Settings) -> None:
    """Raise Misuse for an upstream that the egress rules would refuse in production."""
    if (
        url is None
        or not settings.is_production
        or rules.is_allowed_upstream(url, settings.allowed_upstreams)
    ):
        return
    parts = rules.url_parts(url)
    if parts.scheme != "https":
        raise Misuse(f"{field}: must begin with https://, or its host be in SONOBRIDGE_ALLOWED_UPSTREAMS")
    if rules.is_private_literal(parts.hostname or ""):
        raise Misuse(f"{field}: is a private address, which SONOBRIDGE_ALLOWED_UPSTREAMS does not name")
