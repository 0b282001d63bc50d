"""Datasets: folders to cases, facts about them, a Plan from the facts, and the feed that training reads from.

`augment` and `feed` load Keras and TensorFlow, so they are imported by their own names and not from here.
"""

from __future__ import annotations

from segloop.data.checks import Fault, check
from segloop.data.dataset import Case, Dataset, split
from segloop.data.fingerprint import Fingerprint, fingerprint
from segloop.data.planner import Budget, make_plan

__all__ = ["Budget", "Case", "Dataset", "Fault", "Fingerprint", "check", "fingerprint", "make_plan", "split"]
