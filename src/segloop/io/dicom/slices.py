"""Where each slice of a file lies, as its header states it."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

from segloop.errors import InputError
from segloop.io.dicom.header import Header, value_of

PIXEL_SIZES = {
    "PixelSpacing": "",
    "ImagerPixelSpacing": "its pixel size is the detector's (ImagerPixelSpacing), so what is magnified measures large",
    "NominalScannedPixelSpacing": "its pixel size is that of the scanned film (NominalScannedPixelSpacing)",
    "SequenceOfUltrasoundRegions": "its pixel size is that of its one ultrasound region",
}
"""Where a pixel size can come from, the best first, and what a reader should know of it."""

_CENTIMETRES, _TISSUE = 3, 1


@dataclass(frozen=True, slots=True)
class Slice:
    """One single-frame file, or one frame of a multi-frame one.

    Attributes:
        file: Index of its file in the series.
        frame: Frame number from 1; 0 for a single-frame file.
        name: File name, for messages.
        size: Rows, columns and channels.
        position: Of the first pixel's centre, LPS mm.
        orientation: Unit vectors along a row (x, y, z) and down a column.
        spacing: Between rows and between columns, mm.
        thickness: What the header states for the third direction, mm.
        spacing_from: The key of `PIXEL_SIZES` that `spacing` comes from.
    """

    file: int
    frame: int
    name: str
    size: tuple[int, int, int]
    position: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()
    spacing: tuple[float, ...] = ()
    thickness: float | None = None
    spacing_from: str = "PixelSpacing"


def slices_of(header: Header, file: int) -> list[Slice]:
    """The slices of one file, as its header states them.

    Raises:
        InputError: `geometry.invalid` when a number is malformed or a multi-frame object says not where its frames lie.
    """
    dataset, name = header.dataset, header.path.name
    try:
        samples = int(value_of(dataset, "SamplesPerPixel") or 1)
        size = (int(value_of(dataset, "Rows")), int(value_of(dataset, "Columns")), samples)
        frames = int(value_of(dataset, "NumberOfFrames") or 1)
        groups = value_of(dataset, "PerFrameFunctionalGroupsSequence")
        if groups:
            if len(groups) != frames:
                raise InputError(
                    f"{name} describes {len(groups)} frames and holds {frames}.",
                    code="geometry.invalid",
                    found=len(groups),
                    expected=frames,
                )
            shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
            return [_slice(file, n, name, size, _Frame(group, shared)) for n, group in enumerate(groups, 1)]
        if frames == 1:
            return [_slice(file, 0, name, size, _Frame(dataset, Dataset()))]
    except (AttributeError, IndexError, TypeError, ValueError) as fault:
        raise InputError(
            f"{name} has a malformed or absent number in its image header.", code="geometry.invalid"
        ) from fault
    raise InputError(
        f"{name} holds {frames} frames without saying where each lies. If they follow each other in time, as those of "
        "a film do, they form no volume: to segment one of them, export it as an image of its own.",
        code="geometry.invalid",
        found=f"{frames} frames, no functional groups",
        expected="a position for every frame",
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """Looks an attribute up in a frame's functional groups, then in the shared ones; or in a plain header."""

    own: Dataset
    shared: Dataset

    def numbers(self, macro: str, keyword: str) -> tuple[float, ...]:
        for place in (self.own, self.shared):
            items = value_of(place, macro)
            value = value_of(items[0] if items else place, keyword)
            if value is not None and value != "":
                return tuple(float(v) for v in value) if hasattr(value, "__iter__") else (float(value),)
        return ()

    def pixel_size(self) -> tuple[tuple[float, ...], str]:
        """Between rows and between columns in mm, and where that is from; empty where nothing is stated."""
        for keyword in PIXEL_SIZES:
            if keyword == "SequenceOfUltrasoundRegions":
                found = _ultrasound(self.own)
            else:
                found = self.numbers("PixelMeasuresSequence", keyword)
            if found:
                return found, keyword
        return (), "PixelSpacing"


def _slice(file: int, frame: int, name: str, size: tuple[int, int, int], source: _Frame) -> Slice:
    measures = "PixelMeasuresSequence"
    thickness = source.numbers(measures, "SpacingBetweenSlices") or source.numbers(measures, "SliceThickness")
    spacing, origin = source.pixel_size()
    return Slice(
        file,
        frame,
        name,
        size,
        source.numbers("PlanePositionSequence", "ImagePositionPatient"),
        source.numbers("PlaneOrientationSequence", "ImageOrientationPatient"),
        spacing,
        abs(thickness[0]) if thickness and thickness[0] else None,
        origin,
    )


def _ultrasound(dataset: Dataset) -> tuple[float, ...]:
    """Pixel size where one single region shows tissue in centimetres; several regions have several sizes.

    Source: DICOM PS3.3 C.8.5.5, US Region Calibration.
    """
    regions = [r for r in dataset.get("SequenceOfUltrasoundRegions") or () if r.get("RegionSpatialFormat") == _TISSUE]
    if len(regions) != 1:
        return ()
    (region,) = regions
    if {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")} != {_CENTIMETRES}:
        return ()
    return abs(float(region.PhysicalDeltaY)) * 10, abs(float(region.PhysicalDeltaX)) * 10
