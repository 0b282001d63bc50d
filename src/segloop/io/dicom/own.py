"""Which DICOM objects segloop itself made: these start no job when a PACS sends them back."""

from __future__ import annotations

from pydicom import Dataset

MANUFACTURER = "segloop"
"""Manufacturer of every object that segloop writes about a study."""

# Results only: a phantom's CT slices come from segloop too and are images like any other.
_RESULT_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR
        "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
        "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
        "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection
        "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
        "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
        "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color Secondary Capture
        "1.2.840.10008.5.1.4.1.1.481.3",  # RT Structure Set
    }
)


def is_own_object(dataset: Dataset) -> bool:
    """True when segloop wrote this object as a result; needs SOPClassUID and Manufacturer only.

    An image made from a phantom is no result and gives False.
    """
    made_here = str(dataset.get("Manufacturer", "") or "").strip() == MANUFACTURER
    return made_here and str(dataset.get("SOPClassUID", "")) in _RESULT_CLASSES
