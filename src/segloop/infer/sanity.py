"""Does an explanation explain? Two questions that a map can fail.

A map that stays the same when the weights are drawn at random shows the image and not what the network learnt. And
what a map calls important must matter: taking it out of the image must cost the label more than taking out as much
elsewhere.

Source: Adebayo et al., Sanity Checks for Saliency Maps, arXiv 1810.03292; deletion as in Petsiuk et al., RISE,
arXiv 1806.07421.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field

from segloop.errors import InputError
from segloop.infer.bundle import Bundle
from segloop.infer.engine import prepared_for
from segloop.infer.explain import AUTO, Explainer
from segloop.plan import Frozen
from segloop.volume import Volume

_DELETED = 0.05
"""Share of the voxels that are taken out: those with most heat."""
_ELSEWHERE = 5
_LIKENESS = 0.5


class Sanity(Frozen):
    """How an explanation did.

    Attributes:
        likeness: Rank correlation between the map and the one of randomised weights, -1 to 1.
        deletion: Drop of the region's summed score when the hottest voxels, at most 5 %, are set to the mean.
        elsewhere: The same when as many voxels of the same shape are taken out elsewhere, the mean of five places.
        passed: The likeness is at most 0.5 and deletion costs more than elsewhere.
    """

    likeness: float = Field(ge=-1, le=1)
    deletion: float
    elsewhere: float
    passed: bool


def check_explanation(
    bundle: Bundle,
    volume: Volume,
    label: int,
    *,
    stage: str = AUTO,
    seed: int = 0,
    explainer: Explainer | None = None,
) -> Sanity:
    """Ask both questions of a model's explanation of one image.

    Args:
        bundle: The model.
        volume: An image in which it finds the label.
        label: Its number.
        stage: Of the map; `auto` takes the one that suits the label's size.
        seed: Of the random weights and places.
        explainer: Instead of the bundle's own.

    Raises:
        InputError: `explain.empty` when the model does not find the label.
    """
    from segloop.nets import build_unet, deploy

    ours = explainer or Explainer(bundle)
    array = prepared_for(bundle, volume).array
    inside = ours.found(array, label)
    if not inside.any():
        raise InputError(
            f"{bundle.manifest.name} finds no {bundle.plan.label_names.get(label, label)} in this image, so there is "
            "nothing to check.",
            code="explain.empty",
            found=0,
            expected="at least one voxel of the label",
            hint="Check on an image that shows the label.",
        )
    stage = ours.stage_for(inside) if stage == AUTO else stage
    heat = ours.heat(array, label, inside, stage)
    random = Explainer(bundle, deploy(build_unet(bundle.plan.network, seed=seed + 1)))
    likeness = _rank_correlation(heat, random.heat(array, label, inside, stage))
    # Of a map that is 0 nearly everywhere, no more than what is hot at all.
    hottest = (heat >= np.quantile(heat, 1 - _DELETED)) & (heat > heat.min())
    draw = np.random.default_rng(seed)
    moved = [_rolled(hottest, draw) for _ in range(_ELSEWHERE)]
    before = ours.score(array, label, inside)
    deletion = before - ours.score(_without(array, hottest), label, inside)
    elsewhere = before - float(np.mean([ours.score(_without(array, mask), label, inside) for mask in moved]))
    return Sanity(
        likeness=likeness,
        deletion=deletion,
        elsewhere=elsewhere,
        passed=likeness <= _LIKENESS and deletion > elsewhere,
    )


def _rank_correlation(a: Float[np.ndarray, "z y x"], b: Float[np.ndarray, "z y x"]) -> float:
    """Spearman's; 0 when a map is the same everywhere."""
    from scipy.stats import spearmanr

    if a.max() == a.min() or b.max() == b.min():
        return 0.0
    return float(np.clip(spearmanr(a.ravel(), b.ravel()).statistic, -1, 1))


def _rolled(mask: Bool[np.ndarray, "z y x"], draw: np.random.Generator) -> Bool[np.ndarray, "z y x"]:
    shift = tuple(int(draw.integers(n // 4, max(n // 4 + 1, n - n // 4))) for n in mask.shape)
    return np.asarray(np.roll(mask, shift, (0, 1, 2)))


def _without(array: Float[np.ndarray, "z y x c"], mask: Bool[np.ndarray, "z y x"]) -> Float[np.ndarray, "z y x c"]:
    changed = array.copy()
    changed[mask] = array.reshape(-1, array.shape[-1]).mean(axis=0)
    return changed
