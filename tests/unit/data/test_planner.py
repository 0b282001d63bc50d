from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segloop.data import Budget, Fingerprint, make_plan
from segloop.data.fingerprint import Intensity, LabelFingerprint
from segloop.data.network import activation_bytes, network
from segloop.data.rules import mirror_axes
from segloop.data.terms import label_spec
from segloop.errors import PlanError
from segloop.io.rules import matches
from segloop.volume import Geometry, Shape, Vector


def facts(
    shapes: tuple[Shape, ...] = ((36, 50, 35),),
    spacings: tuple[Vector, ...] = ((1.0, 1.0, 1.0),),
    *,
    names: tuple[str, ...] = ("blob",),
    modality: str = "MR",
    photographs: bool = False,
    components: int = 2,
    channels: int = 1,
) -> Fingerprint:
    labels = tuple(
        LabelFingerprint(spec=label_spec(i, n), cases=5, share=0.1, most_components=components, median_ml=3.0)
        for i, n in enumerate(names, start=1)
    )
    return Fingerprint(
        name="Some-Set",
        modality=modality,
        channels=channels,
        dims=2 if all(s[0] == 1 for s in shapes) else 3,
        photographs=photographs,
        shapes=shapes,
        spacings_mm=spacings,
        intensities=(Intensity(mean=60.0, sd=20.0, low=-40.0, median=61.0, high=180.0),) * channels,
        labels=labels,
    )


def test_a_hippocampus_crop_gets_the_measured_network() -> None:
    plan = make_plan(facts())
    assert plan.training.patch == (40, 56, 40)
    assert plan.network.features == (16, 32, 64, 128)
    assert plan.network.divisor == (8, 8, 8)
    assert plan.inference.mode == "whole"
    assert plan.reasons


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 400)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 8.0)] * 3),
    channels=st.integers(1, 4),
    dims=st.sampled_from([None, 2]),
)
def test_any_image_gets_a_valid_plan_within_its_budget(
    shape: Shape, spacing: Vector, channels: int, dims: int | None
) -> None:
    budget = Budget()
    plan = make_plan(facts((shape,), (spacing,), channels=channels), budget, dims=dims)  # type: ignore[arg-type]
    patch, batch = plan.training.patch, plan.training.batch
    assert batch * prod(patch) <= budget.step_voxels
    assert activation_bytes(plan.network, patch, batch) <= budget.memory_bytes
    assert all(p % d == 0 for p, d in zip(patch, plan.network.divisor, strict=True))
    assert (
        matches(plan.inputs, Geometry(shape, spacing), "MR", channels=channels) == ()
        or shape[0] < plan.inputs.min_slices
    )


def test_a_smaller_budget_gives_a_smaller_patch_and_the_smallest_is_refused() -> None:
    large = facts(((200, 400, 400),))
    wide, narrow = (make_plan(large, Budget(memory_bytes=n * 2**30)).training.patch for n in (8, 1))
    assert prod(narrow) < prod(wide)
    with pytest.raises(PlanError) as caught:
        make_plan(large, Budget(memory_bytes=2**18))
    assert caught.value.code == "plan.memory"


def test_a_coarse_axis_is_pooled_later_with_flat_kernels() -> None:
    spec = network((32, 160, 160), (5.0, 0.8, 0.8), 3, channels=1, classes=2)
    assert spec.strides[1] == (1, 2, 2)
    assert spec.kernels[0] == (1, 3, 3)
    assert spec.kernels[-1] == (3, 3, 3)


def test_a_two_dimensional_plan_of_volumes_works_on_slices() -> None:
    plan = make_plan(facts(((60, 300, 280),)), Budget(size=128), dims=2)
    assert plan.training.patch == (1, 128, 128)
    assert plan.network.divisor[0] == 1
    with pytest.raises(PlanError, match="one slice"):
        make_plan(facts(((1, 64, 64),)), dims=3)


def test_photographs_keep_their_pixels_and_have_no_extent_rule() -> None:
    plan = make_plan(facts(((1, 960, 999),), photographs=True, channels=3, modality=""))
    assert plan.preparation.spacing_mm is None
    assert plan.inputs.spacing_mm is None
    assert plan.inputs.channels == 3


@pytest.mark.parametrize(
    ("modality", "kind", "window"),
    [("CT", "window", (-40.0, 180.0)), ("PT", "window", (0.0, 180.0)), ("MR", "zscore", None)],
)
def test_values_follow_the_modality(modality: str, kind: str, window: tuple[float, float] | None) -> None:
    step = make_plan(facts(modality=modality)).preparation.normalisation[0]
    assert (step.kind, step.window) == (kind, window)


@pytest.mark.parametrize(
    ("names", "volume", "photograph"),
    [
        (("liver", "lesion"), (2,), (1, 2)),
        (("Anterior", "Posterior"), (2,), (1, 2)),
        (("kidney_left", "kidney_right"), (), (1,)),
        (("Niere rechts",), (), (1,)),
        (("左肾", "右肾"), (), (1,)),
        (("upper lobe", "leftover"), (2,), (1, 2)),
    ],
)
def test_only_left_and_right_of_a_body_are_mirrored_and_never_where_labels_tell_them_apart(
    names: tuple[str, ...], volume: tuple[int, ...], photograph: tuple[int, ...]
) -> None:
    assert mirror_axes(names)[0] == volume
    assert mirror_axes(names, photographs=True)[0] == photograph
    assert ("never mirrored" in mirror_axes(names)[1][0]) == (2 not in volume)


def test_a_label_in_one_part_everywhere_keeps_its_largest_part_and_a_counted_one_does_not() -> None:
    plan = make_plan(facts(names=("liver", "lesion"), components=1))
    assert [(step.label, step.largest_component) for step in plan.post.steps] == [(1, True)]
    assert make_plan(facts(names=("liver",), components=2)).post.steps == ()


def test_images_far_from_the_training_data_are_refused() -> None:
    rule = make_plan(facts(((31, 40, 24), (47, 59, 43)), ((1.0, 1.0, 1.0),) * 2)).inputs
    assert matches(rule, Geometry((40, 50, 34)), "MR") == ()
    brain = matches(rule, Geometry((22, 320, 280), (6.5, 0.6875, 0.6875)), "MR")
    assert any("spacing" in reason for reason in brain)
    assert any("covers" in reason for reason in brain)
    assert any("modality" in reason for reason in matches(rule, Geometry((40, 50, 34)), "CT"))


def test_the_median_spacing_is_finer_along_one_far_coarser_axis() -> None:
    spacings = ((3.0, 0.8, 0.8), (5.0, 0.8, 0.8), (6.0, 0.8, 0.8))
    plan = make_plan(facts(((30, 512, 512),) * 3, spacings))
    assert plan.preparation.spacing_mm is not None
    assert plan.preparation.spacing_mm[0] == pytest.approx(float(np.percentile([3.0, 5.0, 6.0], 10)))
