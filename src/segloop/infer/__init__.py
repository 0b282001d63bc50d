"""From a bundle and an image to labels.

Importing this loads neither TensorFlow nor OpenVINO: a runtime loads its own library when it is opened.
"""

from __future__ import annotations

from segloop.infer.bundle import Bundle, Manifest, load_network
from segloop.infer.engine import Prediction, Segmenter
from segloop.infer.ensemble import export_ensemble
from segloop.infer.export import export_bundle, reissue
from segloop.infer.runtimes import RUNTIMES, Choice, Runtime, choose, open_runtime
from segloop.infer.selftest import SelfTestResult, selftest
from segloop.infer.window import blend_weights, windows

__all__ = [
    "RUNTIMES",
    "Bundle",
    "Choice",
    "Manifest",
    "Prediction",
    "Runtime",
    "Segmenter",
    "SelfTestResult",
    "blend_weights",
    "choose",
    "export_bundle",
    "export_ensemble",
    "load_network",
    "open_runtime",
    "reissue",
    "selftest",
    "windows",
]
