"""The closed loop of medical image segmentation.

    from pathlib import Path

    import segloop as sl

    volume = sl.read(Path("image.nii.gz"))
    prediction = sl.Segmenter(sl.Registry().load("hippocampus-mr"))(volume)
    sl.write(prediction.labels, Path("mask.nii.gz"))

Names are loaded when they are first used: importing segloop loads neither TensorFlow nor OpenVINO.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segloop.data import Dataset, fingerprint, make_plan
    from segloop.errors import SegloopError
    from segloop.infer import Bundle, Prediction, Segmenter
    from segloop.io.files import read, read_labels, write
    from segloop.measure import Measurement, measure_labels
    from segloop.plan import Plan
    from segloop.registry import Registry
    from segloop.study import StudyTask
    from segloop.train import fit
    from segloop.train.evaluation import evaluate
    from segloop.volume import Geometry, Labels, Volume
    from segloop.workflow import StudyResult, process_study

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "Dataset",
    "Geometry",
    "Labels",
    "Measurement",
    "Plan",
    "Prediction",
    "Registry",
    "SegloopError",
    "Segmenter",
    "StudyResult",
    "StudyTask",
    "Volume",
    "__version__",
    "evaluate",
    "fingerprint",
    "fit",
    "make_plan",
    "measure_labels",
    "process_study",
    "read",
    "read_labels",
    "write",
]

_HOMES = {
    "Bundle": "infer",
    "Dataset": "data",
    "Geometry": "volume",
    "Labels": "volume",
    "Measurement": "measure",
    "Plan": "plan",
    "Prediction": "infer",
    "Registry": "registry",
    "Segmenter": "infer",
    "SegloopError": "errors",
    "StudyResult": "workflow",
    "StudyTask": "study",
    "Volume": "volume",
    "evaluate": "train.evaluation",
    "fingerprint": "data",
    "fit": "train",
    "make_plan": "data",
    "measure_labels": "measure",
    "process_study": "workflow",
    "read": "io.files",
    "read_labels": "io.files",
    "write": "io.files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'segloop' has no attribute {name!r}")
    return getattr(import_module(f"segloop.{_HOMES[name]}"), name)
