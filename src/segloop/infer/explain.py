"""Where a network looked: Seg-Grad-CAM through the sliding window, and how sure it is: the entropy of its answer.

Source: Vinogradova, Dibrov & Myers, Towards Interpretable Semantic Segmentation via Gradient-weighted Class Activation
Mapping, arXiv 2002.11434. For windows the score is the sum of the *blended* logits, so each window's gradient carries
the share that the window has in each voxel, and one weight per feature map counts in all windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import log, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from segloop.errors import InputError, ModelError
from segloop.infer.bundle import Bundle, load_network
from segloop.infer.engine import prepared_for
from segloop.infer.window import axis_profiles, network_shape, total_weights, windows
from segloop.plan import Plan
from segloop.prep import Chain
from segloop.prep.resample import axis_weights, centre_padding, resample
from segloop.volume import Labels, Shape, Volume

if TYPE_CHECKING:
    import keras

Map = Float[np.ndarray, "z y x"]
BOTTLENECK = "bottleneck"
AUTO = "auto"
"""The stage that suits what is explained: see `Explainer.stage_for`."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What made a label's score.

    Args:
        heat: 0 to 1 on the grid the image came on; 1 where the network's evidence for the label is strongest.
        label: Its number.
        stage: The features the map was made from.
        region_voxels: Voxels of the network's grid whose scores were explained.
        flat: No feature speaks for the label, so the map is 0 everywhere.
    """

    heat: Volume
    label: int
    stage: str
    region_voxels: int
    flat: bool


class Explainer:
    """A bundle made ready to explain itself; runs on TensorFlow.

    Args:
        bundle: A checked bundle with one network.
        network: Instead of the bundle's own: the same architecture with other weights, for a sanity check.

    Raises:
        ModelError: `runtime.unavailable` for an ensemble; `backend.mismatch`.
    """

    def __init__(self, bundle: Bundle, network: keras.Model | None = None) -> None:
        from segloop.infer.runtimes.tensorflow import require_backend

        require_backend()
        if bundle.manifest.members:
            raise ModelError(
                f"{bundle.manifest.name} is an ensemble of {len(bundle.manifest.members)} models; one is explained.",
                code="runtime.unavailable",
                found=len(bundle.manifest.members),
                expected=1,
                hint="Explain one of its members.",
            )
        self.bundle, self.plan = bundle, bundle.plan
        self.network = network or load_network(bundle)

    @property
    def stages(self) -> tuple[str, ...]:
        """`bottleneck`, and `decoder0` (full resolution), `decoder1` and so on."""
        return (BOTTLENECK, *(f"decoder{stage}" for stage in range(len(self.plan.network.features) - 1)))

    def __call__(self, volume: Volume, label: int, region: Labels | None = None, stage: str = AUTO) -> Explanation:
        """The evidence for a label.

        Args:
            volume: The image.
            label: Its number.
            region: Voxels (not 0) on the image's grid whose scores are explained; what the network calls `label` if
                None. Mirrored inference is left out.
            stage: One of `stages`; `auto` takes the one that suits the region's size.

        Raises:
            InputError: `usage` for an unknown label or stage; `explain.empty` when the region holds no voxel.
        """
        output = self._output(label)
        if stage not in (AUTO, *self.stages):
            raise InputError(
                f"There is no stage {stage!r}.",
                code="usage",
                found=stage,
                expected=[AUTO, *self.stages],
                hint=f"The stages of this network are {', '.join(self.stages)}.",
            )
        chain = Chain(self.plan)
        chain.require_applicable(volume)
        prepared = prepared_for(self.bundle, volume)
        tiles = Tiles(self.plan, prepared.array)
        inside = self._found(tiles, output) if region is None else chain.labels(region).array > 0
        if not inside.any():
            raise InputError(
                f"The region to explain is empty: the network finds no {self.plan.label_names.get(label, label)} here."
                if region is None
                else "The region to explain holds no voxel of the network's grid.",
                code="explain.empty",
                found=0,
                expected="at least one voxel",
                hint="Name a region, such as the whole image, or another label.",
            )
        stage = self.stage_for(inside) if stage == AUTO else stage
        heat = self._heat(tiles, output, inside, stage)
        top = float(heat.max())
        heat = heat / top if top > 0 else heat
        source = prepared.restore.values(heat)
        return Explanation(
            Volume(np.clip(source, 0, 1), volume.geometry), label, stage, int(inside.sum()), flat=top <= 0
        )

    def stage_for(self, inside: Bool[np.ndarray, "z y x"]) -> str:
        """The deepest stage that can still show where in a region the evidence lies.

        The bottleneck knows most about what a thing is, but a cell of it that is as large as the thing says nothing
        about where. So the deepest stage is taken of which a cell is at most half as wide as the region's largest
        connected part (of a slice, for a 2-D network), counted in voxels: 1/8 of its volume, 1/4 of its area.

        Args:
            inside: The region on the network's grid; at least one voxel.
        """
        from scipy import ndimage

        dims, strides = self.plan.network.dims, self.plan.network.strides
        near = ndimage.generate_binary_structure(3, 1)
        if dims == 2:
            near[[0, 2]] = False
        parts, _ = ndimage.label(inside, near)
        largest = np.bincount(parts[inside]).max()
        # `decoderN` has the resolution of stage N of the encoder, the bottleneck that of the last one.
        names = (*self.stages[1:], BOTTLENECK)
        cells = np.cumprod([prod(stride) for stride in strides])
        return next(
            (n for n, cell in zip(names[::-1], cells[::-1], strict=True) if cell * 2**dims <= largest), names[0]
        )

    def score(self, array: Float[np.ndarray, "z y x c"], label: int, inside: Bool[np.ndarray, "z y x"]) -> float:
        """Sum of the label's blended logits over a region of a prepared image."""
        return float(self._logits(Tiles(self.plan, array))[..., self._output(label)][inside].sum())

    def found(self, array: Float[np.ndarray, "z y x c"], label: int) -> Bool[np.ndarray, "z y x"]:
        """Voxels of a prepared image that the network gives to a label."""
        return self._found(Tiles(self.plan, array), self._output(label))

    def heat(
        self, array: Float[np.ndarray, "z y x c"], label: int, inside: Bool[np.ndarray, "z y x"], stage: str
    ) -> Map:
        """The map of a prepared image on the network's grid, not scaled."""
        return self._heat(Tiles(self.plan, array), self._output(label), inside, stage)

    def _output(self, label: int) -> int:
        values = [region.paints for region in self.plan.regions] or [0, *(spec.value for spec in self.plan.labels)]
        if label not in values or label == 0:
            raise InputError(
                f"{self.plan.name} has no label {label}.",
                code="usage",
                found=label,
                expected={str(k): v for k, v in self.plan.label_names.items()},
            )
        return values.index(label)

    def _found(self, tiles: Tiles, output: int) -> Bool[np.ndarray, "z y x"]:
        logits = self._logits(tiles)
        chosen: np.ndarray = logits[..., output] > 0 if self.plan.regions else logits.argmax(-1) == output
        return chosen

    def _logits(self, tiles: Tiles) -> Float[np.ndarray, "z y x k"]:
        total = np.zeros((*tiles.shape, self.plan.network.classes), np.float32)
        for place, share in tiles:
            part = np.asarray(self.network([tiles.batch(place)], training=False))
            total[place] += tiles.block(part) * share[..., None]
        return tiles.cropped(total)

    def _heat(self, tiles: Tiles, output: int, inside: Bool[np.ndarray, "z y x"], stage: str) -> Map:
        evidence = _evidence(self.network, stage)
        wanted = tiles.padded(inside.astype(np.float32))
        weights: np.ndarray | None = None
        positions = 0
        for place, share in tiles:
            _, gradient = evidence(tiles.batch(place), tiles.as_batch(wanted[place] * share), output)
            sums = gradient.reshape(-1, gradient.shape[-1]).sum(axis=0, dtype=np.float64)
            weights = sums if weights is None else weights + sums
            positions += prod(gradient.shape[:-1])
        assert weights is not None  # every image has a window
        weights = (weights / positions).astype(np.float32)
        total = np.zeros(tiles.shape, np.float32)
        nothing = np.zeros((), np.float32)
        for place, share in tiles:
            features, _ = evidence(tiles.batch(place), tiles.as_batch(wanted[place] * nothing), output)
            total[place] += _enlarged(np.maximum(features @ weights, 0), share.shape, tiles.flat) * share
        return tiles.cropped(total)


class Tiles:
    """The windows an image passes through the network in, each with its share of every voxel it covers.

    Args:
        plan: Windows and their weights.
        array: A prepared image.
    """

    def __init__(self, plan: Plan, array: Float[np.ndarray, "z y x c"]) -> None:
        spec, self.flat = plan.inference, plan.network.dims == 2
        patch: Shape = (1, *spec.patch[1:]) if self.flat else spec.patch
        shape = network_shape(array.shape[:3], plan.network.divisor, patch)
        self.shape: Shape = (array.shape[0], *shape[1:]) if self.flat else shape
        self._own: Shape = (array.shape[0], array.shape[1], array.shape[2])
        self._padding = centre_padding(self._own, self.shape)
        self._array = np.pad(array, [*self._padding, (0, 0)])
        at_once = prod(self.shape[1:] if self.flat else self.shape)
        if spec.mode == "whole" and at_once <= spec.whole_voxels:
            patch = self.shape
        self._patch: Shape = (1, *patch[1:]) if self.flat else patch
        self._profiles = axis_profiles(self._patch, spec.sigma)
        self._sums = total_weights(self.shape, self._patch, spec.overlap, spec.sigma)
        self._overlap = spec.overlap

    def __iter__(self) -> Iterator[tuple[tuple[slice, slice, slice], Map]]:
        """Each window's place and its share of the blended value at each voxel; shares add up to 1."""
        # Windows of a 2-D network are one slice thick, so slices never overlap.
        for start in windows(self.shape, self._patch, self._overlap):
            place = tuple(slice(a, a + n) for a, n in zip(start, self._patch, strict=True))
            z, y, x = (
                profile / total[at] for profile, total, at in zip(self._profiles, self._sums, place, strict=True)
            )
            yield (place[0], place[1], place[2]), np.asarray(z[:, None, None] * y[:, None] * x, np.float32)

    def batch(self, place: tuple[slice, slice, slice]) -> np.ndarray:
        """The window as the network takes it."""
        part = self._array[place]
        return part if self.flat else part[None]

    def as_batch(self, part: Map) -> np.ndarray:
        """Values of a window with the network's batch axis."""
        return part if self.flat else part[None]

    def block(self, batch: np.ndarray) -> np.ndarray:
        """The network's answer as a window (z, y, x, k)."""
        return batch if self.flat else batch[0]

    def padded(self, values: Map) -> Map:
        """Values of the image's size on the padded grid, 0 in the padding."""
        return np.pad(values, self._padding)

    def cropped(self, values: np.ndarray) -> np.ndarray:
        """Values on the padded grid without the padding."""
        place = tuple(slice(low, low + n) for (low, _), n in zip(self._padding, self._own, strict=True))
        return values[place]


def entropy_map(probabilities: Float[np.ndarray, "z y x k"], *, regions: bool = False) -> Float[np.ndarray, "z y x"]:
    """How undecided the network is at each voxel, 0 to 1.

    Args:
        probabilities: Of exclusive classes, or of overlapping regions.
        regions: The largest of the regions' own entropies instead of the one over classes.
    """
    p = np.clip(probabilities.astype(np.float32), 1e-7, 1 - 1e-7)
    if regions:
        return np.asarray((-(p * np.log(p) + (1 - p) * np.log(1 - p)) / log(2)).max(axis=-1), np.float32)
    return np.asarray(-(p * np.log(p)).sum(axis=-1) / log(p.shape[-1]), np.float32)


Evidence = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def _evidence(network: keras.Model, stage: str) -> Evidence:
    """(batch, weight of each voxel, output) to the stage's features and the weighted score's gradient there."""
    import keras
    import tensorflow as tf

    tapped = keras.Model(network.inputs, [_features(network, stage), network.outputs[0]])

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def run(batch: Any, weight: Any, output: Any) -> Any:
        with tf.GradientTape() as tape:
            features, logits = tapped([batch], training=False)
            score = tf.reduce_sum(tf.gather(logits, output, axis=-1) * weight)
        return features, tape.gradient(score, features)

    def evidence(batch: np.ndarray, weight: np.ndarray, output: int) -> tuple[np.ndarray, np.ndarray]:
        features, gradient = run(tf.constant(batch), tf.constant(weight), tf.constant(output))
        return np.asarray(features, np.float32), np.asarray(gradient, np.float32)

    return evidence


def _features(network: keras.Model, stage: str) -> Any:
    """What the stage hands on: the input of the layer that follows it."""
    if stage == "decoder0":
        return network.get_layer("logits0").input
    ups = sum(1 for layer in network.layers if layer.name.startswith("up") and layer.name[2:].isdigit())
    return network.get_layer(f"up{ups - 1 if stage == BOTTLENECK else int(stage[7:]) - 1}").input


def _enlarged(features: np.ndarray, shape: Shape, flat: bool) -> Map:
    """One value per feature cell to one per voxel, linear between the middles of cells."""
    coarse = features if flat else features[0]
    matrices = []
    for n_in, n_out in zip(coarse.shape, shape, strict=True):
        scale = n_in / n_out
        offset = (n_in - 1) / 2 - scale * (n_out - 1) / 2
        matrices.append(None if n_in == n_out else axis_weights(n_in, n_out, scale, offset))
    return resample(coarse, (matrices[0], matrices[1], matrices[2]))
