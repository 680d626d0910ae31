"""The only attributes that may be sent, identified and de-identified.

Objects are built from these lists and checked against them before they are written. It must not
grow a rule that removes something afterwards: what is not listed is never written.
"""

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from app.imaging import quiet  # noqa: F401 - pydicom is never imported without it


def _names(keywords: str) -> frozenset[str]:
    return frozenset(keywords.split())


PIXEL_DESCRIPTION = _names(
    """
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration Rows Columns BitsAllocated
    BitsStored HighBit PixelRepresentation NumberOfFrames PixelAspectRatio LossyImageCompression
    LossyImageCompressionRatio LossyImageCompressionMethod FrameTime FrameTimeVector
    FrameIncrementPointer CineRate RecommendedDisplayFrameRate BurnedInAnnotation ImageType
    DerivationDescription ImageComments UltrasoundColorDataPresent WindowCenter WindowWidth PixelData
    """
)

IDENTIFIERS = _names(
    """
    SpecificCharacterSet SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality
    StudyDate StudyTime ContentDate ContentTime TimezoneOffsetFromUTC StudyID AccessionNumber
    ReferringPhysicianName StudyDescription SeriesNumber InstanceNumber Laterality
    PatientOrientation Manufacturer ManufacturerModelName SoftwareVersions
    """
)

SUBJECT = _names("PatientName PatientID PatientBirthDate PatientSex")

VETERINARY = _names(
    """
    PatientSpeciesDescription PatientBreedDescription PatientBreedCodeSequence
    BreedRegistrationSequence PatientSexNeutered ResponsiblePerson ResponsiblePersonRole
    ResponsibleOrganization
    """
)

DEIDENTIFICATION = _names(
    """
    PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence CodeValue
    CodingSchemeDesignator CodeMeaning LongitudinalTemporalInformationModified
    """
)

CALIBRATION = _names(
    """
    SequenceOfUltrasoundRegions RegionSpatialFormat RegionDataType RegionFlags
    RegionLocationMinX0 RegionLocationMinY0 RegionLocationMaxX1 RegionLocationMaxY1
    ReferencePixelX0 ReferencePixelY0 PhysicalUnitsXDirection PhysicalUnitsYDirection
    ReferencePixelPhysicalValueX ReferencePixelPhysicalValueY PhysicalDeltaX PhysicalDeltaY
    TransducerFrequency PulseRepetitionFrequency DopplerCorrectionAngle SteeringAngle PixelSpacing
    ConversionType
    """
)
"""What a scanner's own DICOM may add about its pixels, de-identified: numbers and codes only."""

PALETTE = _names(
    """
    RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor
    BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData
    GreenPaletteColorLookupTableData BluePaletteColorLookupTableData
    SegmentedRedPaletteColorLookupTableData SegmentedGreenPaletteColorLookupTableData
    SegmentedBluePaletteColorLookupTableData
    """
)
"""A scanner's palette: kept whole where the pixels need it (`palette`), and not at all elsewhere."""

NUMBERS_FROM_SOURCE = (PIXEL_DESCRIPTION | CALIBRATION) - _names(
    "DerivationDescription ImageComments BurnedInAnnotation PixelData ImageType"
)
"""What `foreign_numbers` may take over one by one from a scanner's own DICOM in de-identified mode."""

IDENTIFIED = PIXEL_DESCRIPTION | IDENTIFIERS | SUBJECT | VETERINARY | {"InstitutionName"}

DEIDENTIFIED = (
    PIXEL_DESCRIPTION | IDENTIFIERS | SUBJECT | VETERINARY | CALIBRATION | PALETTE | DEIDENTIFICATION
)

_PATIENT_GROUP = 0x0010
_FIRST_OBJECT_GROUP = 0x0008
"""Below it stand commands and file meta information, which are not the object's."""

_VISIT_AND_REQUEST_GROUPS = frozenset({0x0032, 0x0038, 0x4008})


def comes_from_scanner(tag: BaseTag) -> bool:
    """Whether an identified object may keep this attribute of the scanner's own DICOM.

    Everything that the standard names, but for who the patient is, the visit and the request: those
    are ours to say. Private attributes are not kept, since nobody can tell what they hold.
    """
    return (
        not tag.is_private
        and tag.group >= _FIRST_OBJECT_GROUP
        and tag.element != 0
        and bool(keyword_for_tag(tag))
        and tag.group not in _VISIT_AND_REQUEST_GROUPS
        and tag.group != _PATIENT_GROUP
    )


def assert_allowed(dataset: Dataset, *, deidentified: bool, from_scanner: bool = False) -> None:
    """Raise AssertionError naming the first attribute, at any depth, that is not on the list.

    `from_scanner`: the object was made by a scanner; identified, it keeps what the scanner said.
    """
    names = DEIDENTIFIED if deidentified else IDENTIFIED
    scanner_may = from_scanner and not deidentified
    for element in dataset:
        allowed = keyword_for_tag(element.tag) in names
        if not allowed and not (scanner_may and comes_from_scanner(element.tag)):
            raise AssertionError(f"{element.tag} {element.keyword or 'unknown'} is on no allow-list")
        if element.VR == "SQ":
            for item in element.value:
                assert_allowed(item, deidentified=deidentified, from_scanner=from_scanner)
