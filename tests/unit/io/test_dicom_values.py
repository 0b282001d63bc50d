"""From stored numbers to values: inversion, windows, palettes, LUTs, uptake, number kinds, frames in threads."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, PositronEmissionTomographyImageStorage

from segloop.errors import InputError
from segloop.io import dicom
from segloop.io.dicom.display import window
from segloop.plan import ReadingSpec

SUV = ReadingSpec(pet="suv-bw")
SHOWN = ReadingSpec(display=True)
ROWS, COLUMNS = 6, 5


def only(source):
    (series,) = dicom.scan(source)
    return series


def grey(values) -> bytes:
    return np.asarray(values, np.uint16).tobytes()


RAMP = np.arange(30)
XRAY = {
    "SOPClassUID": DigitalXRayImageStorageForPresentation,
    "Modality": "DX",
    "ImagePositionPatient": None,
    "ImageOrientationPatient": None,
    "PixelData": grey(RAMP),
    "RescaleSlope": 1,
    "RescaleIntercept": 0,
}


def test_monochrome1_means_what_monochrome2_does(make_series):
    volume = dicom.read_series(only(make_series(places=(0,), PhotometricInterpretation="MONOCHROME1", **XRAY)))
    assert (volume.array.ravel() == 4095 - RAMP).all()


def test_signed_monochrome1(make_series):
    signed = {**XRAY, "PixelRepresentation": 1, "PixelData": (RAMP - 15).astype(np.int16).tobytes()}
    volume = dicom.read_series(only(make_series(places=(0,), PhotometricInterpretation="MONOCHROME1", **signed)))
    assert (volume.array.ravel() == -1 - (RAMP - 15)).all()


@pytest.mark.parametrize("modality", ["CT", "PT", "NM"])
def test_a_measurement_is_never_inverted(make_series, modality):
    series = only(make_series(places=(0, 2), PhotometricInterpretation="MONOCHROME1", Modality=modality))
    assert dicom.read_series(series).array[:, 0, 0].tolist() == [-1024, -1023]


@pytest.mark.parametrize(
    ("changes", "spacing", "note"),
    [
        ({"PixelSpacing": [0.2, 0.3], "ImagerPixelSpacing": [0.4, 0.4]}, (0.2, 0.3), None),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.4, 0.5]}, (0.4, 0.5), "detector"),
        ({"PixelSpacing": None, "NominalScannedPixelSpacing": [0.1, 0.1]}, (0.1, 0.1), "scanned film"),
        ({"PixelSpacing": None}, (1, 1), "1 mm is assumed"),
    ],
)
def test_a_projections_pixel_size_and_where_it_is_from(make_series, changes, spacing, note):
    series = only(make_series(places=(0,), **{**XRAY, **changes}))
    assert series.geometry.spacing_mm[1:] == spacing
    said = " ".join(series.notes)
    assert note in said if note else "detector" not in said


def test_an_ultrasound_regions_centimetres(make_series):
    region = Dataset()
    region.RegionSpatialFormat, region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection = 1, 3, 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.03, 0.05
    changes = {**XRAY, "Modality": "US", "PixelSpacing": None}
    series = only(make_series(places=(0,), SequenceOfUltrasoundRegions=[region], **changes))
    assert series.geometry.spacing_mm[1:] == pytest.approx((0.5, 0.3))
    two = only(make_series("two", places=(0,), SequenceOfUltrasoundRegions=[region, region], **changes))
    assert two.geometry.spacing_mm[1:] == (1, 1)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_gives_eight_bit_colour(make_series, bits):
    entries = np.arange(30)
    tables = {}
    for n, name in enumerate(("Red", "Green", "Blue")):
        colours = (entries * 8 + n) if bits == 8 else (entries * 8 + n) << 8
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [30, 0, bits]
        tables[f"{name}PaletteColorLookupTableData"] = colours.astype("<u1" if bits == 8 else "<u2").tobytes()
    pixels = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": RAMP.astype(np.uint8).tobytes()}
    series = only(
        make_series(places=(0,), **{**XRAY, **tables, **pixels, "PhotometricInterpretation": "PALETTE COLOR"})
    )
    assert series.channels == 3
    volume = dicom.read_series(series)
    assert volume.array.dtype == np.uint8
    assert (volume.array.reshape(30, 3) == np.stack([entries * 8 + n for n in range(3)], -1)).all()


@pytest.mark.parametrize("inverse", [False, True])
def test_values_as_displayed(make_series, inverse):
    shades = {"PhotometricInterpretation": "MONOCHROME1"} if inverse else {}
    series = only(make_series(places=(0,), WindowCenter=15.5, WindowWidth=11, **XRAY, **shades))
    volume = dicom.read_series(series, SHOWN)
    shown = np.clip((RAMP - 15) / 10 + 0.5, 0, 1)
    assert volume.array.ravel() == pytest.approx(1 - shown if inverse else shown)
    assert dicom.read_series(series).array.max() > 1


def test_a_voi_lut_comes_before_a_window(make_series):
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4, 10, 8], np.array([0, 51, 102, 255], "<u2").tobytes()
    series = only(make_series(places=(0,), VOILUTSequence=[table], WindowCenter=1, WindowWidth=2, **XRAY))
    shown = dicom.read_series(series, SHOWN).array.ravel()
    assert shown[[0, 10, 11, 12, 13, 29]].tolist() == pytest.approx([0, 0, 0.2, 0.4, 1, 1])


def test_no_window_no_display(make_series):
    with pytest.raises(InputError) as caught:
        dicom.read_series(only(make_series(places=(0,), **XRAY)), SHOWN)
    assert caught.value.code == "input.no_window"


def test_window_functions():
    values = np.array([-1000.0, 40.0, 1000.0])
    assert window(values, 40.5, 401).tolist() == [0, 0.5, 1]
    assert window(values, 40, 400, "LINEAR_EXACT").tolist() == [0, 0.5, 1]
    assert window(np.array([140.0]), 40, 400, "SIGMOID")[0] == pytest.approx(1 / (1 + np.exp(-1)))


def test_a_modality_lut_replaces_the_rescale(make_series):
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [30, 0, 16], "US"
    table.LUTData = (RAMP**2).astype("<u2").tobytes()
    changes = {**XRAY, "RescaleSlope": None, "RescaleIntercept": None}
    volume = dicom.read_series(only(make_series(places=(0,), ModalityLUTSequence=[table], **changes)))
    assert (volume.array.ravel() == RAMP**2).all()


def pet(**changes):
    drug = Dataset()
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = 3.7e8, 6586.2
    drug.RadiopharmaceuticalStartTime = "090000"
    fields = {
        "SOPClassUID": PositronEmissionTomographyImageStorage,
        "Modality": "PT",
        "Units": "BQML",
        "CorrectedImage": ["ATTN", "DECY", "SCAT"],
        "DecayCorrection": "START",
        "PatientWeight": 74,
        "SeriesDate": "20260301",
        "SeriesTime": "100000",
        "AcquisitionDate": "20260301",
        "AcquisitionTime": "100500.25",
        "RescaleSlope": 50,
        "RescaleIntercept": 0,
        "PixelData": grey(np.full(30, 100)),
    }
    removed = [key for key, value in changes.items() if value is None and hasattr(drug, key)]
    for key in [*changes]:
        if hasattr(drug, key) or key.startswith("Radio"):
            value = changes.pop(key)
            if key in removed:
                delattr(drug, key)
            else:
                setattr(drug, key, value)
    return {**fields, "RadiopharmaceuticalInformationSequence": [drug], **changes}


HOUR = 2 ** (-3600 / 6586.2)
UPTAKE = 5000 * 74000 / (3.7e8 * HOUR)


def uptake(make_series, **changes) -> float:
    """What 5000 Bq/ml become, in the middle of a volume."""
    fields = {key: value for key, value in pet(**changes).items() if value is not None}
    volume = dicom.read_series(only(make_series(places=(0, 3), **fields)), SUV)
    assert volume.array.dtype == np.float32
    return float(volume.array[1, 3, 3])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, UPTAKE),
        ({"DecayCorrection": "ADMIN"}, UPTAKE * HOUR),
        ({"RadiopharmaceuticalStartDateTime": "20260301080000.00"}, UPTAKE / HOUR),
        # The series was written after the scan: its first acquisition counts.
        ({"SeriesTime": "120000", "AcquisitionTime": "100000"}, UPTAKE),
        # Injected before midnight.
        ({"RadiopharmaceuticalStartTime": "233000", "SeriesTime": "003000", "AcquisitionTime": "003000"}, UPTAKE),
        ({"Units": "GML"}, 5000),
    ],
)
def test_standardised_uptake_by_body_weight(make_series, changes, expected):
    assert uptake(make_series, **changes) == pytest.approx(expected, rel=1e-5)


def test_pet_without_the_wish_for_uptake_stays_as_stored(make_series):
    assert dicom.read_series(only(make_series(places=(0, 3), **pet()))).array[0, 0, 0] == 5000


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"PatientWeight": None}, "PatientWeight"),
        ({"PatientWeight": 0}, "PatientWeight"),
        ({"RadionuclideTotalDose": None}, "RadionuclideTotalDose"),
        ({"RadionuclideTotalDose": 370}, "becquerel"),
        ({"RadionuclideHalfLife": None}, "RadionuclideHalfLife"),
        ({"RadiopharmaceuticalStartTime": None}, "RadiopharmaceuticalStartDateTime"),
        ({"RadiopharmaceuticalStartDateTime": "20260201080000"}, "less than a day"),
        ({"DecayCorrection": "NONE"}, "DecayCorrection"),
        ({"CorrectedImage": ["ATTN"]}, "CorrectedImage"),
        ({"Units": "CNTS"}, "SUV factor"),
        ({"Units": "PROPCPS"}, "Units"),
        ({"Units": "GML", "SUVType": "LBM"}, "SUVType"),
    ],
)
def test_what_uptake_lacks_is_named(make_series, changes, named):
    with pytest.raises(InputError, match=named) as caught:
        uptake(make_series, **changes)
    assert caught.value.code == "input.suv"
    assert "74" not in str(caught.value)


def test_a_later_slice_that_needs_wider_numbers_starts_the_reading_again(make_series):
    folder = make_series()
    for name, changes, kind in (
        ("002.dcm", {"BitsStored": 16, "HighBit": 15, "PixelData": grey(np.full(30, 65535))}, np.int32),
        ("003.dcm", {"RescaleSlope": 0.5}, np.float32),
    ):
        dataset = pydicom.dcmread(folder / name)
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)
        dataset.save_as(folder / name)
        volume = dicom.read_series(only(folder))
        assert volume.array.dtype == kind
        assert volume.array[:2, 0, 0].tolist() == [-1024, -1023]
        assert volume.array[2, 0, 0] == 65535 - 1024
    assert volume.array[3, 0, 0] == 1.5 - 1024


def test_a_slice_that_decodes_to_another_size_than_stated_is_refused(make_series):
    folder = make_series()
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.JPEGLSLossless, generate_instance_uid=False)
        dataset.Rows = 5
        dataset.save_as(path)
    with pytest.raises(InputError, match=r"00\d\.dcm") as caught:
        dicom.read_series(only(folder))
    assert caught.value.code == "input.unreadable"


def enhanced(folder, frames: int = 5, side: int = 0, **changes: object) -> None:
    """The first file as a multi-frame one whose frame n lies at 2 n mm, has its own scale and window."""
    path = folder / "000.dcm"
    dataset = pydicom.dcmread(path)
    if side:
        dataset.Rows = dataset.Columns = side
    groups = []
    for n in range(frames):
        group, place, scale, shown = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [-10, -20, 2 * n]
        scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = changes.get("slope", n + 1), n, "HU"
        shown.WindowCenter, shown.WindowWidth = 100 * (n + 1) + n, 2
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [place], [scale]
        group.FrameVOILUTSequence = [shown]
        groups.append(group)
    shared, turn, measures = Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient, measures.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.8, 0.7]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [measures]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], groups
    dataset.NumberOfFrames = frames
    dataset.PixelData = np.full((frames, dataset.Rows, dataset.Columns), 100, np.uint16).tobytes()
    dataset.save_as(path)


def test_each_frame_has_its_own_rescale_and_window(make_series):
    folder = make_series(places=(0,))
    enhanced(folder)
    series = only(folder)
    assert dicom.read_series(series).array[:, 2, 2].tolist() == [100 * (n + 1) + n for n in range(5)]
    shown = dicom.read_series(series, SHOWN).array[:, 2, 2]
    assert ((shown > 0.4) & (shown <= 1)).all()


@pytest.mark.parametrize("multiframe", [False, True], ids=["files", "frames"])
@pytest.mark.parametrize("compressed", [False, True], ids=["native", "compressed"])
def test_a_volume_is_never_held_twice(make_series, multiframe, compressed):
    side, count = 256, 48
    noise = np.random.default_rng(0).integers(0, 4000, (side, side)).astype(np.uint16)
    size = {"Rows": side, "Columns": side, "PixelData": noise.tobytes()}
    folder = make_series(places=(0,) if multiframe else range(count), **size)
    if multiframe:
        enhanced(folder, count, side, slope=1)
    if compressed:
        for path in folder.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
            dataset.save_as(path)
            del dataset
    series = only(folder)
    dicom.read_series(series)
    tracemalloc.start()
    try:
        volume = dicom.read_series(series)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert volume.array.shape == (count, side, side)
    assert peak < 1.5 * volume.array.nbytes
