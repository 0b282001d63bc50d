"""Real DICOM series against published volumes of the same data, and series that must be refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from segloop.errors import InputError
from segloop.io import dicom, files
from segloop.plan import SeriesRule
from segloop.volume import Labels, Volume

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
    "bad-not-a-volume": "geometry.nonuniform_spacing",
    "bad-slice-increment-a": "geometry.missing_slices",
}
TILTED = "bad-gantry-tilt"
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


def test_a_tilted_gantry_is_sheared_back_into_place(shared_data):
    """Every voxel inside lies where its source slice's header puts it, and a mask returns to the very pixels."""
    series = only_image(shared_data("dicom-geometry") / TILTED)
    assert series.warnings == ("slices_sheared",)
    volume = dicom.read_series(series)
    assert volume.geometry.direction[0] == pytest.approx(np.cross([1, 0, 0], [0, 0.97, -0.242]), abs=1e-3)
    for k, file in enumerate(series.files):
        header = pydicom.dcmread(file.path)
        down = np.array(header.ImageOrientationPatient[3:])
        index = np.array([[r, c] for r in range(40, 480, 55) for c in range(40, 480, 55)])
        points = (
            np.array(header.ImagePositionPatient)
            + index[:, :1] * header.PixelSpacing[0] * down
            + index[:, 1:] * header.PixelSpacing[1] * np.array(header.ImageOrientationPatient[:3])
        )
        z, y, x = volume.geometry.to_index(points).T
        assert np.abs(z - k).max() < 1e-3
        low, share = np.floor(y).astype(int), y - np.floor(y)
        found = (1 - share) * volume.array[k, low, np.rint(x).astype(int)]
        found += share * volume.array[k, low + 1, np.rint(x).astype(int)]
        # Interpolated there and back: no further from the source than its neighbours on the column.
        stored = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        around = np.stack([stored[index[:, 0] + d, index[:, 1]] for d in (-1, 0, 1)])
        assert (found >= around.min(axis=0) - 1).all()
        assert (found <= around.max(axis=0) + 1).all()
    drawn = np.random.default_rng(0).integers(0, 4, series.regrid.source).astype(np.uint8)
    back = series.regrid.to_source(Labels(series.regrid.labels(drawn), volume.geometry))
    assert (back == drawn).all()


def test_every_bad_series_here_is_judged(shared_data):
    present = {p.name for p in shared_data("dicom-geometry").iterdir() if p.name.startswith("bad-")}
    assert present <= {*GOOD, *BAD, TILTED}


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


def test_a_folder_of_many_patients_is_refused(shared_data):
    with pytest.raises(InputError) as caught:
        dicom.scan(shared_data("dicom-zoo"))
    assert caught.value.code == "input.two_patients"
