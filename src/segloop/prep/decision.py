"""From scores to probabilities, and from these to labels: temperature, bias and painting order in one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from segloop.plan import Plan


@dataclass(frozen=True, slots=True)
class Decision:
    """How a network's scores become labels, one channel first for each of its outputs.

    Either the outputs exclude each other (background, then the labels): softmax, and the most probable one wins. Or
    each is a region of its own that may overlap with others: sigmoid, and what is more probable than not is painted, in
    the order of the regions.

    Scores are divided by `temperature` before they become probabilities. `bias` moves the decision alone: it is added
    to the logarithm of the odds, so that the threshold t of a region, or of a single label, is -log(t / (1 - t)).

    Args:
        values: Label number of each output; 0 for background. What a region paints.
        regions: The outputs are regions.
        temperature: Above 1 makes probabilities less certain.
        bias: Added to each label's or region's score, background having none; empty for none.
    """

    values: tuple[int, ...]
    regions: bool = False
    temperature: float = 1.0
    bias: tuple[float, ...] = ()

    @classmethod
    def of(cls, plan: Plan) -> Decision:
        """The Plan's."""
        values = [region.paints for region in plan.regions] or [0, *(label.value for label in plan.labels)]
        return cls(tuple(values), bool(plan.regions), plan.inference.temperature, plan.inference.logit_bias)

    @property
    def uncalibrated(self) -> Decision:
        """The same outputs without temperature and bias."""
        return Decision(self.values, self.regions)

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Of label maps: the smallest that holds every label number."""
        return np.uint8 if max(self.values) < 256 else np.uint16

    def probabilities(self, scores: Float[np.ndarray, "k z y x"]) -> Float[np.ndarray, "k z y x"]:
        """Calibrated probabilities, float32; `scores` is overwritten."""
        if self.temperature != 1:
            scores /= np.float32(self.temperature)
        if self.regions:
            # exp of a large negative number underflows to 0, of a large positive one is avoided by the sign.
            decayed = np.exp(-np.abs(scores))
            return np.asarray(np.where(scores >= 0, 1, decayed) / (1 + decayed), np.float32)
        scores -= scores.max(axis=0)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=0)
        return scores

    def scores(self, probabilities: Float[np.ndarray, "k z y x"]) -> Float[np.ndarray, "k z y x"]:
        """Scores that `probabilities` turns into these, float32; certainty is taken for 1 - 1e-7 and 1e-30."""
        likely = np.log(np.maximum(probabilities, np.float32(1e-30)))
        if self.regions:
            likely -= np.log(np.maximum(1 - probabilities, np.float32(1e-7)))
        return np.asarray(likely * np.float32(self.temperature), np.float32)

    def labels(self, probabilities: Float[np.ndarray, "k z y x"]) -> Shaped[np.ndarray, "z y x"]:
        """Label numbers by probability; a tie goes to the lower class, and a region needs more than its threshold.

        Args:
            probabilities: As `probabilities` gives them, or an average of such.
        """
        if self.regions:
            return self._painted([p > self._threshold(k) for k, p in enumerate(probabilities)])
        if self.bias:
            probabilities = probabilities * self._column(np.exp(np.asarray((0.0, *self.bias))), probabilities.ndim)
        return self._named(probabilities.argmax(axis=0))

    def from_scores(self, scores: Float[np.ndarray, "k z y x"]) -> Shaped[np.ndarray, "z y x"]:
        """What `labels(probabilities(scores))` gives, without the exponentials."""
        if self.regions:
            bias = self.bias or (0.0,) * len(self.values)
            return self._painted([s > np.float32(-b * self.temperature) for s, b in zip(scores, bias, strict=True)])
        if self.bias:
            scores = scores + self._column(self.temperature * np.asarray((0.0, *self.bias)), scores.ndim)
        return self._named(scores.argmax(axis=0))

    def _threshold(self, output: int) -> np.float32:
        return np.float32(1 / (1 + np.exp(self.bias[output] if self.bias else 0.0)))

    def _painted(self, masks: list[np.ndarray]) -> np.ndarray:
        painted = np.zeros(masks[0].shape, self.dtype)
        for value, mask in zip(self.values, masks, strict=True):
            painted[mask] = value
        return painted

    def _named(self, classes: np.ndarray) -> np.ndarray:
        named: np.ndarray = np.asarray(self.values, self.dtype)[classes]
        return named

    @staticmethod
    def _column(values: np.ndarray, dimensions: int) -> np.ndarray:
        return values.astype(np.float32).reshape(-1, *(1,) * (dimensions - 1))
