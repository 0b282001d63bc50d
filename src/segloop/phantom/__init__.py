"""A CT abdomen phantom whose volumes are known from formulas: to try things, to accept work, to train on."""

from segloop.phantom.anatomy import VARIED, Contrast
from segloop.phantom.render import LABELS, Phantom, Scan, TrueVolume, Visit, generate
from segloop.phantom.study import write_study
from segloop.phantom.training import write_dataset

__all__ = [
    "LABELS",
    "VARIED",
    "Contrast",
    "Phantom",
    "Scan",
    "TrueVolume",
    "Visit",
    "generate",
    "write_dataset",
    "write_study",
]
