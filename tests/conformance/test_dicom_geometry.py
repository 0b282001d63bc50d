"""Real DICOM series against published volumes of the same data, and series that must be refused."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest

from segloop.errors import InputError, SegloopError
from segloop.io import dicom, files
from segloop.plan import SeriesRule
from segloop.volume import Volume

GOOD = (
    "generic-sagittal",
    "generic-sagittal-j2k",
    "generic-sagittal-jpeg",
    "generic-sagittal-jpegls",
    "generic-sagittal-rle",
    "hitachi-oblique",
    "non-isotropic-pixels",
    "philips-enhanced-multiframe",
    # Two slices are few, but they are a volume; a rule's min_slices decides.
    "bad-slice-count",
)
BAD = {
    "bad-gantry-tilt": "geometry.gantry_tilt",
    "bad-not-a-volume": "geometry.nonuniform_spacing",
    "bad-slice-increment-a": "geometry.missing_slices",
}
CROP_RULE = SeriesRule(
    modalities=("MR",), spacing_mm=((0.6, 1.6), (0.6, 1.6)), extent_mm=((15, 95),) * 3, min_slices=10
)


def only_image(source: Path) -> dicom.SeriesRef:
    (series,) = [s for s in dicom.scan(source) if s.is_image]
    return series


def require_same(found: Volume, truth: Volume, tolerance: float) -> None:
    """Equal voxels at equal places in the patient, whatever the order of the axes."""
    found, truth = found.reoriented("SPL"), truth.reoriented("SPL")
    truth.geometry.require_same_grid(found.geometry, "series against ground truth")
    assert np.abs(found.array.astype(np.float64) - truth.array).max() <= tolerance


@pytest.mark.parametrize("name", GOOD)
def test_series_equals_ground_truth(shared_data, name):
    folder = shared_data("dicom-geometry") / name
    truth = files.read(folder / "ground_truth.nii.gz")
    # The truth of the rescaled series was rounded to single precision on another way.
    tolerance = 2e-6 * float(np.abs(truth.array).max()) if truth.array.dtype.kind == "f" else 0
    require_same(dicom.read_series(only_image(folder)), truth, tolerance)


def test_oblique_ct_without_truth_keeps_each_headers_place(shared_data):
    series = only_image(shared_data("dicom-geometry") / "oblique-ct-3slice")
    assert dicom.read_series(series).geometry.spacing_mm == pytest.approx((4.5, 3.5, 2.5), rel=1e-3)
    for z, file in enumerate(series.files):
        position = pydicom.dcmread(file.path, stop_before_pixels=True).ImagePositionPatient
        assert np.allclose(series.geometry.to_lps(np.array([z, 0, 0])), position, atol=1e-3)
    # Its slices have a study UID each.
    assert not series.linkable


@pytest.mark.parametrize("name", sorted(BAD))
def test_unusable_series_is_refused_by_name(shared_data, name):
    series = only_image(shared_data("dicom-geometry") / name)
    assert [fault.code for fault in series.faults] == [BAD[name]]
    with pytest.raises(InputError) as caught:
        dicom.read_series(series)
    assert caught.value.code == BAD[name]


def test_every_bad_series_here_is_judged(shared_data):
    present = {p.name for p in shared_data("dicom-geometry").iterdir() if p.name.startswith("bad-")}
    assert present <= {*GOOD, *BAD}


@pytest.mark.parametrize(
    "name",
    [
        "sarcoma-ct/STS_002/*CT",
        "sarcoma-ct/STS_019/*CT",
        "sarcoma-ct/STS_025/*CT",
        "sarcoma-ct/STS_042/*CT",
        "lung-ct/PAT1/*CT",
        "sarcoma-ct/STS_025/MR_T1/*MR_T1",
        "sarcoma-ct/STS_025/PET/*PET",
    ],
)
def test_hounsfield_units_equal_the_published_volume(shared_data, name):
    folder, _, modality = name.rpartition("/*")
    (truth,) = shared_data(folder).glob(f"{modality}_image.nii.gz")
    require_same(dicom.read_series(only_image(truth.parent / "dicom")), files.read(truth), 1e-6)


def test_slice_distance_comes_from_positions(shared_data):
    series = only_image(shared_data("abdomen-ct") / "dicom")
    assert series.geometry.spacing_mm[0] == pytest.approx(2.0)
    assert float(series.header().SliceThickness) == 3
    truth = files.read(shared_data("abdomen-ct") / "example_seg_dicom.nii.gz")
    assert truth.reoriented("SPL").geometry.same_grid(series.geometry)
    assert not series.linkable


def test_the_crop_is_chosen_and_every_other_series_has_a_reason(shared_data):
    found = dicom.scan(shared_data("brain-mr-dicom") / "Study3")
    selection = dicom.select(found, CROP_RULE)
    assert selection.chosen.description == "HippoCrop"
    assert len(selection.refused) == len(found) - 1 >= 4
    assert all(refused.reasons for refused in selection.refused)


def test_a_removed_interior_slice_is_missed(shared_data, tmp_path):
    shutil.copytree(shared_data("brain-mr-dicom") / "Study1" / "13_HCropVolume", tmp_path / "crop")
    whole = only_image(tmp_path / "crop")
    whole.files[11].path.unlink()
    with pytest.raises(InputError) as caught:
        dicom.select(dicom.scan(tmp_path / "crop"), CROP_RULE)
    assert caught.value.code == "geometry.missing_slices"


@pytest.mark.parametrize("crop", ["Study1/13_HCropVolume", "Study3/11_HCropVolume"])
def test_crops_and_training_images_face_the_same_way(shared_data, crop):
    """The crops are LPS on disk, the training files RAS; once read, the mean brain fits and its mirrors do not."""
    training = sorted((shared_data("hippocampus") / "imagesTr").glob("*.nii.gz"))[::5]
    mean = np.mean([_centred(files.read(path)) for path in training], axis=0)
    image = _centred(dicom.read_series(only_image(shared_data("brain-mr-dicom") / crop)))

    def agreement(other: np.ndarray) -> float:
        return float(np.corrcoef(mean.ravel(), other.ravel())[0, 1])

    upright = agreement(image)
    mirrored = [agreement(np.flip(image, axes)) for axes in ((0,), (1,), (2,), (1, 2), (0, 1, 2))]
    assert upright > 0.5
    assert max(mirrored) < upright - 0.15


def _centred(image: Volume) -> np.ndarray:
    """The middle of an image on the canonical grid, with its own mean and deviation taken out."""
    array = image.reoriented("SPL").array.astype(np.float32)
    size = (24, 40, 30)
    starts = [(n - m) // 2 for n, m in zip(array.shape, size, strict=True)]
    middle = array[tuple(slice(s, s + m) for s, m in zip(starts, size, strict=True))]
    return (middle - middle.mean()) / middle.std()


def test_lossless_encodings_decode_alike(shared_data):
    folder = shared_data("dicom-zoo") / "transfer-syntax"
    for reference, others in (("wg04_CT2_UNC", ("J2KR", "JLSL", "JPLL", "RLE")), ("MR_small", ())):
        truth = dicom.read_series(only_image(folder / f"{reference}.dcm"))
        same = [folder / f"wg04_CT2_{kind}.dcm" for kind in others] or [
            folder / f"MR_small_{kind}.dcm"
            for kind in ("RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded")
        ]
        for path in same:
            require_same(dicom.read_series(only_image(path)), truth, 0)


def test_a_zoo_of_odd_files_is_read_or_refused_quickly(shared_data, capfd):
    """No file crashes the reader or makes a library print what it found."""
    # Processor time, because other work on the machine is not this reader's fault.
    started, read, refused = time.process_time(), [], {}
    for path in sorted(p for p in shared_data("dicom-zoo").rglob("*") if p.is_file()):
        try:
            read.append(dicom.read_series(dicom.scan(path)[0]))
        except SegloopError as fault:
            refused[path.name] = fault.code
    assert time.process_time() - started < 10
    assert len(read) >= 30
    assert refused["MR_truncated.dcm"] == "input.unreadable"
    assert refused["DICOMDIR"] == "input.not_an_image"
    assert refused["rtstruct.dcm"] == "input.not_an_image"
    assert refused["test-SR.dcm"] == "input.not_an_image"
    assert refused["US-PAL-8-10x-echo.dcm"] == "geometry.invalid"
    assert capfd.readouterr() == ("", "")


def test_a_folder_of_many_patients_is_refused(shared_data):
    with pytest.raises(InputError) as caught:
        dicom.scan(shared_data("dicom-zoo"))
    assert caught.value.code == "input.two_patients"
