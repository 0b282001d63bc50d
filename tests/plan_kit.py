"""Made-up fingerprints for tests of the planner's rules."""

from __future__ import annotations

from typing import Any

from segloop.data import Fingerprint
from segloop.data.fingerprint import Intensity, LabelFingerprint
from segloop.data.terms import label_spec
from segloop.volume import Shape, Vector


def facts(
    shapes: tuple[Shape, ...] = ((36, 50, 35),),
    spacings: tuple[Vector, ...] = ((1.0, 1.0, 1.0),),
    *,
    names: tuple[str, ...] = ("blob",),
    modality: str = "MR",
    photographs: bool = False,
    channels: int = 1,
    intensity: dict[str, float] | None = None,
    empty: float = 0.0,
    **label: Any,
) -> Fingerprint:
    """A fingerprint whose labels are all alike; `label` are fields of each, `intensity` of each channel."""
    about: dict[str, Any] = {"cases": 5, "share": 0.1, "most_components": 2, "median_ml": 3.0, **label}
    values = {"mean": 60.0, "sd": 20.0, "low": -40.0, "median": 61.0, "high": 180.0, **(intensity or {})}
    return Fingerprint(
        name="Some-Set",
        modality=modality,
        channels=channels,
        dims=2 if all(s[0] == 1 for s in shapes) else 3,
        photographs=photographs,
        shapes=shapes,
        spacings_mm=spacings if len(spacings) == len(shapes) else spacings * len(shapes),
        intensities=(Intensity.model_validate(values),) * channels,
        labels=tuple(LabelFingerprint(spec=label_spec(i, n), **about) for i, n in enumerate(names, start=1)),
        empty=empty,
    )
