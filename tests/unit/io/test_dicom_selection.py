"""Exactly one series, or the reasons."""

from __future__ import annotations

import pytest

from segloop.errors import InputError
from segloop.io import dicom
from segloop.plan import SeriesRule

CT = SeriesRule(modalities=("CT",))


def test_the_only_fitting_series_is_chosen(make_series, tmp_path):
    make_series("a")
    make_series("b", SeriesInstanceUID="1.2.3.9", Modality="MR")
    selection = dicom.select(dicom.scan(tmp_path), CT)
    assert selection.chosen.series_uid == "1.2.3.4"
    ((series, reasons),) = selection.refused
    assert series.modality == "MR"
    assert reasons == ("its modality is MR, not CT",)
    assert selection.refused[0].sentence.endswith("its modality is MR, not CT.")


def test_two_fitting_series_are_ambiguous_unless_one_is_named(make_series, tmp_path):
    make_series("a")
    make_series("b", SeriesInstanceUID="1.2.3.9")
    found = dicom.scan(tmp_path)
    with pytest.raises(InputError) as caught:
        dicom.select(found, CT)
    assert caught.value.code == "input.ambiguous_series"
    assert sorted(caught.value.found) == ["1.2.3.4", "1.2.3.9"]
    selection = dicom.select(found, CT, "1.2.3.9")
    assert selection.chosen.series_uid == "1.2.3.9"
    assert selection.refused[0].reasons == ("another series was asked for",)


def test_a_named_series_must_exist_and_fit(make_series, tmp_path):
    make_series("a")
    make_series("b", SeriesInstanceUID="1.2.3.9", Modality="MR")
    found = dicom.scan(tmp_path)
    for uid, word in (("1.2.3.9", "modality is MR"), ("9.9", "1.2.3.4")):
        with pytest.raises(InputError) as caught:
            dicom.select(found, CT, uid)
        assert caught.value.code == "input.not_applicable"
        assert word in str(caught.value)


def test_the_fault_of_the_one_candidate_is_what_counts(make_series, tmp_path):
    make_series("a", places=(0, 2, 6))
    make_series("b", SeriesInstanceUID="1.2.3.9", Modality="MR")
    with pytest.raises(InputError) as caught:
        dicom.select(dicom.scan(tmp_path), CT)
    assert caught.value.code == "geometry.missing_slices"


def test_none_fits(make_series, tmp_path):
    make_series("a", Modality="MR")
    make_series("b", SeriesInstanceUID="1.2.3.9", Modality="PT")
    with pytest.raises(InputError) as caught:
        dicom.select(dicom.scan(tmp_path), CT)
    assert caught.value.code == "input.not_applicable"
    assert len(caught.value.found) == 2


def test_a_localizer_is_no_candidate(make_series):
    found = dicom.scan(make_series(places=(0,), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    with pytest.raises(InputError, match="localizer") as caught:
        dicom.select(found, CT)
    assert caught.value.code == "input.not_applicable"


def test_colour_needs_a_colour_model(make_series):
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsAllocated": 8}
    found = dicom.scan(make_series(places=(0,), **colour, BitsStored=8, HighBit=7, PixelData=bytes(90)))
    with pytest.raises(InputError, match="channel"):
        dicom.select(found, CT)
    assert dicom.select(found, SeriesRule(channels=3)).chosen.channels == 3


def test_each_rule_of_a_plan_names_its_own_refusal(make_series, tmp_path):
    """Four series of one study, of which one is the portal venous axial original."""
    make_series("a", ContrastBolusAgent="Iomeprol", BodyPartExamined="ABDOMEN", SliceThickness=2)
    make_series("b", SeriesInstanceUID="1.2.3.9", BodyPartExamined="ABDOMEN", SliceThickness=2)
    derived = {"ImageType": ["DERIVED", "SECONDARY", "MPR"], "ContrastBolusAgent": "Iomeprol", "SliceThickness": 2}
    make_series("c", SeriesInstanceUID="1.2.3.10", **derived)
    make_series(
        "d", SeriesInstanceUID="1.2.3.11", ContrastBolusAgent="Iomeprol", BodyPartExamined="HEAD", SliceThickness=5
    )
    rule = SeriesRule(
        modalities=("CT",),
        body_parts=("ABDOMEN",),
        contrast=True,
        original_only=True,
        slice_thickness_mm=(0.5, 3),
        planes=("axial",),
    )
    selection = dicom.select(dicom.scan(tmp_path), rule)
    assert selection.chosen.series_uid == "1.2.3.4"
    reasons = {refused.series.series_uid: refused.reasons for refused in selection.refused}
    assert reasons == {
        "1.2.3.9": ("it states no contrast agent",),
        "1.2.3.10": ("its images are derived from others",),
        "1.2.3.11": ("its body part is HEAD, not ABDOMEN", "its slices are 5 mm thick, outside 0.5 to 3 mm"),
    }
