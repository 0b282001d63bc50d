"""Pictures of truth and prediction show the right place, the right way round."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segloop.errors import GeometryMismatch
from segloop.plan import LabelSpec
from segloop.train.pictures import (
    PREDICTION,
    TRUTH,
    close_up,
    comparison,
    predicted_labels,
    to_small_png,
    training_geometry,
    training_labels,
    worst_voxel,
)
from segloop.train.scores import CaseScore, LabelScore, ScoredModel, Scores
from segloop.train.worst import worst_cases
from segloop.volume import Geometry, Labels, Volume
from training_kit import plan

SPEC = LabelSpec(value=1, name="ball")


def labels(shape: tuple[int, int, int], box: tuple[slice, slice, slice], value: int = 1, **geometry: object) -> Labels:
    array = np.zeros(shape, np.uint8)
    array[box] = value
    return Labels(array, Geometry(shape, **geometry), {1: "ball"})


def image(like: Labels) -> Volume:
    return Volume(np.random.default_rng(0).normal(100, 5, like.array.shape).astype(np.float32), like.geometry)


def places(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of a colour, the legend below left out."""
    found = np.argwhere((pixels == colour).all(-1))
    return found[found[:, 0] < len(pixels) - 70]


def test_both_contours_are_seen_and_the_patients_right_is_on_the_left() -> None:
    shape = (8, 40, 40)
    # Canonical axes run to head, back and left: a high x index is the patient's left, on the viewer's right.
    truth = labels(shape, (slice(2, 6), slice(10, 20), slice(25, 38)))
    guess = labels(shape, (slice(2, 6), slice(10, 20), slice(2, 12)))
    pixels = comparison(image(truth), truth, guess)
    axial = pixels[:, : 10 + 288]
    assert places(axial, TRUTH)[:, 1].min() > 150
    assert places(axial, PREDICTION)[:, 1].max() < 150
    assert places(axial, TRUTH)[:, 0].max() < 10 + 288 / 2 + 10  # towards the front, which is up


@pytest.mark.parametrize("direction", [((0, 0, 1), (0, 1, 0), (1, 0, 0)), ((0, 0, -1), (0, -1, 0), (-1, 0, 0))])
def test_the_planes_pass_through_the_voxel_asked_for_whatever_the_axes(direction: tuple) -> None:
    shape = (6, 24, 24)
    truth = labels(shape, (slice(4, 5), slice(3, 6), slice(3, 6)), direction=direction)
    empty = labels(shape, (slice(0), slice(0), slice(0)), direction=direction)
    elsewhere = comparison(image(truth), truth, empty, at=(1, 20, 20))
    there = comparison(image(truth), truth, empty, at=(4, 4, 4))
    assert not len(places(elsewhere, TRUTH))
    assert len(places(there, TRUTH))


def test_where_both_agree_both_are_seen() -> None:
    truth = labels((4, 32, 32), (slice(1, 3), slice(8, 24), slice(8, 24)))
    pixels = comparison(image(truth), truth, truth)
    assert len(places(pixels, TRUTH)) > 100
    assert len(places(pixels, PREDICTION)) > 100


def test_other_grids_are_refused() -> None:
    truth = labels((4, 8, 8), (slice(1, 2),) * 3)
    with pytest.raises(GeometryMismatch):
        comparison(image(truth), truth, labels((4, 8, 9), (slice(1, 2),) * 3))


@given(st.tuples(*[st.integers(3, 12)] * 3), st.tuples(*[st.floats(0.5, 4)] * 3), st.data())
def test_a_close_up_keeps_every_label_in_its_place(shape: tuple, spacing: tuple, data: st.DataObject) -> None:
    at = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    box = tuple(slice(i, i + 1) for i in at)
    truth, guess = labels(shape, box, spacing_mm=spacing), labels(shape, box, spacing_mm=spacing)
    volume, cut, _ = close_up(image(truth), truth, guess)
    assert cut.array.sum() == 1
    inside = np.argwhere(cut.array)[0]
    np.testing.assert_allclose(cut.geometry.to_lps(inside), truth.geometry.to_lps(np.array(at)), atol=1e-6)
    assert volume.array[tuple(inside)] == image(truth).array[at]


def test_a_close_up_leaves_out_what_is_far() -> None:
    truth = labels((90, 100, 110), (slice(40, 50),) * 3)
    volume, _, _ = close_up(image(truth), truth, truth)
    assert volume.geometry.shape == (60, 60, 60)


def test_the_worst_voxel_lies_in_the_middle_of_the_thickest_error() -> None:
    truth = labels((20, 20, 20), (slice(2, 7),) * 3)
    array = truth.array.copy()
    array[15, 15, 5:19] = 1  # long, but one voxel thick
    array[2:7, 2:7, 2:7] = 0
    guess = Labels(array, truth.geometry, truth.names)
    assert worst_voxel(truth, guess) == (4, 4, 4)
    assert worst_voxel(truth, truth) is None
    assert worst_voxel(truth, guess, label=2) is None


def test_a_picture_of_greys_and_lines_keeps_its_colours_and_becomes_small() -> None:
    truth = labels((4, 64, 64), (slice(1, 3), slice(8, 24), slice(8, 24)))
    pixels = comparison(image(truth), truth, truth)
    png = to_small_png(pixels)
    back = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert np.abs(back.astype(int) - pixels).max() <= 1
    np.testing.assert_array_equal((back == TRUTH).all(-1), (pixels == TRUTH).all(-1))
    plain = io.BytesIO()
    Image.fromarray(pixels).save(plain, "PNG", optimize=True)
    assert len(png) < 0.8 * len(plain.getvalue())


def test_colours_survive() -> None:
    photograph = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(to_small_png(photograph)))), photograph)


def test_classes_and_scores_become_the_labels_of_the_plan() -> None:
    odd = plan().changed({"labels.0.value": 7, "preparation.orientation": "LPS", "preparation.spacing_mm": [1, 2, 3]})
    classes = np.array([[[0, 1, 255]]], np.uint8)
    assert training_labels(odd, classes).array.tolist() == [[[0, 7, 0]]]
    scores = np.array([[[[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]]], np.float32)
    assert predicted_labels(odd, scores).array.tolist() == [[[0, 7, 7]]]
    geometry = training_geometry(odd, (4, 5, 6))
    assert (geometry.axis_codes, geometry.spacing_mm) == ("LPS", (1, 2, 3))


def test_the_worst_cases_are_drawn_worst_first() -> None:
    def case(name: str, dice: float | None) -> CaseScore:
        score = LabelScore(dice=dice, hd95_mm=2.0, surface_dice=None, volume_ml=1.0, reference_volume_ml=1.0)
        return CaseScore(id=name, labels={"1": score}, seconds=0.1)

    model = ScoredModel(name="m", version="1", digest="d", runtime="r", precision="p")
    cases = [case("good", 0.9), case("bad", 0.1), case("empty", None), case("so", 0.5)]
    scores = Scores.of(cases, (SPEC,), model=model, dataset="d", tolerance_mm=1.0)
    asked: list[str] = []

    def read(case_id: str) -> tuple[Volume, Labels, Labels]:
        asked.append(case_id)
        truth = labels((8, 20, 20), (slice(2, 6), slice(5, 15), slice(5, 15)))
        return image(truth), truth, labels((8, 20, 20), (slice(2, 6), slice(9, 19), slice(5, 15)))

    worst = worst_cases(scores, (SPEC,), read, count=2)
    assert [(w.case, w.label, w.dice) for w in worst] == [("bad", "ball", 0.1), ("so", "ball", 0.5)]
    assert asked == ["bad", "so"]
    assert Image.open(io.BytesIO(worst[0].picture.png)).size[0] > 300
