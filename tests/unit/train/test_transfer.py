"""What one model takes over from another, and what the report says of it."""

from __future__ import annotations

import keras
import numpy as np

import tiny_models
from segloop.nets import build_unet, deploy
from segloop.plan import NetworkSpec, Plan, with_network
from segloop.train.transfer import Origin, TransferReport, origin_of, transfer


def _start(plan: Plan, dims: int = 3, channels: int = 1) -> tuple[keras.Model, keras.Model, TransferReport]:
    """The model after the transfer, one like it before, and the report."""
    model, before = build_unet(plan.network, seed=8), build_unet(plan.network, seed=8)
    report = transfer(model, plan, tiny_models.bundle(dims, channels))
    _consistent(model, before, report)
    return model, before, report


def _consistent(model: keras.Model, before: keras.Model, report: TransferReport) -> None:
    """One entry for each variable, and exactly the fresh ones are what they were."""
    outcomes = {e.path: e.outcome for e in report.entries}
    assert set(outcomes) == {v.path for v in model.weights}
    for ours, old in zip(model.weights, before.weights, strict=True):
        if outcomes[ours.path] == "fresh":
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(old))


def _how(report: TransferReport, path: str) -> tuple[str, str]:
    return next((e.outcome, e.how) for e in report.entries if e.path == path)


def _weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {v.path: np.asarray(v) for v in model.weights}


def test_the_same_network_takes_everything() -> None:
    model, _, report = _start(tiny_models.plan())
    found = tiny_models.bundle().weights()
    for path, value in _weights(deploy(model)).items():
        np.testing.assert_array_equal(value, found[path])
    assert report.share == 1
    assert not report.unused
    assert not report.notes


def test_labels_are_matched_by_name_and_new_ones_start_fresh() -> None:
    labels = [{"value": 3, "name": "Five"}, {"value": 1, "name": "one"}, {"value": 2, "name": "new"}]
    plan = _relabelled(labels)
    model, before, report = _start(plan)
    found, ours, old = tiny_models.bundle().weights(), _weights(model), _weights(before)
    for name in ("logits0/kernel", "logits0/bias"):
        # The bundle's outputs are background, one, five.
        np.testing.assert_array_equal(ours[name][..., [0, 1, 2]], found[name][..., [0, 2, 1]])
        np.testing.assert_array_equal(ours[name][..., 3], old[name][..., 3])
        assert _how(report, name) == ("adapted", "labels by name: background, five, one; fresh: new")


def test_without_a_common_label_the_logits_start_fresh() -> None:
    _, _, report = _start(_relabelled([{"value": 1, "name": "other"}]))
    assert _how(report, "logits0/kernel") == ("fresh", "no label in common")
    assert _how(report, "up0_0_conv/kernel") == ("taken", "")


def _relabelled(labels: list[dict[str, object]]) -> Plan:
    document = tiny_models.plan().model_dump(mode="json", by_alias=True)
    document["labels"] = labels
    document["network"]["classes"] = len(labels) + 1
    return Plan.parse(document)


def test_another_number_of_channels_answers_alike_where_channels_are_alike() -> None:
    model, _, report = _start(tiny_models.plan(2, 1), 2, 3)
    assert _how(report, "down0_0_conv/kernel")[0] == "adapted"
    grey = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype(np.float32)
    colour = build_unet(tiny_models.plan(2, 3).network)
    transfer(colour, tiny_models.plan(2, 3), tiny_models.bundle(2, 3))
    np.testing.assert_allclose(np.asarray(model(grey)), np.asarray(colour(np.repeat(grey, 3, -1))), atol=1e-4)

    kernel = _weights(model)["down0_0_conv/kernel"]
    two = tiny_models.plan(2, 3)
    wide = build_unet(two.network.model_copy(update={"channels": 2}))
    plan = two.changed({"network.channels": 2, "inputs.channels": 2})
    transfer(wide, plan, tiny_models.bundle(2, 3))
    np.testing.assert_allclose(_weights(wide)["down0_0_conv/kernel"].sum(-2, keepdims=True), kernel, atol=1e-5)


def test_a_deeper_network_takes_the_stages_that_both_have() -> None:
    spec = NetworkSpec(
        classes=3,
        features=(4, 8, 16),
        kernels=((3, 3, 3),) * 3,
        strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)),
        convolutions=1,
        deep_supervision=2,
    )
    _, _, report = _start(with_network(tiny_models.plan(), spec, "deeper"))
    assert _how(report, "down1_0_conv/kernel") == ("taken", "")
    assert _how(report, "up0/kernel") == ("taken", "")
    assert _how(report, "down2_0_conv/kernel") == ("fresh", "the source has none")
    assert _how(report, "logits1/kernel") == ("fresh", "the source has none")


def test_other_features_start_fresh_together_with_what_belongs_to_them() -> None:
    network = tiny_models.plan().network.model_copy(update={"features": (4, 6)})
    _, _, report = _start(with_network(tiny_models.plan(), network, "narrower"))
    assert _how(report, "down1_0_conv/kernel") == ("fresh", "shape 3×3×3×4×6, the source has 3×3×3×4×8")
    assert _how(report, "down1_0_norm/gamma")[0] == "fresh"
    assert _how(report, "up0/bias") == ("fresh", "its convolution starts fresh")
    assert _how(report, "down0_0_norm/gamma") == ("taken", "")
    assert "down1_0_conv/kernel" in report.unused


def test_nothing_goes_from_two_to_three_dimensions() -> None:
    plan = tiny_models.plan(3, 1)
    _, _, report = _start(plan, 2, 3)
    assert report.share == 0
    assert {e.how for e in report.entries} == {"the source is 2-D, this network 3-D"}
    assert set(report.unused) == set(tiny_models.bundle(2, 3).weights())


def test_overlapping_regions_do_not_take_logits_that_exclude_each_other() -> None:
    document = tiny_models.plan().model_dump(mode="json", by_alias=True)
    document["regions"] = [{"name": "one", "labels": [1], "paints": 1}, {"name": "all", "labels": [1, 5], "paints": 5}]
    document["network"]["classes"] = 2
    _, _, report = _start(Plan.parse(document))
    assert _how(report, "logits0/kernel")[0] == "fresh"
    assert "overlap" in _how(report, "logits0/kernel")[1]


def test_a_preparation_of_another_kind_is_told() -> None:
    plan = tiny_models.plan(preparation__spacing_mm=[2.0, 1.0, 1.0], preparation__normalisation=[{"kind": "zscore"}])
    _, _, report = _start(plan)
    assert len(report.notes) == 2
    assert "1 × 1 × 1 mm" in report.notes[0]
    assert "zscore" in report.notes[1]


def test_the_table_has_a_row_for_each_part_with_all_its_numbers() -> None:
    model, _, report = _start(_relabelled([{"value": 1, "name": "one"}]))
    rows = report.rows()
    assert [row[0] for row in rows] == ["down0", "down1", "up0", "logits0"]
    assert sum(sum(row[1:4]) for row in rows) == model.count_params()
    assert TransferReport.model_validate_json(report.to_json()) == report


def test_licence_and_images_of_the_source_come_along() -> None:
    origin = origin_of(tiny_models.bundle())
    assert origin.name == "tiny 1.0"
    assert origin.words == f"tiny 1.0 {tiny_models.bundle().digest}"
    assert origin.training_images == {"tiny/a": "0" * 64}
    assert origin.training_voxels == {"tiny/a": "1" * 64}
    own = Origin(name="x 1", digest="sha256:0", licence="CC-BY-4.0")
    assert own.licence_with("CC-BY-SA-4.0") == "CC-BY-SA-4.0; weights began from x 1: CC-BY-4.0"
    assert own.licence_with("") == "not stated; weights began from x 1: CC-BY-4.0"
