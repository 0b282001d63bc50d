"""Label map segmentations: the same mask as the binary form, voxel for voxel, on every kind of source."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from results import CREATED, MODEL, SPECS, mask_for, write_series
from rois_kit import ORIENTATIONS
from segloop.io.dicom import SeriesRef, read_series, scan
from segloop.io.dicom.own import is_own_object
from segloop.io.rois import read_segmentation
from segloop.measure import measure_labels
from segloop.plan import LabelSpec
from segloop.report import collect, verify_against_source, write_seg, write_sr
from segloop.volume import Labels

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
C, S = float(np.cos(0.4)), float(np.sin(0.4))
GRIDS = {
    "oblique": ((0, -S, C), (0, C, S), (1, 0, 0)),
    "doubly oblique": ((S * S, -S * C, C), (C, S, 0), (-S * C, C * C, S)),
}


def label_map(path: Path, mask: Labels, series: SeriesRef, specs: tuple[LabelSpec, ...] = SPECS) -> Path:
    findings = collect(mask, (), specs, MODEL, CREATED)
    return write_seg(mask, series, findings, "2.25.7", path, form="labelmap")


def require_equal(path: Path, mask: Labels, series: SeriesRef) -> None:
    """Read back, the file holds the mask; its segments are numbered over the labels that occur."""
    labels = read_segmentation(path, series)
    present = [0, *(int(v) for v in np.unique(mask.array) if v)]
    np.testing.assert_array_equal(np.array(present)[labels.array], mask.array)
    verify_against_source([path], series)


@pytest.mark.parametrize("number", range(48))
def test_a_mask_comes_back_from_every_orientation(number: int, tmp_path: Path) -> None:
    series = write_series(tmp_path / "source", shape=(5, 16, 14), directions=ORIENTATIONS[number])
    mask = mask_for(read_series(series))
    require_equal(label_map(tmp_path / "seg.dcm", mask, series), mask, series)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_mask_comes_back_from_oblique_slices(grid: str, tmp_path: Path) -> None:
    series = write_series(tmp_path / "source", directions=GRIDS[grid], reverse_names=True)
    mask = mask_for(read_series(series))
    require_equal(label_map(tmp_path / "seg.dcm", mask, series), mask, series)


@pytest.mark.parametrize(
    "source", ["dicom-geometry/philips-enhanced-multiframe/dicom", "dicom-geometry/hitachi-oblique/dicom"]
)
def test_a_mask_comes_back_on_real_series(source: str, shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    series = scan(shared_data(source))[0]
    mask = mask_for(read_series(series))
    require_equal(label_map(tmp_path / "seg.dcm", mask, series), mask, series)


def test_a_mask_comes_back_from_slices_of_a_tilted_gantry(tmp_path: Path) -> None:
    upright = write_series(tmp_path / "source", shape=(7, 24, 20), modality="CT")
    drawn = mask_for(read_series(upright)).array
    for z, instance in enumerate(upright.files):
        d = pydicom.dcmread(instance.path)
        x, y, depth = (float(v) for v in d.ImagePositionPatient)
        d.ImagePositionPatient = [x, f"{y + 2.5 * z * np.tan(np.radians(12.0)):.6f}", depth]
        d.save_as(instance.path)
    (series,) = scan(tmp_path / "source")
    assert series.regrid is not None
    assert series.geometry is not None
    mask = Labels(series.regrid.labels(drawn), series.geometry, {})
    require_equal(label_map(tmp_path / "seg.dcm", mask, series), mask, series)


@pytest.mark.parametrize(("count", "bits"), [(1, 8), (60, 8), (300, 16)])
def test_any_number_of_labels_comes_back(count: int, bits: int, tmp_path: Path) -> None:
    series = write_series(tmp_path / "source", shape=(5, 24, 20))
    assert series.geometry is not None
    array = (np.arange(5 * 24 * 20).reshape(5, 24, 20) % (count + 1)).astype(np.uint16)
    array[[0, -1]] = 0
    specs = tuple(SPECS[0].model_copy(update={"value": n, "name": f"part {n}"}) for n in range(1, count + 1))
    mask = Labels(array, series.geometry, {})
    path = label_map(tmp_path / "seg.dcm", mask, series, specs)
    require_equal(path, mask, series)
    dataset = pydicom.dcmread(path)
    assert dataset.BitsAllocated == bits
    assert len(dataset.SegmentSequence) == count + 1


def test_the_object_says_what_it_is_and_leaves_out_empty_slices_but_the_ends(tmp_path: Path) -> None:
    series = write_series(tmp_path / "source")
    mask = mask_for(read_series(series))
    dataset = pydicom.dcmread(label_map(tmp_path / "seg.dcm", mask, series))
    assert (dataset.SOPClassUID, dataset.SegmentationType, dataset.BitsAllocated) == (LABEL_MAP, "LABELMAP", 8)
    assert [int(s.SegmentNumber) for s in dataset.SegmentSequence] == [0, 1, 2, 3]
    assert dataset.NumberOfFrames == int((mask.array > 0).any(axis=(1, 2)).sum()) + 2
    assert not dataset.pixel_array[[0, -1]].any()
    assert is_own_object(dataset)
    assert all(MODEL.digest in s.SegmentDescription for s in dataset.SegmentSequence[1:])
    again = label_map(tmp_path / "again.dcm", mask, series)
    assert again.read_bytes() == (tmp_path / "seg.dcm").read_bytes()


def test_the_report_points_to_the_label_map(tmp_path: Path) -> None:
    series = write_series(tmp_path / "source")
    volume = read_series(series)
    mask = mask_for(volume)
    findings = collect(mask, measure_labels(mask, volume, SPECS), SPECS, MODEL, CREATED)
    seg = label_map(tmp_path / "seg.dcm", mask, series)
    report = write_sr(mask, series, findings, "2.25.8", tmp_path / "sr.dcm", seg_uid="2.25.7", form="labelmap")
    classes: set[str] = set()
    pydicom.dcmread(report).walk(
        lambda _, e: classes.add(str(e.value)) if e.keyword == "ReferencedSOPClassUID" else None
    )
    assert LABEL_MAP in classes
    assert "1.2.840.10008.5.1.4.1.1.66.4" not in classes
    verify_against_source([seg, report], series)


def test_another_reader_finds_the_mask(tmp_path: Path) -> None:
    import highdicom as hd

    series = write_series(tmp_path / "source")
    mask = mask_for(read_series(series))
    seg = hd.seg.segread(label_map(tmp_path / "seg.dcm", mask, series))
    uids = [instance.sop_instance_uid for instance in series.files]
    found = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(np.array([0, 1, 2, 4])[found], mask.array)


@pytest.mark.peer
def test_a_validator_finds_no_error_but_that_it_does_not_know_the_class(
    tmp_path: Path, require_peer: Callable[[str], Path]
) -> None:
    """Older ones, as this machine's may be, neither know the SOP class of 2024 nor that a label map has segment 0."""
    series = write_series(tmp_path / "source")
    path = label_map(tmp_path / "seg.dcm", mask_for(read_series(series)), series)
    done = subprocess.run([require_peer("dciodvfy"), "-new", path], check=False, capture_output=True, timeout=60)
    said = [line for line in done.stderr.decode().splitlines() if line.startswith("Error")]
    unknown = ("Information Object Not found", "item number 1 (from one) with SegmentNumber of 0")
    assert [line for line in said if not line.endswith(unknown)] == []
    assert done.stderr.strip()
