"""Cases in memory to batches of training patches, as one `tf.data` graph.

Images are decoded and prepared once, by the same `Chain` that inference uses, and kept as one flat array. A batch
then is a few gathers from it: choosing cases, places and transforms happens in the graph, so no Python and no lock
stands in the way of the training step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from segloop.data.augment import Augment, Pool, uniform
from segloop.plan import Plan, Size

if TYPE_CHECKING:
    import tensorflow as tf

_PLACES_PER_LABEL = 4096
_STREAM_PLACE = 7
_AHEAD = 2


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One case on the training grid.

    Args:
        id: The case.
        image: Prepared voxels (z, y, x, channel), float32.
        labels: Class of each voxel (z, y, x): 0 background, 1 the Plan's first label, and so on.
    """

    id: str
    image: Float[np.ndarray, "z y x c"]
    labels: UInt8[np.ndarray, "z y x"]


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """All training cases, flat, with places where each label can be found.

    Args:
        images: Voxels of all cases in C order, (voxels, channels).
        labels: Their classes, (voxels,).
        offsets: First voxel of each case, (cases,).
        shapes: Size of each case, (cases, 3).
        places: Voxel indices (z, y, x) that carry a label, (places, 3); at most 4096 a label and case.
        first: Where in `places` those of case i and its j-th label that occurs begin, (cases, classes - 1).
        count: How many there are, (cases, classes - 1); unused columns hold 0.
        kinds: Number of labels that occur in each case, (cases,).
    """

    images: Float[np.ndarray, "voxels c"]
    labels: UInt8[np.ndarray, "*voxels"]
    offsets: np.ndarray
    shapes: np.ndarray
    places: np.ndarray
    first: np.ndarray
    count: np.ndarray
    kinds: np.ndarray

    @classmethod
    def of(cls, examples: Sequence[Example], classes: int) -> Memory:
        """The cases side by side.

        Args:
            examples: At least one case.
            classes: Background included.
        """
        draw = np.random.default_rng(0)
        first = np.zeros((len(examples), classes - 1), np.int32)
        count, kinds = np.zeros_like(first), np.zeros(len(examples), np.int32)
        places: list[np.ndarray] = [np.zeros((1, 3), np.int32)]
        total = 1
        for row, example in enumerate(examples):
            for label in range(1, classes):
                found = np.flatnonzero(example.labels == label)
                if not len(found):
                    continue
                if len(found) > _PLACES_PER_LABEL:
                    found = draw.choice(found, _PLACES_PER_LABEL, replace=False)
                places.append(np.stack(np.unravel_index(found, example.labels.shape), -1).astype(np.int32))
                first[row, kinds[row]], count[row, kinds[row]] = total, len(found)
                kinds[row] += 1
                total += len(found)
        sizes = [example.labels.size for example in examples]
        return cls(
            np.concatenate([e.image.reshape(-1, e.image.shape[-1]) for e in examples]).astype(np.float32, copy=False),
            np.concatenate([e.labels.ravel() for e in examples]),
            np.cumsum([0, *sizes[:-1]]).astype(np.int32),
            np.asarray([e.labels.shape for e in examples], np.int32),
            np.concatenate(places),
            first,
            count,
            kinds,
        )


def training_feed(
    examples: Sequence[Example], plan: Plan, seed: int, *, start: int = 0, copies: int = 1
) -> tf.data.Dataset:
    """Endless batches (image, targets) of augmented patches.

    Every case is seen once before any is seen again. `training.foreground_fraction` of the patches are centred on a
    voxel of a random label (as far as the patch stays on the image), the others lie anywhere on it. An image smaller
    than the patch is surrounded by 0. Batch n depends on `seed` and n alone, so a resumed run goes on where it stopped.

    Args:
        examples: At least one case; all are held in memory, once.
        plan: Patch, batch and transforms.
        seed: Of every random choice.
        start: Number of the first batch.
        copies: How many times the labels are repeated in `targets`, one for each output under deep supervision.

    Returns:
        Image (b, z, y, x, c) float32 and a tuple of `copies` times labels (b, z, y, x) uint8; no z in 2-D.
    """
    import tensorflow as tf

    spec, classes = plan.training, plan.network.classes
    memory = _on_cpu(tf, Memory.of(examples, classes))
    pool = Pool(memory["images"], memory["labels"], memory["offsets"], memory["shapes"])
    augment = Augment(spec.augmentation, spec.patch, plan.preparation.spacing_mm or (1.0, 1.0, 1.0), plan.network.dims)
    cases, base = len(examples), np.int64(seed) * 1_000_003

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def batch(number: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        key = tf.cast((base + number) % 2**31, tf.int32)
        case = tf.stack([_nth_case(tf, number * spec.batch + i, cases, seed) for i in range(spec.batch)])
        # Tensors captured by a traced function lose no shape here: the batch size is a Python number.
        case = tf.ensure_shape(case, (spec.batch,))
        centre = _centres(tf, memory, case, key, plan)
        image, labels = augment.sample(augment.draw(key, spec.batch), pool, case, centre)
        return image, (labels,) * copies

    numbers = tf.data.Dataset.counter(start=start)
    options = tf.data.Options()
    options.deterministic = True
    return numbers.map(batch, num_parallel_calls=_AHEAD).prefetch(_AHEAD).with_options(options)


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


def _nth_case(tf: Any, position: tf.Tensor, cases: int, seed: int) -> tf.Tensor:
    """The case at a position of an endless row of shuffled decks."""
    if cases == 1:
        return tf.zeros((), tf.int32)
    deck = tf.cast(position // cases, tf.int32)
    key = tf.stack([tf.constant(seed % 2**31, tf.int32), deck])
    place = tf.cast(position % cases, tf.int32)
    return tf.random.experimental.index_shuffle(place, key, tf.constant(cases - 1, tf.int32))


def _centres(tf: Any, memory: dict[str, tf.Tensor], case: tf.Tensor, key: tf.Tensor, plan: Plan) -> tf.Tensor:
    """Middle of each patch in voxels of its case, (b, 3) float32."""
    patch = tf.constant(plan.training.patch, tf.int32)
    u = uniform(key, _STREAM_PLACE, (case.shape[0], 6))
    shape = tf.gather(memory["shapes"], case)
    kinds = tf.gather(memory["kinds"], case)
    kind = tf.minimum(tf.cast(u[:, 0] * tf.cast(kinds, tf.float32), tf.int32), tf.maximum(kinds - 1, 0))
    first = tf.gather_nd(memory["first"], tf.stack([case, kind], -1))
    count = tf.gather_nd(memory["count"], tf.stack([case, kind], -1))
    chosen = tf.minimum(tf.cast(u[:, 1] * tf.cast(count, tf.float32), tf.int32), tf.maximum(count - 1, 0))
    around = tf.gather(memory["places"], first + chosen) - patch // 2
    # A smaller image lies in the middle of its padding, the odd voxel after it, as `Chain` and inference pad.
    low, high = -(tf.maximum(patch - shape, 0) // 2), tf.maximum(shape - patch, 0)
    high = tf.where(shape < patch, low, high)
    anywhere = low + tf.cast(u[:, 3:6] * tf.cast(high - low + 1, tf.float32), tf.int32)
    focused = tf.logical_and(u[:, 2] < plan.training.foreground_fraction, kinds > 0)
    start = tf.where(focused[:, None], tf.clip_by_value(around, low, high), tf.minimum(anywhere, high))
    return tf.cast(start, tf.float32) + tf.cast(patch - 1, tf.float32) / 2


def _on_cpu(tf: Any, memory: Memory) -> dict[str, tf.Tensor]:
    names: Iterable[str] = ("images", "labels", "offsets", "shapes", "places", "first", "count", "kinds")
    with tf.device("/CPU:0"):
        return {name: tf.constant(getattr(memory, name)) for name in names}


def _central(example: Example, patch: Size) -> tuple[np.ndarray, np.ndarray]:
    found = np.argwhere(example.labels)
    shape = np.asarray(example.labels.shape)
    middle = (found.min(0) + found.max(0) + 1) // 2 if len(found) else shape // 2
    size = np.asarray(patch)
    low = -(np.maximum(size - shape, 0) // 2)
    start = np.clip(middle - size // 2, low, np.where(shape < size, low, shape - size))
    image = np.zeros((*patch, example.image.shape[-1]), np.float32)
    labels = np.zeros(patch, np.uint8)
    source = tuple(slice(max(a, 0), min(a + n, s)) for a, n, s in zip(start, patch, shape, strict=True))
    target = tuple(slice(s.start - a, s.stop - a) for s, a in zip(source, start, strict=True))
    image[target], labels[target] = example.image[source], example.labels[source]
    return image, labels


__all__ = ["Example", "Memory", "training_feed", "validation_feed"]
