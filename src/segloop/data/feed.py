"""Cases in memory to batches of training patches, as one `tf.data` graph.

Images are decoded and prepared once, by the same `Chain` that inference uses, and kept as one flat array. A batch
then is a few gathers from it: choosing cases, places and transforms happens in the graph, so no Python and no lock
stands in the way of the training step. XLA compiles that graph for the processor when the first batch is made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Float, Int, UInt8

from segloop.data.augment import Pool
from segloop.data.patches import Patches
from segloop.data.places import Places
from segloop.plan import IGNORED, Plan, Size

if TYPE_CHECKING:
    import tensorflow as tf

_AHEAD, _MOST_AT_ONCE = 2, 8
_Arrays = TypeVar("_Arrays", Pool, Places)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One case on the training grid.

    Args:
        id: The case.
        image: Prepared voxels (z, y, x, channel), float32.
        labels: Class of each voxel (z, y, x): 0 background, 1 the Plan's first label, and so on; `IGNORED` where it
            counts nowhere.
    """

    id: str
    image: Float[np.ndarray, "z y x c"]
    labels: UInt8[np.ndarray, "z y x"]


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """All training cases, flat, with places where each label can be found.

    Args:
        pool: Voxels and classes of all cases.
        places: Of each label or region.
    """

    pool: Pool
    places: Places

    @classmethod
    def of(cls, examples: Sequence[Example], plan: Plan) -> Memory:
        """The cases side by side, as NumPy arrays.

        Args:
            examples: At least one case.
            plan: Which labels or regions patches are centred on, and how often.
        """
        pool = Pool.of([e.image for e in examples], [e.labels for e in examples], plan.network.dims)
        return cls(pool, Places.of(examples, plan))


def training_feed(
    examples: Sequence[Example],
    plan: Plan,
    seed: int,
    *,
    start: int = 0,
    copies: int = 1,
    share: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """Endless batches (image, targets) of augmented patches.

    Every case has its turn once before any has it again. `training.foreground_fraction` of the patches are centred on
    a voxel of a label, or region, drawn by `training.label_shares` (as far as the patch stays on the image), the others
    lie anywhere. Where the case whose turn it is lacks the label drawn, another case that has it takes its place. An
    image smaller than the patch is surrounded by 0. Batch n depends on `seed` and n alone, so a resumed run goes on
    where it stopped.

    Args:
        examples: At least one case; all are held in memory, once.
        plan: Patch, batch and transforms.
        seed: Of every random choice.
        start: Number of the first batch.
        copies: How many times the labels are repeated in `targets`, one for each output under deep supervision.
        share: Which patches of each batch are made, as (first, end), where several workers make one batch together;
            None makes all.

    Returns:
        Image (b, z, y, x, c) float32 and a tuple of `copies` times labels (b, z, y, x) uint8; no z in 2-D.
    """
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_dynamic_slice

    memory = Memory.of(examples, plan)
    pool, places = _on_cpu(tf, memory.pool), _on_cpu(tf, memory.places)
    # TensorFlow's own slice would be compiled anew for every place.
    pool = replace(pool, read=tf.gather, cut=xla_dynamic_slice)
    patches = Patches(plan, seed, len(examples), share, apart=True)

    # By itself each operation would be one more pass over the patch, or a call for a handful of numbers.
    @tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def batch(number: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        image, labels = patches(number, pool, places)
        return image, (labels,) * copies

    numbers = tf.data.Dataset.counter(start=start)
    options = tf.data.Options()
    options.deterministic = True
    # One program makes its batch's patches one after the other, so many cores need several batches in the making.
    at_once = max(_AHEAD, min(_MOST_AT_ONCE, os.cpu_count() or 1))
    return numbers.map(batch, num_parallel_calls=at_once).prefetch(_AHEAD).with_options(options)


def validation_feed(examples: Sequence[Example], plan: Plan) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches (image, labels) that are the same each time: from every case the patch around the middle of its labels.

    A case without labels gives its own middle. The last batch may be smaller.
    """
    patches = [_central(example, plan.training.patch) for example in examples]
    size = plan.training.batch
    batches = []
    for i in range(0, len(patches), size):
        image, labels = (np.stack(part) for part in zip(*patches[i : i + size], strict=True))
        batches.append((image[:, 0], labels[:, 0]) if plan.network.dims == 2 else (image, labels))
    return batches


def _on_cpu(tf: Any, record: _Arrays) -> _Arrays:
    """The record with its NumPy arrays as tensors that captured graphs share."""
    with tf.device("/CPU:0"):
        arrays = {f.name: getattr(record, f.name) for f in fields(record)}
        return replace(record, **{n: tf.constant(a) for n, a in arrays.items() if isinstance(a, np.ndarray)})


def _central(example: Example, patch: Size) -> tuple[np.ndarray, np.ndarray]:
    found = np.argwhere((example.labels > 0) & (example.labels != IGNORED))
    shape = np.asarray(example.labels.shape)
    return crop(example, patch, (found.min(0) + found.max(0) + 1) // 2 if len(found) else shape // 2)


def crop(
    example: Example, patch: Size, middle: Int[np.ndarray, " 3"]
) -> tuple[Float[np.ndarray, "z y x c"], UInt8[np.ndarray, "z y x"]]:
    """Image and classes of the patch around a voxel, on the image as far as that is large enough."""
    shape, size = np.asarray(example.labels.shape), np.asarray(patch)
    low = -(np.maximum(size - shape, 0) // 2)
    start = np.clip(middle - size // 2, low, np.where(shape < size, low, shape - size))
    image = np.zeros((*patch, example.image.shape[-1]), np.float32)
    labels = np.zeros(patch, np.uint8)
    source = tuple(slice(max(a, 0), min(a + n, s)) for a, n, s in zip(start, patch, shape, strict=True))
    target = tuple(slice(s.start - a, s.stop - a) for s, a in zip(source, start, strict=True))
    image[target], labels[target] = example.image[source], example.labels[source]
    return image, labels


__all__ = ["Example", "Memory", "crop", "training_feed", "validation_feed"]
