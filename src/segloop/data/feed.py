"""Prepared cases to batches of training patches, as one `tf.data` graph.

Images are decoded and prepared once, by the same `Chain` that inference uses, and kept as one flat array. A batch
then is a few gathers from it: choosing cases, places and transforms happens in the graph, so no Python and no lock
stands in the way of the training step. XLA compiles that graph for the processor when the first batch is made.

Cases that are too many for memory lie in a file instead (`data.shelf`). Then the surroundings of each patch are read
from there, and the same graph makes the same patches of them.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from jaxtyping import Float, Int, UInt8

from segloop.data.augment import Pool
from segloop.data.patches import Patches
from segloop.data.places import Places
from segloop.data.surroundings import Surroundings, surroundings
from segloop.plan import IGNORED, Plan, Size

if TYPE_CHECKING:
    import tensorflow as tf

_AHEAD, _MOST_AT_ONCE = 2, 8
# What batches in the making may take together where surroundings of patches are read from a file.
_MAKING_BYTES = 2**30
_Arrays = TypeVar("_Arrays", Pool, Places)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One case on the training grid.

    Args:
        id: The case.
        image: Prepared voxels (z, y, x, channel), float32.
        labels: Class of each voxel (z, y, x): 0 background, 1 the Plan's first label, and so on; `IGNORED` where it
            counts nowhere.
        voxels: Digest of the image that it was made from; see `data.digests`.
    """

    id: str
    image: Float[np.ndarray, "z y x c"]
    labels: UInt8[np.ndarray, "z y x"]
    voxels: str = ""


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
        examples: At least one case; held in memory, once, unless they are too many (`data.shelf`).
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

    patches = Patches(plan, seed, len(examples), share, apart=True)
    # One program makes its batch's patches one after the other, so many cores need several batches in the making.
    at_once = max(_AHEAD, min(_MOST_AT_ONCE, os.cpu_count() or 1))
    around = surroundings(examples, plan, patches.augment.reach)
    if around is None:
        make = _from_memory(tf, Memory.of(examples, plan), patches)
    else:
        make = _from_file(tf, around, Places.of(examples, plan), patches)
        first, end = patches.share
        at_once = max(1, min(at_once, _MAKING_BYTES // (around.bytes * (end - first))))

    def batch(number: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        image, labels = make(number)
        return image, (labels,) * copies

    numbers = tf.data.Dataset.counter(start=start)
    options = tf.data.Options()
    options.deterministic = True
    feed = numbers.map(batch, num_parallel_calls=at_once).prefetch(_AHEAD).with_options(options)
    # The file lives as long as the feed: TensorFlow keeps functions, and what they hold, as long as the process.
    feed.around = around
    return feed


_Make = Callable[["tf.Tensor"], tuple["tf.Tensor", "tf.Tensor"]]


def _from_memory(tf: Any, memory: Memory, patches: Patches) -> _Make:
    """The number of a batch to its images and labels, one compiled program over all cases."""
    pool, places = _quick(_on_cpu(tf, memory.pool)), _on_cpu(tf, memory.places)

    # By itself each operation would be one more pass over the patch, or a call for a handful of numbers.
    @tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def make(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return patches(number, pool, places)

    return cast("_Make", make)


def _from_file(tf: Any, around: Surroundings, places: Places, patches: Patches) -> _Make:
    """The same, of surroundings of patches that are read when they are wanted; does not keep them alive."""
    places, border, known = _on_cpu(tf, places), around.border, weakref.ref(around)
    sizes = (*around.shape, around.channels), around.shape, (3,)

    def read(case: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        source = known()
        if source is None:
            raise RuntimeError("the feed whose batches these are is gone")
        return source.read(case, centre)

    @tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def wanted(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return patches.wanted(number, places)

    @tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def made(number: tf.Tensor, images: tf.Tensor, labels: tf.Tensor, centre: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pool = _quick(Pool.framed(images, labels, border))
        return patches.made(number, pool, tf.range(images.shape[0], dtype=tf.int32), centre)

    def make(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        case, centre = wanted(number)
        arrays = tf.numpy_function(read, [case, centre], (tf.float32, tf.uint8, tf.float32), stateful=False)
        images, labels, inside = (
            tf.ensure_shape(array, (case.shape[0], *size)) for array, size in zip(arrays, sizes, strict=True)
        )
        return cast("tuple[tf.Tensor, tf.Tensor]", made(number, images, labels, inside))

    return make


def _quick(pool: Pool) -> Pool:
    """The pool with TensorFlow's own gather, and a cut that is not compiled anew for every place."""
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_dynamic_slice

    return replace(pool, read=tf.gather, cut=xla_dynamic_slice)


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
