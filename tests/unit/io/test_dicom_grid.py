"""Positions to a grid, or to the one fault that they show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from segloop.errors import InputError
from segloop.io.dicom.grid import stack
from segloop.io.dicom.slices import Slice

ROW, COLUMN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def slices(positions, *, orientation=(*ROW, *COLUMN), spacing=(0.8, 0.7), size=(6, 5, 1)) -> list[Slice]:
    return [
        Slice(i, 0, f"{i}.dcm", size, tuple(map(float, position)), tuple(orientation), spacing, 9.0)
        for i, position in enumerate(positions)
    ]


def at(*places: float) -> list[Slice]:
    return slices([(0, 0, z) for z in places])


def fault(found: list[Slice], modality: str = "CT") -> str:
    with pytest.raises(InputError) as caught:
        stack(found, modality)
    return caught.value.code


@pytest.mark.parametrize(
    ("places", "code"),
    [
        ((0, 5, 10, 20), "geometry.missing_slices"),
        ((0, 5, 15), "geometry.missing_slices"),
        ((0, 5, 10, 25, 30), "geometry.missing_slices"),
        ((0, 1, 3, 4, 6, 7), "geometry.missing_slices"),
        ((0, 5, 10, 17), "geometry.nonuniform_spacing"),
        ((0, 5, 10, 15, 15), "geometry.nonuniform_spacing"),
        ((0, 5, 10.4, 15), "geometry.nonuniform_spacing"),
        ((0, 0, 0, 0), "geometry.nonuniform_spacing"),
    ],
)
def test_irregular_stacks(places, code):
    assert fault(at(*places)) == code


def test_how_many_are_missing_is_said():
    with pytest.raises(InputError, match=r"2 slice\(s\) are missing") as caught:
        stack(at(0, 5, 10, 25, 30), "CT")
    assert "10" not in str(caught.value.expected)


def test_rounded_positions_are_regular():
    places = np.round(np.arange(60) * 0.625, 1)
    assert stack(at(*places), "CT").geometry.spacing_mm[0] == pytest.approx(0.625, abs=2e-3)


@pytest.mark.parametrize("step", [0.1, 0.5, 3.0])
def test_every_missing_interior_slice_is_noticed(step):
    for missing in range(1, 31):
        places = [z * step for z in range(32) if z != missing]
        assert fault(at(*places)) == "geometry.missing_slices"


def test_mixed():
    turned = slices([(0, 0, 5)], orientation=(*ROW, 0, 0, -1))
    assert fault(at(0, 10) + turned) == "geometry.mixed_orientation"
    assert fault(at(0, 10) + slices([(0, 0, 5)], size=(7, 5, 1))) == "geometry.mixed_orientation"
    assert fault(at(0, 10) + slices([(0, 0, 5)], spacing=(0.8, 0.9))) == "geometry.mixed_orientation"
    assert fault(slices([(0, 0, 0), (3, 0, 5), (0, 0, 10)])) == "geometry.mixed_orientation"


def test_gantry_tilt_is_sheared_back_and_said_and_rounding_is_not():
    for slope in (0.25, 0.01):
        found = stack(slices([(0, z * slope, z) for z in range(4)]), "CT")
        assert found.warnings == ("slices_sheared",)
        assert any("gantry tilt" in note for note in found.notes)
        assert found.geometry.direction[0] == (0, 0, 1)
        assert [found.regrid.positions[z] for z in range(4)] == [(0, z * slope, z) for z in range(4)]
    rounded = stack(slices([(0, z * 0.002, z) for z in range(4)]), "CT")
    assert rounded.geometry.shape == (4, 6, 5)
    assert rounded.regrid is None
    assert fault(slices([(0, z * 1.1, z) for z in range(4)])) == "geometry.gantry_tilt"


def test_uneven_slices_are_resampled_only_when_that_is_asked_for():
    for places in ((0, 5, 10, 17), (0, 5, 10.4, 15)):
        assert fault(at(*places)) == "geometry.nonuniform_spacing"
        found = stack(at(*places), "CT", "resample")
        assert found.warnings == ("slices_resampled",)
        assert found.geometry.shape[0] == 4
        assert found.geometry.to_lps(np.array([3.0, 0, 0]))[2] == pytest.approx(places[-1])
    for places, code in (
        ((0, 5, 10, 20), "geometry.missing_slices"),
        ((0, 5, 10, 15, 15), "geometry.nonuniform_spacing"),
        ((0, 5, 10, 15, 32), "geometry.nonuniform_spacing"),
    ):
        with pytest.raises(InputError) as caught:
            stack(at(*places), "CT", "resample")
        assert caught.value.code == code
    assert stack(at(0, 5, 10), "CT", "resample").regrid is None


def test_positions_count_where_the_header_disagrees():
    found = stack(at(0, 5, 10), "CT")
    assert found.geometry.spacing_mm[0] == 5
    assert any("5 mm apart, while its header states 9 mm" in note for note in found.notes)
    agreeing = [Slice(i, 0, "x", (6, 5, 1), (0.0, 0.0, 9.0 * i), (*ROW, *COLUMN), (0.8, 0.7), 9.0) for i in range(3)]
    assert stack(agreeing, "CT").notes == ()


def test_absent_or_malformed():
    assert fault(slices([(0, 0)])) == "geometry.invalid"
    assert fault(slices([(0, 0, 0)], orientation=ROW)) == "geometry.invalid"
    assert fault(slices([(0, 0, 0)], orientation=(1, 0, 0, 1, 0, 0))) == "geometry.invalid"
    assert fault(slices([(0, 0, 0)], spacing=(0.7, 0.0))) == "geometry.invalid"
    assert fault(slices([(0, 0, float("nan"))] * 2)) in ("geometry.invalid", "geometry.nonuniform_spacing")


def test_a_projection_needs_no_place_but_a_ct_does():
    lone = [Slice(0, 0, "x.dcm", (4, 4, 1), spacing=(0.2, 0.2))]
    assert stack(lone, "DX").geometry.spacing_mm == (1.0, 0.2, 0.2)
    assert "no place" in stack(lone, "DX").notes[0]
    assert fault(lone) == "geometry.invalid"


@settings(max_examples=80, deadline=None)
@given(
    rotation=st.tuples(*[st.floats(-3.2, 3.2)] * 3),
    step=st.floats(0.3, 10),
    shuffle=st.randoms(use_true_random=False),
)
def test_any_orientation_any_order(rotation, step, shuffle):
    """Every voxel lies where its own header puts it, whatever the orientation and the order of the files."""
    axes = Rotation.from_euler("xyz", rotation).as_matrix()
    row, column = axes[:, 0], axes[:, 1]
    normal = np.cross(row, column)
    given_slices = slices(
        [np.array([11, -7, 5]) + z * step * normal for z in range(5)], orientation=(*row, *column), spacing=(0.8, 0.7)
    )
    shuffle.shuffle(given_slices)
    found = stack(given_slices, "MR")
    for z, one in enumerate(found.slices):
        expected = np.array(one.position) + 3 * 0.8 * column + 2 * 0.7 * row
        assert np.allclose(found.geometry.to_lps(np.array([z, 3, 2])), expected, atol=1e-6)
    assert np.linalg.det(found.geometry.affine[:3, :3]) < 0  # z, y, x of a right-handed patient frame
