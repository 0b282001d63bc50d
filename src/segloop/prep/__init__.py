"""From a Volume to what a network sees, and the exact way back."""

from segloop.prep.chain import Chain, Prepared, Restore
from segloop.prep.decision import Decision
from segloop.prep.resample import axis_weights, match, resample

__all__ = ["Chain", "Decision", "Prepared", "Restore", "axis_weights", "match", "resample"]
