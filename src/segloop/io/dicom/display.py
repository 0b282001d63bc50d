"""Values as a viewer shows them: the VOI LUT or window of a header."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from pydicom import Dataset
from pydicom.pixels.processing import apply_voi

from segloop.errors import InputError


def displayed(values: Float[np.ndarray, "y x"], dataset: Dataset) -> Float[np.ndarray, "y x"]:
    """Values from 0 (black) to 1 (white) by the header's first VOI LUT, else its first window.

    Args:
        values: Real values, after the modality LUT.
        dataset: The header, of a single-frame image.

    Raises:
        InputError: `input.no_window` when the header states neither.

    Source: DICOM PS3.3 C.11.2.1, VOI LUT.
    """
    table = dataset.get("VOILUTSequence")
    if table:
        top = 2 ** int(table[0].LUTDescriptor[2]) - 1
        return np.asarray(apply_voi(np.rint(values).astype(np.int64), dataset), np.float32) / np.float32(top)
    centres, widths = _numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth")
    if not centres or not widths or widths[0] <= 0:
        raise InputError(
            "The model looks at images as they are displayed, and a header states neither window nor VOI LUT.",
            code="input.no_window",
            expected="WindowCenter and WindowWidth, or a VOILUTSequence",
            hint="Export the image for presentation.",
        )
    return window(values, centres[0], widths[0], str(dataset.get("VOILUTFunction") or "LINEAR"))


def window(
    values: Float[np.ndarray, "y x"], centre: float, width: float, function: str = "LINEAR"
) -> Float[np.ndarray, "y x"]:
    """Values through a window, from 0 to 1.

    Args:
        values: Real values.
        centre: WindowCenter.
        width: WindowWidth, above 0.
        function: LINEAR, LINEAR_EXACT or SIGMOID.

    >>> window(np.array([0.0, 64.0, 128.0]), 64.5, 129).tolist()
    [0.0, 0.5, 1.0]

    Source: DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3.
    """
    if function == "SIGMOID":
        shown = 1 / (1 + np.exp(-4 * (values - centre) / width))
    elif function == "LINEAR_EXACT":
        shown = (values - centre) / width + 0.5
    else:
        shown = (values - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5
    return np.clip(shown, 0, 1).astype(np.float32)


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return [float(v) for v in value] if hasattr(value, "__iter__") else [float(value)]
