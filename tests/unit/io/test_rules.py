"""A rule gives one reason per thing that does not fit."""

from __future__ import annotations

import pytest

from segloop.io import rules
from segloop.plan import SeriesRule
from segloop.volume import Geometry

RULE = SeriesRule(
    modalities=("MR",),
    description_contains=("crop",),
    min_slices=10,
    spacing_mm=((0.6, 1.6), (0.6, 1.6)),
    extent_mm=((15, 95), (15, 95), (15, 95)),
)
CROP = Geometry((35, 50, 36))


def test_a_fitting_image_has_no_reason():
    assert rules.matches(RULE, CROP, "MR", "HippoCrop") == ()


def test_what_the_input_does_not_state_is_not_held_against_it():
    assert rules.matches(RULE, CROP) == ()
    assert rules.matches(RULE, None, "mr") == ()
    assert rules.matches(SeriesRule(), Geometry((1, 1, 1)), "CT", "anything") == ()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"modality": "CT"}, "modality is CT"),
        ({"description": ""}, "description"),
        ({"channels": 3}, "channel"),
        ({"geometry": Geometry((9, 50, 36), (2.0, 1.0, 1.0))}, "fewer than 10"),
        ({"geometry": Geometry((35, 50, 36), (1.0, 0.5, 1.0))}, "finest"),
        ({"geometry": Geometry((35, 50, 36), (2.0, 1.0, 1.0))}, "coarsest"),
        ({"geometry": Geometry((35, 50, 96))}, "side to side"),
        ({"geometry": Geometry((96, 50, 36))}, "head to foot"),
    ],
)
def test_each_reason_is_named(changes, word):
    given = {"geometry": CROP, "modality": "MR", "description": "HippoCrop", "channels": 1} | changes
    assert any(word in reason for reason in rules.matches(RULE, **given))


def test_extent_is_judged_in_the_patient_not_in_the_array():
    rule = SeriesRule(extent_mm=((0, 10), (0, 20), (0, 30)))
    sagittal = Geometry((30, 20, 10), direction=((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    assert rules.matches(rule, sagittal) == ()
    assert len(rules.matches(rule, Geometry((30, 20, 10)))) == 1


def test_the_ends_of_a_range_belong_to_it():
    rule = SeriesRule(spacing_mm=((1.0, 1.0), (1.0, 1.0)))
    assert rules.matches(rule, Geometry((5, 5, 5), (1.0000001, 0.9999999, 1.0))) == ()


def test_a_single_slice_has_no_spacing_along_z():
    rule = SeriesRule(spacing_mm=((0.5, 1.0), (0.5, 1.0)))
    assert rules.matches(rule, Geometry((1, 5, 5), (9.0, 1.0, 1.0))) == ()


@pytest.mark.parametrize(
    ("rule", "stated", "word"),
    [
        ({"body_parts": ("ABDOMEN", "LIVER")}, {"body_part": "CHEST"}, "body part is CHEST, not ABDOMEN or LIVER"),
        ({"contrast": True}, {"contrast": False}, "no contrast agent"),
        ({"contrast": False}, {"contrast": True}, "states a contrast agent"),
        ({"original_only": True}, {"derived": True}, "derived"),
        ({"slice_thickness_mm": (1, 3)}, {"slice_thickness_mm": 5.0}, "5 mm thick, outside 1 to 3 mm"),
    ],
)
def test_what_headers_state_is_judged_where_they_state_it(rule, stated, word):
    rule = SeriesRule(**rule)
    (reason,) = rules.matches(rule, CROP, stated=rules.Stated(**stated))
    assert word in reason
    assert rules.matches(rule, CROP) == ()


def test_headers_that_fit_or_say_nothing():
    stated = rules.Stated("abdomen", True, False, 2.0)
    rule = SeriesRule(body_parts=("Abdomen",), contrast=True, original_only=True, slice_thickness_mm=(1, 2))
    assert rules.matches(rule, CROP, stated=stated) == ()
    assert rules.matches(SeriesRule(body_parts=("ABDOMEN",)), CROP, stated=rules.Stated()) == ()
    assert rules.matches(SeriesRule(slice_thickness_mm=(1, 2)), CROP, stated=rules.Stated()) == ()
    assert rules.matches(SeriesRule(), CROP, stated=stated) == ()


def test_words_that_must_not_stand_in_a_description():
    rule = SeriesRule(description_contains=("t1",), description_excludes=("Post", "km"))
    assert rules.matches(rule, CROP, "MR", "T1 axial") == ()
    assert rules.matches(rule, CROP, "MR", "T1 KM axial") == ("its description 'T1 KM axial' contains 'km'",)


def test_the_plane_of_the_slices_and_their_number():
    sagittal = Geometry((30, 20, 10), direction=((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    assert rules.matches(SeriesRule(planes=("sagittal",)), sagittal) == ()
    assert rules.matches(SeriesRule(planes=("axial", "coronal")), sagittal) == (
        "its slices are sagittal, not axial or coronal",
    )
    assert rules.matches(SeriesRule(max_slices=29), sagittal) == ("it has 30 slices, more than 29",)
    assert rules.matches(SeriesRule(max_slices=30), sagittal) == ()
