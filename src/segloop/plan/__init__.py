"""The Plan: the one typed, versioned recipe of a model, from series selection to post-processing.

A Plan travels inside the Bundle, has a digest, and changes only by `Plan.changed`.
"""

from segloop.plan.learning import IGNORED, AugmentationSpec, LossSpec, Provenance, TrainingSpec
from segloop.plan.networks import imagenet_network, with_network
from segloop.plan.parts import (
    ENCODER_FEATURES,
    Code,
    Encoder,
    Frozen,
    LabelSpec,
    NetworkSpec,
    Normalisation,
    Plane,
    PreparationSpec,
    Range,
    ReadingSpec,
    SeriesRule,
    Size,
    Spacing,
    UnevenSlices,
)
from segloop.plan.recipe import SCHEMA, Plan, migrate
from segloop.plan.results import InferenceSpec, PostSpec, PostStep, Region
from segloop.volume import Vector

__all__ = [
    "ENCODER_FEATURES",
    "IGNORED",
    "SCHEMA",
    "AugmentationSpec",
    "Code",
    "Encoder",
    "Frozen",
    "InferenceSpec",
    "LabelSpec",
    "LossSpec",
    "NetworkSpec",
    "Normalisation",
    "Plan",
    "Plane",
    "PostSpec",
    "PostStep",
    "PreparationSpec",
    "Provenance",
    "Range",
    "ReadingSpec",
    "Region",
    "SeriesRule",
    "Size",
    "Spacing",
    "TrainingSpec",
    "UnevenSlices",
    "Vector",
    "imagenet_network",
    "migrate",
    "with_network",
]
