from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from plan_kit import facts
from segloop.data import Budget, Dataset, Fingerprint, fingerprint, make_plan
from segloop.data.cost import FRAMEWORK_BYTES, step_bytes
from segloop.errors import PlanError
from segloop.io.rules import matches
from segloop.plan import Plan, TrainingSpec
from segloop.volume import Geometry

GIB = 2**30


def test_a_hippocampus_crop_gets_the_measured_network() -> None:
    plan = make_plan(facts())
    assert plan.training.patch == (32, 48, 32)
    assert plan.network.features == (16, 32, 64, 128)
    assert plan.network.divisor == (8, 8, 8)
    assert plan.inference.mode == "whole"
    assert plan.inference.mirror_axes == plan.training.augmentation.mirror_axes == (2,)


def test_what_is_seen_through_windows_is_not_seen_mirrored_unless_asked() -> None:
    plan = make_plan(facts(((400, 512, 512),)))
    assert (plan.inference.mode, plan.inference.mirror_axes) == ("window", ())
    assert plan.training.augmentation.mirror_axes


def test_the_shipped_hippocampus_model_would_be_planned_the_same_today(shared_data: Callable[[str], Path]) -> None:
    """All but the words, and what cross-validation chose later: temperature, thresholds and clean-up."""
    dataset = Dataset.load(shared_data("hippocampus"))
    today = make_plan(fingerprint(dataset), name="hippocampus-mr")
    shipped = Plan.load(Path(__file__).parents[3] / "src" / "segloop" / "bundles" / "hippocampus-mr" / "plan.json")
    for part in ("labels", "inputs", "preparation", "network", "training"):
        assert getattr(today, part) == getattr(shipped, part)
    chosen = {"temperature": 1.0, "logit_bias": ()}
    assert today.inference == shipped.inference.model_copy(update=chosen)


@pytest.mark.parametrize(
    ("name", "size", "extra", "kind"),
    [("chase-db1", 256, "cldice", "zscore"), ("isbi2012-em", 256, None, "zscore"), ("sarcoma-pet", None, None, "log")],
)
def test_real_data_sets_get_what_suits_them(
    name: str, size: int | None, extra: str | None, kind: str, shared_data: Callable[[str], Path]
) -> None:
    dataset = Dataset.load(shared_data(name))
    plan = make_plan(fingerprint(dataset.subset([case.id for case in dataset.cases[:: 4 if size else 1]])))
    assert plan.network.dims == (2 if size else 3)
    if size:
        assert plan.training.patch == (1, size, size)
    assert plan.training.loss.extra == extra
    assert plan.preparation.normalisation[0].kind == kind
    assert (plan.training.augmentation.low_resolution_probability > 0) == (name == "sarcoma-pet")
    assert plan.training.augmentation.bias_field_probability == 0


@st.composite
def tasks(draw: st.DrawFn) -> tuple[Fingerprint, Budget, Literal[2, None]]:
    """Any image, on any machine."""
    shape = draw(st.tuples(*[st.integers(1, 600)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.1, 10.0)] * 3))
    names = tuple(f"part {i}" for i in range(draw(st.integers(1, 8))))
    dims = draw(st.sampled_from([None, 2]))
    size = draw(st.sampled_from([None, 256, 512])) if dims == 2 or shape[0] == 1 else None
    budget = Budget(
        memory_bytes=int(draw(st.floats(0.3, 100)) * GIB), device=draw(st.sampled_from(["cpu", "gpu"])), size=size
    )
    return facts((shape,) * 3, (spacing,), channels=draw(st.integers(1, 4)), names=names), budget, dims


@settings(max_examples=50, deadline=None)
@given(tasks())
def test_any_image_gets_a_valid_plan_within_its_budget_or_is_told_the_smallest(
    task: tuple[Fingerprint, Budget, Literal[2, None]],
) -> None:
    about, budget, dims = task
    try:
        plan = make_plan(about, budget, dims=dims)
    except PlanError as fault:
        refusal = fault
        event("refused")
    else:
        refusal = None
        event(budget.device)
    if refusal is not None:
        assert (refusal.code, refusal.exit_status, refusal.found) == ("plan.memory", 3, budget.memory_bytes)
        assert refusal.expected > budget.memory_bytes
        budget = budget.model_copy(update={"memory_bytes": refusal.expected})
        plan = make_plan(about, budget, dims=dims)
    for stage in (plan, *([plan.coarse] if plan.coarse else [])):
        patch, batch = stage.training.patch, stage.training.batch
        assert FRAMEWORK_BYTES + step_bytes(stage.network, patch, batch) <= budget.memory_bytes
        assert all(p % d == 0 for p, d in zip(patch, stage.network.divisor, strict=True))
    if plan.coarse:
        event("cascade")
    if budget.size is not None:
        assert patch[1:] == (budget.size, budget.size)
    grid = Geometry(about.shapes[0], about.spacings_mm[0])
    fits = matches(plan.inputs, grid, "MR", channels=about.channels) == ()
    assert fits or grid.shape[0] < plan.inputs.min_slices
    assert Plan.parse(plan.model_dump(mode="json", by_alias=True)) == plan


def test_a_small_gpu_a_large_one_and_a_processor_get_clearly_different_plans() -> None:
    about = facts(((160, 320, 320),) * 40)
    processor = make_plan(about, Budget(memory_bytes=8 * GIB))
    small = make_plan(about, Budget(memory_bytes=4 * GIB, device="gpu"))
    large = make_plan(about, Budget(memory_bytes=80 * GIB, device="gpu"))
    assert (processor.network.features[0], small.network.features[0]) == (16, 32)
    assert (max(processor.network.features), max(small.network.features)) == (128, 320)
    assert (small.network.block, large.network.block) == ("plain", "residual")
    assert prod(large.training.patch) > 4 * prod(small.training.patch)
    assert large.training.batch >= small.training.batch


def test_a_smaller_budget_gives_a_smaller_patch_and_the_smallest_that_would_do_is_named() -> None:
    large = facts(((200, 400, 400),))
    wide, narrow = (make_plan(large, Budget(memory_bytes=n * GIB, device="gpu")).training.patch for n in (12, 2))
    assert prod(narrow) < prod(wide)
    with pytest.raises(PlanError, match="No plan fits 100 MiB") as caught:
        make_plan(large, Budget(memory_bytes=100 * 2**20))
    assert (caught.value.code, caught.value.exit_status) == ("plan.memory", 3)
    enough = caught.value.expected
    assert f"{enough // 2**20} MiB" in caught.value.message
    make_plan(large, Budget(memory_bytes=enough))
    with pytest.raises(PlanError):
        make_plan(large, Budget(memory_bytes=enough - 2**20))


def test_a_two_dimensional_plan_of_volumes_works_on_slices() -> None:
    plan = make_plan(facts(((60, 300, 280),)), Budget(size=128), dims=2)
    assert plan.training.patch == (1, 128, 128)
    assert plan.network.divisor[0] == 1
    with pytest.raises(PlanError, match="one slice"):
        make_plan(facts(((1, 64, 64),)), dims=3)
    with pytest.raises(PlanError, match="only 2-D"):
        make_plan(facts(((60, 300, 280),)), Budget(size=256))


def test_a_stack_of_three_slices_is_segmented_slice_by_slice() -> None:
    assert make_plan(facts(((3, 300, 280),))).network.dims == 2
    assert make_plan(facts(((3, 300, 280),)), dims=3).network.dims == 3


def test_large_squares_are_for_gpus_or_for_who_asks() -> None:
    photographs = facts(((1, 960, 999),) * 20, photographs=True, channels=3, modality="")
    assert make_plan(photographs).training.patch == (1, 256, 256)
    asked = make_plan(photographs, Budget(size=512))
    assert asked.training.patch == (1, 512, 512)
    assert asked.training.batch <= make_plan(photographs).training.batch
    assert make_plan(photographs, Budget(device="gpu", memory_bytes=16 * GIB)).training.patch == (1, 512, 512)


def test_small_steps_in_two_dimensions_are_for_processors_and_more_of_them() -> None:
    photographs = facts(((1, 960, 999),) * 20, photographs=True, channels=3, modality="")
    usual = TrainingSpec().epochs

    def work(budget: Budget) -> tuple[int, int]:
        training = make_plan(photographs, budget).training
        return training.batch, training.epochs

    assert work(Budget()) == (2, 4 * usual)
    # As much is seen as in eight squares of 256 pixels a step, never less.
    assert work(Budget(size=512))[1] == usual
    for memory in (2, 8, 16):
        assert work(Budget(device="gpu", memory_bytes=memory * GIB))[1] == usual
    assert any(f"{4 * usual} epochs" in reason for reason in make_plan(photographs).reasons)
    small = make_plan(photographs, Budget(device="gpu", memory_bytes=2 * GIB))
    assert not any("processor" in reason for reason in small.reasons)
    assert make_plan(facts(((60, 100, 100),))).training.epochs == usual


def test_photographs_keep_their_pixels_and_have_no_extent_rule() -> None:
    plan = make_plan(facts(((1, 960, 999),), photographs=True, channels=3, modality=""))
    assert plan.preparation.spacing_mm is None
    assert plan.inputs.spacing_mm is None
    assert plan.inputs.channels == 3


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


def test_a_low_resolution_plan_shows_a_quarter_of_the_image_in_one_patch() -> None:
    about = facts(((200, 512, 512),) * 10, ((1.5, 0.8, 0.8),))
    full, low = make_plan(about, variant="full"), make_plan(about, variant="low")
    assert prod(full.training.patch) < 0.25 * 200 * 512 * 512
    assert low.preparation.spacing_mm is not None
    voxels = prod(
        n * d / s for n, d, s in zip((200, 512, 512), (1.5, 0.8, 0.8), low.preparation.spacing_mm, strict=True)
    )
    assert prod(low.training.patch) / voxels > 0.24
    assert low.inputs == full.inputs
    with pytest.raises(PlanError, match="win nothing"):
        make_plan(facts(), variant="low")
    with pytest.raises(PlanError, match="win nothing"):
        make_plan(facts(((1, 64, 64),)), variant="low")


def test_where_a_patch_shows_little_of_the_image_a_cascade_is_planned() -> None:
    about = facts(((200, 512, 512),) * 10, ((1.5, 0.8, 0.8),), names=("liver", "lesion"), most_components=1)
    plan = make_plan(about)
    assert plan.post.steps
    assert plan.coarse is not None
    low = make_plan(about, variant="low")
    assert low.post.steps
    assert plan.coarse == low.changed({"post.steps": [], "reasons": list(plan.coarse.reasons)})
    assert plan.network.channels == plan.inputs.channels + 2
    assert plan.training.augmentation.doubt_probability > 0 == plan.coarse.training.augmentation.doubt_probability
    assert any("segments first" in reason for reason in plan.reasons)
    assert make_plan(about, variant="full").coarse is None
    assert make_plan(about, dims=2).coarse is None
    assert make_plan(facts(((60, 100, 100),))).coarse is None


def test_a_cascade_that_does_not_fit_is_left_out_and_said_so_but_not_where_it_was_asked_for() -> None:
    about = facts(((16, 16, 16),) * 5)
    with pytest.raises(PlanError) as caught:
        make_plan(about, Budget(memory_bytes=2**20))
    tight = Budget(memory_bytes=caught.value.expected)
    plan = make_plan(about, tight)
    assert plan.coarse is None
    assert any(reason.startswith("No cascade, although") for reason in plan.reasons)
    with pytest.raises(PlanError) as caught:
        make_plan(about, tight, variant="cascade")
    assert caught.value.code == "plan.memory"


def test_every_choice_is_explained_in_a_sentence_of_its_own() -> None:
    for about in (facts(), facts(((1, 900, 900),), photographs=True, channels=3), facts(((30, 512, 512),))):
        for budget in (Budget(), Budget(device="gpu")):
            reasons = make_plan(about, budget).reasons
            for word in (
                "network",
                "Patch",
                "Batch",
                "Depth",
                "Width",
                "Cost",
                "irror",
                "Augmentation",
                "Loss",
                "Infer",
            ):
                assert any(word in reason for reason in reasons), word
            assert all(reason.endswith(".") and len(reason) > 20 for reason in reasons)
