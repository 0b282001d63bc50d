from __future__ import annotations

import pytest

from plan_kit import facts
from segloop.data import make_plan
from segloop.data.rules import mirroring
from segloop.plan import Region


@pytest.mark.parametrize(
    ("modality", "kind", "window"),
    [("CT", "window", (-40.0, 180.0)), ("PT", "window", (0.0, 180.0)), ("MR", "zscore", None), ("", "zscore", None)],
)
def test_values_follow_the_modality(modality: str, kind: str, window: tuple[float, float] | None) -> None:
    step = make_plan(facts(modality=modality)).preparation.normalisation[0]
    assert (step.kind, step.window) == (kind, window)


def test_skewed_uptake_is_seen_through_its_logarithm() -> None:
    skewed = {"mean": 3.8, "sd": 3.7, "low": 0.2, "median": 2.5, "high": 20.0, "log_mean": 1.3, "log_sd": 0.7}
    plan = make_plan(facts(modality="PT", intensity=skewed))
    step = plan.preparation.normalisation[0]
    assert (step.kind, step.window, step.mean, step.sd) == ("log", (0.0, 20.0), 1.3, 0.7)
    assert any("logarithm" in reason for reason in plan.reasons)


@pytest.mark.parametrize(
    ("modality", "empty", "kind", "biased"),
    [("MR", 0.45, "body", True), ("MR", 0.05, "zscore", False), ("US", 0.45, "zscore", False)],
)
def test_an_mr_image_with_air_around_the_body_is_standardised_inside_it(
    modality: str, empty: float, kind: str, biased: bool
) -> None:
    plan = make_plan(facts(modality=modality, empty=empty))
    assert plan.preparation.normalisation[0].kind == kind
    assert any("45% of the median image is air" in reason for reason in plan.reasons) == biased
    assert (plan.training.augmentation.bias_field_probability > 0) == biased


@pytest.mark.parametrize(
    ("names", "volume", "photograph", "pairs"),
    [
        (("liver", "lesion"), (2,), (1, 2), ()),
        (("Anterior", "Posterior"), (2,), (1, 2), ()),
        (("upper lobe", "leftover"), (2,), (1, 2), ()),
        (("kidney_left", "kidney_right"), (2,), (1, 2), ((1, 2),)),
        (("Right lung", "heart", "Left lung"), (2,), (1, 2), ((3, 1),)),
        (("Niere links", "Niere rechts"), (2,), (1, 2), ((1, 2),)),
        (("左肾", "右肾", "肝脏"), (2,), (1, 2), ((1, 2),)),
        (("left", "right"), (2,), (1, 2), ((1, 2),)),
        (("Niere rechts",), (), (1,), ()),
        (("left kidney", "right kidney", "left adrenal"), (), (1,), ()),
        (("左肾", "右肺"), (), (1,), ()),
    ],
)
def test_x_is_mirrored_only_where_left_and_right_labels_can_change_places(
    names: tuple[str, ...],
    volume: tuple[int, ...],
    photograph: tuple[int, ...],
    pairs: tuple[tuple[int, int], ...],
) -> None:
    numbered = dict(enumerate(names, start=1))
    axes, swaps, reasons = mirroring(numbered)
    assert (axes, swaps) == (volume, pairs)
    assert mirroring(numbered, photographs=True)[:2] == (photograph, pairs)
    assert ("never mirrored" in reasons[0]) == (2 not in volume)
    plan = make_plan(facts(names=names))
    assert plan.training.augmentation.swap_labels == pairs
    assert plan.training.augmentation.mirror_axes == volume


def test_a_region_of_one_side_forbids_mirroring() -> None:
    names = {1: "left lung", 2: "right lung"}
    both = Region(name="lungs", labels=(1, 2), paints=1)
    left, right = (Region(name=name, labels=(number,), paints=number) for number, name in names.items())
    assert mirroring(names, (both, left, right))[0] == (2,)
    assert mirroring(names, (both, left))[:2] == ((), ())


def test_a_label_in_one_part_everywhere_keeps_its_largest_part_and_a_counted_one_does_not() -> None:
    plan = make_plan(facts(names=("liver", "lesion"), most_components=1))
    assert [(step.label, step.largest_component) for step in plan.post.steps] == [(1, True)]
    assert make_plan(facts(names=("liver",), most_components=2)).post.steps == ()


@pytest.mark.parametrize(
    ("width", "slenderness", "extra", "iterations"),
    [(6.0, 700.0, "cldice", 6), (2.0, 100.0, "cldice", 3), (20.0, 700.0, None, 3), (6.0, 5.0, None, 3)],
)
def test_thin_labels_are_trained_with_their_centre_lines(
    width: float, slenderness: float, extra: str | None, iterations: int
) -> None:
    plan = make_plan(facts(width=width, slenderness=slenderness))
    assert (plan.training.loss.extra, plan.training.loss.iterations) == (extra, iterations)
    assert any("centre-line" in reason for reason in plan.reasons) == (extra is not None)


@pytest.mark.parametrize(("share", "fraction"), [(0.1, 0.5), (2e-3, 0.5), (5e-4, 0.75), (0.0, 0.5)])
def test_tiny_labels_are_looked_for_more_often(share: float, fraction: float) -> None:
    assert make_plan(facts(share=share)).training.foreground_fraction == fraction


def test_low_resolution_is_simulated_where_voxel_sizes_vary_between_cases() -> None:
    shape, spacing = (60, 60, 60), (3.0, 4.0, 4.0)
    same = facts((shape,) * 10, (spacing,) * 10)
    varied = facts((shape,) * 10, (spacing, (3.0, 5.5, 5.5)) * 5)
    # One odd case in twenty is no reason.
    one = facts((shape,) * 20, (spacing,) * 19 + ((3.0, 8.0, 8.0),))
    probabilities = [make_plan(f).training.augmentation.low_resolution_probability for f in (same, varied, one)]
    assert probabilities == [0.0, 0.1, 0.0]
