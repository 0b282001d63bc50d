"""Every format that is written: the same voxels at the same places, for us and for independent readers."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from segloop.io import files
from segloop.volume import Geometry, Labels, Volume

SPATIAL = (".nii", ".nii.gz", ".nrrd", ".mha")
FLAT = (".png", ".tif", ".tiff")
SHAPE = (3, 4, 5)

ORIENTATIONS = [
    tuple(tuple(float(sign) * v for v in np.eye(3)[axis]) for axis, sign in zip(order, signs, strict=True))
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def volume(geometry: Geometry) -> Volume:
    return Volume(np.arange(np.prod(geometry.shape), dtype=np.int16).reshape(geometry.shape) - 7, geometry)


def seen_by_simpleitk(path: Path) -> Volume:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.ReadImage(str(path))
    columns = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns[:, ::-1], image.GetOrigin()
    array = sitk.GetArrayFromImage(image)
    return Volume(array, Geometry.from_affine(affine, array.shape))


def seen_by_nibabel(path: Path, form: str) -> Volume:
    image = nibabel.load(path)
    affine = np.diag([-1.0, -1, 1, 1]) @ getattr(image, f"get_{form}")()
    array = np.asarray(image.dataobj).transpose(2, 1, 0)
    return Volume(array, Geometry.from_affine(affine[:, [2, 1, 0, 3]], array.shape))


def require_equal(found: Volume, expected: Volume) -> None:
    assert found.array.shape == expected.array.shape
    assert (found.array == expected.array).all()
    expected.geometry.require_same_grid(found.geometry, "read back", tolerance_mm=2e-3)


def require_round_trip(image: Volume, folder: Path) -> None:
    for suffix in SPATIAL:
        path = folder / f"脑{suffix}"
        files.write(image, path)
        require_equal(files.read(path), image)
        require_equal(seen_by_simpleitk(path), image)
        if suffix.startswith(".nii"):
            require_equal(seen_by_nibabel(path, "qform"), image)
            require_equal(seen_by_nibabel(path, "sform"), image)


@pytest.mark.parametrize("direction", ORIENTATIONS, ids=lambda d: Geometry(SHAPE, direction=d).axis_codes)
def test_all_48_orientations(tmp_path, direction):
    require_round_trip(volume(Geometry(SHAPE, (3.0, 0.7, 1.3), (-11.5, 20.25, 300.0), direction)), tmp_path)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-3.14, 3.14)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 6)] * 3),
    origin=st.tuples(*[st.floats(-400, 400)] * 3),
    mirrored=st.booleans(),
)
def test_oblique(tmp_path, angles, spacing, origin, mirrored):
    axes = Rotation.from_euler("xyz", angles).as_matrix() * ([-1, 1, 1] if mirrored else [1, 1, 1])
    direction = tuple(tuple(float(v) for v in axis) for axis in axes.T)
    require_round_trip(volume(Geometry(SHAPE, spacing, origin, direction)), tmp_path)


def test_axes_perpendicular_only_within_rounding(tmp_path):
    """The sform keeps the exact affine; the qform is the nearest rotation, less than half a voxel away."""
    row, column = np.array([0.609, 0.791, 0.064]), np.array([-0.143, 0.188, -0.972])
    axes = [v / np.linalg.norm(v) for v in (np.cross(row, column), column, row)]
    image = volume(Geometry(SHAPE, (4.0, 2.3, 2.3), (1, 2, 3), tuple(tuple(map(float, a)) for a in axes)))
    files.write(image, tmp_path / "a.nii.gz")
    require_equal(files.read(tmp_path / "a.nii.gz"), image)
    assert image.geometry.same_grid(seen_by_simpleitk(tmp_path / "a.nii.gz").geometry, 0.05)


@pytest.mark.parametrize("suffix", SPATIAL)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"])
def test_number_types_are_kept(tmp_path, suffix, dtype):
    array = np.array([[[0, 1, 100]]], dtype)
    files.write(Volume(array, Geometry((1, 1, 3))), tmp_path / f"a{suffix}")
    found = files.read(tmp_path / f"a{suffix}").array
    assert found.dtype == dtype
    assert (found == array).all()


@pytest.mark.parametrize("suffix", SPATIAL)
def test_channels_are_kept(tmp_path, suffix):
    array = np.random.default_rng(3).normal(size=(3, 4, 5, 2)).astype(np.float32)
    files.write(Volume(array, Geometry(SHAPE, (2, 1, 1))), tmp_path / f"a{suffix}")
    found = files.read(tmp_path / f"a{suffix}")
    assert (found.array == array).all()
    assert found.geometry.spacing_mm == (2, 1, 1)


@pytest.mark.parametrize("suffix", [*SPATIAL, *FLAT])
@pytest.mark.parametrize("highest", [1, 255, 60000])
def test_labels_come_back(tmp_path, suffix, highest):
    array = np.array([[[0, 1, highest], [highest, 0, 0]]], np.int32)
    files.write(Labels(array, Geometry((1, 2, 3)), {1: "x"}), tmp_path / f"标签{suffix}")
    found = files.read_labels(tmp_path / f"标签{suffix}", {1: "x"})
    assert (found.array == array).all()
    assert found.array.dtype == (np.uint8 if highest < 256 else np.uint16)


@pytest.mark.parametrize("suffix", FLAT)
@pytest.mark.parametrize("colour", [False, True])
def test_pictures_come_back(tmp_path, suffix, colour):
    array = np.random.default_rng(4).integers(0, 256, (1, 6, 7, 3) if colour else (1, 6, 7), np.uint8)
    files.write(Volume(array, Geometry((1, 6, 7))), tmp_path / f"a{suffix}")
    assert (files.read(tmp_path / f"a{suffix}").array == array).all()


def test_a_tiff_of_many_pages_is_a_stack(tmp_path):
    array = np.random.default_rng(5).integers(0, 9999, (4, 6, 7), np.uint16)
    files.write(Volume(array, Geometry((4, 6, 7))), tmp_path / "a.tif")
    assert (files.read(tmp_path / "a.tif").array == array).all()


@pytest.mark.parametrize("name", ["abdomen-ct", "hippocampus", "pyradiomics", "chase-db1", "isbi2012-em"])
def test_real_files_read_as_others_read_them(shared_data, name):
    found = sorted(p for p in shared_data(name).rglob("*") if files.is_image_file(p))[:20]
    assert found
    for path in found:
        image = files.read(path)
        assert image.array.size
        if any(path.name.endswith(suffix) for suffix in SPATIAL):
            other = seen_by_simpleitk(path)
            assert (image.array == other.array).all()
            assert image.geometry.same_grid(other.geometry), path.name
