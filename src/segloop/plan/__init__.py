"""The Plan: the one typed, versioned recipe of a model, from series selection to post-processing.

A Plan travels inside the Bundle, has a digest, and changes only by `Plan.changed`.
"""

from segloop.plan.parts import (
    AugmentationSpec,
    Code,
    Frozen,
    InferenceSpec,
    LabelSpec,
    NetworkSpec,
    Normalisation,
    PostSpec,
    PostStep,
    PreparationSpec,
    Provenance,
    Range,
    SeriesRule,
    Size,
    Spacing,
    TrainingSpec,
)
from segloop.plan.recipe import SCHEMA, Plan, migrate
from segloop.volume import Vector

__all__ = [
    "SCHEMA",
    "AugmentationSpec",
    "Code",
    "Frozen",
    "InferenceSpec",
    "LabelSpec",
    "NetworkSpec",
    "Normalisation",
    "Plan",
    "PostSpec",
    "PostStep",
    "PreparationSpec",
    "Provenance",
    "Range",
    "SeriesRule",
    "Size",
    "Spacing",
    "TrainingSpec",
    "Vector",
    "migrate",
]
