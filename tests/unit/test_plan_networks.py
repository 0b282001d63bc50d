"""Another network in a plan: what it takes along, and what stays the data's."""

from __future__ import annotations

import pytest

import tiny_models
from segloop.errors import PlanError
from segloop.plan import ENCODER_FEATURES, NetworkSpec, imagenet_network, with_network


@pytest.mark.parametrize("encoder", list(ENCODER_FEATURES))
def test_an_encoder_goes_into_a_two_dimensional_plan(encoder):
    plan = tiny_models.plan(2, 1)
    found = with_network(plan, imagenet_network(encoder, channels=3, classes=9), "because")
    assert found.network.encoder == encoder
    assert found.network.divisor == (1, 32, 32)
    assert (found.network.channels, found.network.classes) == (1, 3)
    assert found.training.patch == found.inference.patch == (1, 32, 32)
    assert found.reasons[-1] == "because"
    assert found.network.encoder_input == "standardised"


def test_an_encoder_is_told_that_values_run_from_0_to_1():
    plan = tiny_models.plan(2, 1, preparation__normalisation=[{"kind": "scale", "window": [0, 255]}])
    found = with_network(plan, imagenet_network("resnet50", channels=1, classes=3), "x")
    assert found.network.encoder_input == "unit"
    with pytest.raises(PlanError, match="encoder_input"):
        found.changed({"preparation.normalisation": [{"kind": "zscore"}]})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"dims": 3}, "2-D"),
        ({"channels": 2}, "1 or 3 channels"),
        ({"strides": [[1, 1, 1], *[[1, 2, 2]] * 4, [1, 1, 1]]}, "strides"),
        ({"features": [4, 4, 4, 4, 4, 128]}, "2048"),
        ({"block": "residual"}, "blocks of its own"),
    ],
)
def test_what_an_encoder_fixes_is_named_when_it_is_otherwise(changes, named):
    spec = imagenet_network("resnet50", channels=1, classes=2)
    with pytest.raises(ValueError, match=named):
        NetworkSpec.model_validate({**spec.model_dump(), **changes})


def test_a_network_of_other_dimensions_or_channels_is_refused():
    with pytest.raises(PlanError, match="2-D network"):
        with_network(tiny_models.plan(3), tiny_models.plan(2).network, "x")
    with pytest.raises(PlanError, match="4 channels"):
        imagenet_network("resnet50", channels=4, classes=2)
