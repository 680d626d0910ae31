"""The only attributes that may leave this house, identified and de-identified.

Objects are built from these lists and checked against them before they are written. It must not
grow a rule that removes something afterwards: what is not listed is never written.
"""

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag


def _names(keywords: str) -> frozenset[str]:
    return frozenset(keywords.split())


PIXEL_DESCRIPTION = _names(
    """
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration Rows Columns BitsAllocated
    BitsStored HighBit PixelRepresentation NumberOfFrames PixelAspectRatio LossyImageCompression
    LossyImageCompressionRatio LossyImageCompressionMethod FrameTime FrameTimeVector
    FrameIncrementPointer CineRate RecommendedDisplayFrameRate BurnedInAnnotation ImageType
    DerivationDescription ImageComments UltrasoundColorDataPresent PixelData
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
    TransducerFrequency PulseRepetitionFrequency DopplerCorrectionAngle SteeringAngle
    PixelSpacing PixelSpacingCalibrationType PixelSpacingCalibrationDescription
    RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor
    BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData
    GreenPaletteColorLookupTableData BluePaletteColorLookupTableData
    """
)
"""What a source's own DICOM may add about its pixels: numbers and codes, no free text."""

IDENTIFIED = PIXEL_DESCRIPTION | IDENTIFIERS | SUBJECT | VETERINARY | CALIBRATION | {"InstitutionName"}

DEIDENTIFIED = PIXEL_DESCRIPTION | IDENTIFIERS | SUBJECT | VETERINARY | CALIBRATION | DEIDENTIFICATION


def is_allowed(tag: BaseTag, *, deidentified: bool) -> bool:
    """Whether an attribute is on the list of its mode; private and unknown ones never are."""
    return keyword_for_tag(tag) in (DEIDENTIFIED if deidentified else IDENTIFIED)


def assert_allowed(dataset: Dataset, *, deidentified: bool) -> None:
    """Raise AssertionError naming the first attribute, at any depth, that is not on the list."""
    for element in dataset:
        if not is_allowed(element.tag, deidentified=deidentified):
            raise AssertionError(f"{element.tag} {element.keyword or 'unknown'} is on no allow-list")
        if element.VR == "SQ":
            for item in element.value:
                assert_allowed(item, deidentified=deidentified)
