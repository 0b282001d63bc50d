"""The whole way from raw voxels to labels as TensorFlow operations, so that an artefact needs nothing of this package.

Each function does what its namesake in `prep` and `infer` does with NumPy, on tensors whose sizes are known only when
the graph runs. `tests/conformance/test_artefacts.py` holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from segloop.infer.mirror import LATERAL, exchanged, exchanged_inputs
from segloop.infer.window import axis_profiles
from segloop.plan import Normalisation, Plan
from segloop.prep.resample import SAME_SPACING
from segloop.prep.values import LEAST_RANGE

Tensor = Any
"""TensorFlow ships no types."""

Network = Callable[[Tensor], Tensor]
"""Batch to logits."""

_PATIENT = "LPS", "RAI"
_ORDERS = np.asarray(list(permutations(range(3))), np.int32)
_ORTHOGONALITY = 5e-3
# Slices that pass through a 2-D network, or through the way back, together.
_SLICES = 8
_BINS = 256


class Turn(NamedTuple):
    """A permutation and flips of array axes, both (3,), known when the graph runs."""

    permutation: Tensor
    flips: Tensor


class Axis(NamedTuple):
    """One axis of two grids with a common centre: sizes, and source spacing over target spacing in float64."""

    source: Tensor
    target: Tensor
    scale: Tensor


def require_geometry(voxels: Tensor, spacing_mm: Tensor, direction: Tensor) -> list[Tensor]:
    """Assertions that fail the request: finite voxels, positive spacing, perpendicular unit axes."""
    product = tf.matmul(direction, direction, transpose_b=True)
    deviation = tf.reduce_max(tf.abs(product - tf.eye(3, dtype=tf.float64)))
    return [
        tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(voxels)), ["voxels hold NaN or infinity"]),
        tf.debugging.Assert(
            tf.reduce_all(tf.math.is_finite(spacing_mm)) & tf.reduce_all(spacing_mm > 0),
            ["spacing_mm needs three positive numbers; found", spacing_mm],
        ),
        tf.debugging.Assert(
            deviation <= _ORTHOGONALITY, ["direction needs three perpendicular unit rows (z, y, x); found", direction]
        ),
    ]


def require_applicable(plan: Plan, shape: Tensor, spacing_mm: Tensor, turn: Turn) -> list[Tensor]:
    """Assertions that fail a request whose spacing, slices or field of view the model was not made for."""
    rule, found = plan.inputs, []
    if rule.spacing_mm is not None:
        # A single slice has no measured distance to the next, so only its pixels count.
        pixels = tf.sort(spacing_mm[1:])
        ordered = tf.sort(spacing_mm)
        finest, coarsest = (tf.where(shape[0] > 1, ordered[i], pixels[i]) for i in (0, -1))
        for value, (low, high) in zip((finest, coarsest), rule.spacing_mm, strict=True):
            found.append(
                tf.debugging.Assert(
                    (value >= low) & (value <= high), [f"the model is for spacings of {low} to {high} mm; found", value]
                )
            )
    if rule.extent_mm is not None:
        extent = tf.gather(tf.cast(shape, tf.float64) * spacing_mm, turn.permutation)
        for axis, (low, high) in enumerate(rule.extent_mm):
            found.append(
                tf.debugging.Assert(
                    (extent[axis] >= low) & (extent[axis] <= high),
                    [
                        f"the model is for a field of view of {low} to {high} mm along {'zyx'[axis]}; found",
                        extent[axis],
                    ],
                )
            )
    found.append(
        tf.debugging.Assert(shape[0] >= rule.min_slices, [f"the model needs {rule.min_slices} slices; found", shape[0]])
    )
    return found


def turn_between(direction: Tensor, codes: str) -> Turn:
    """How to turn a grid so that its axes run closest to `codes`; `Reorientation.between`."""
    wanted = [(_PATIENT[0].find(c), 1) if c in _PATIENT[0] else (_PATIENT[1].find(c), -1) for c in codes]
    orders = tf.constant(_ORDERS)
    size = tf.abs(tf.gather(direction, orders, axis=1, batch_dims=0))  # (array axis, order, patient axis in order)
    agreement = tf.add_n([size[i, :, i] for i in range(3)])
    best = tf.gather(orders, tf.argmax(tf.round(agreement * 1e9), output_type=tf.int32))
    sign = tf.gather(direction, best, axis=1, batch_dims=1) >= 0
    permutation = tf.gather(tf.math.invert_permutation(best), tf.constant([axis for axis, _ in wanted]))
    positive = tf.constant([sign_ > 0 for _, sign_ in wanted])
    return Turn(permutation, tf.gather(sign, permutation) != positive)


def inverse(turn: Turn) -> Turn:
    """The turn that undoes `turn`."""
    back = tf.math.invert_permutation(turn.permutation)
    return Turn(back, tf.gather(turn.flips, back))


def turned(array: Tensor, turn: Turn) -> Tensor:
    """`array` (z, y, x, c) with its first three axes permuted and flipped."""
    moved = tf.transpose(array, tf.concat([turn.permutation, [3]], 0))
    for axis in range(3):
        # An index instead of `tf.reverse`, whose axes other converters want to know beforehand.
        index = tf.range(tf.shape(moved)[axis])
        moved = tf.gather(moved, tf.where(turn.flips[axis], tf.shape(moved)[axis] - 1 - index, index), axis=axis)
    return moved


def axes_between(plan: Plan, shape: Tensor, spacing_mm: Tensor) -> list[Axis]:
    """Source and network grid along each turned axis; `prep.resample.match`."""
    found = []
    for axis in range(3):
        n, own = shape[axis], spacing_mm[axis]
        wanted_mm = plan.preparation.spacing_mm
        if wanted_mm is None or (plan.network.dims == 2 and axis == 0):
            found.append(Axis(n, n, tf.constant(1.0, tf.float64)))
            continue
        wanted = tf.constant(wanted_mm[axis], tf.float64)
        same = tf.abs(own / wanted - 1) <= SAME_SPACING
        new = tf.maximum(1, tf.cast(tf.floor(tf.cast(n, tf.float64) * own / wanted + 0.5), tf.int32))
        found.append(
            Axis(n, tf.where(same, n, new), tf.where(same, tf.constant(1.0, tf.float64), wanted / own)),
        )
    return found


def axis_weights(n_in: Tensor, n_out: Tensor, scale: Tensor) -> Tensor:
    """The (n_out, n_in) float32 matrix of linear resampling about a common centre; `prep.resample.axis_weights`."""
    size_in, size_out = tf.cast(n_in, tf.float64), tf.cast(n_out, tf.float64)
    centre = (size_in - 1) / 2 - scale * (size_out - 1) / 2 + scale * tf.range(size_out, dtype=tf.float64)
    index = tf.range(size_in, dtype=tf.float64)

    def averaged() -> Tensor:
        half = tf.sqrt(tf.maximum(scale**2 - 1, 0)) / 2
        return _hat_integrals(n_in, centre + half) - _hat_integrals(n_in, centre - half)

    def pointwise() -> Tensor:
        position = tf.clip_by_value(centre, tf.zeros((), tf.float64), size_in - 1)
        return tf.maximum(tf.zeros((), tf.float64), 1 - tf.abs(position[:, None] - index[None]))

    matrix = tf.cond((n_in > 1) & (scale > 1), averaged, pointwise)
    return tf.cast(matrix / tf.reduce_sum(matrix, axis=1, keepdims=True), tf.float32)


def _hat_integrals(n: Tensor, end: Tensor) -> Tensor:
    t = end[:, None] - tf.range(tf.cast(n, tf.float64), dtype=tf.float64)
    zero, one = tf.zeros((), tf.float64), tf.ones((), tf.float64)
    rising, falling = tf.clip_by_value(t, -one, zero), tf.clip_by_value(t, zero, one)
    first = tf.minimum(t, zero) + falling - falling**2 / 2
    last = (rising + 1) ** 2 / 2 + tf.maximum(t, zero)
    column = tf.range(n)[None]
    inner = (rising + 1) ** 2 / 2 + falling - falling**2 / 2
    # Of a single sample both ends go on; the last rule wins there, as it does in NumPy.
    return tf.where(column == n - 1, last, tf.where(column == 0, first, inner))


def resampled(array: Tensor, matrices: list[Tensor], unchanged: list[Tensor]) -> Tensor:
    """`array` (z, y, x, c) moved along each axis by its matrix; an axis that is unchanged keeps its bits."""
    for axis in range(3):
        array = tf.cond(
            unchanged[axis],
            lambda array=array: array,
            lambda array=array, axis=axis: moved(array, matrices[axis], axis),
        )
    return array


def moved(array: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """`array` (z, y, x, c) with one axis multiplied by `matrix` (out, in), as one matrix product."""
    shape = tf.unstack(tf.shape(array))
    before, after = tf.reduce_prod(tf.stack([1, *shape[:axis]])), tf.reduce_prod(tf.stack(shape[axis + 1 :]))
    flat = tf.reshape(array, tf.stack([before, shape[axis], after]))
    return tf.reshape(tf.matmul(matrix, flat), tf.stack([*shape[:axis], tf.shape(matrix)[0], *shape[axis + 1 :]]))


def normalised(values: Tensor, rule: Normalisation) -> Tensor:
    """One channel as network input; `prep.values.normalise`."""
    if rule.kind in ("zscore", "body"):
        ordered = tf.sort(tf.reshape(values, [-1]))
        low, high = (_percentile(ordered, q) for q in rule.clip_percentiles)
        clipped = tf.clip_by_value(values, low, high)
        exact = tf.cast(clipped, tf.float64)
        counted = tf.cast(body(clipped), tf.float64) if rule.kind == "body" else tf.ones_like(exact)
        number = tf.reduce_sum(counted)
        mean = tf.reduce_sum(exact * counted) / number
        sd = tf.sqrt(tf.reduce_sum(tf.square(exact - mean) * counted) / number)
        flat = sd <= 1e-6 * tf.cast(tf.maximum(tf.abs(low), tf.abs(high)), tf.float64)
        scored = (clipped - tf.cast(mean, tf.float32)) / tf.cast(sd, tf.float32)
        return tf.where(flat, tf.zeros_like(clipped), scored)
    assert rule.window is not None  # the Plan has checked it
    low, high = rule.window
    clipped = tf.clip_by_value(values, low, high)
    if rule.kind == "log":
        clipped = tf.math.log1p(clipped)
    offset, divisor = (low, high - low) if rule.kind == "scale" else (rule.mean, rule.sd)
    return (clipped - np.float32(offset)) / np.float32(divisor)


def body(values: Tensor) -> Tensor:
    """True where a value belongs to the body and not to the air around it; `prep.values.body`."""
    low, high = tf.reduce_min(values), tf.reduce_max(values)
    bins = tf.cast(tf.minimum((values - low) * (np.float32(_BINS) / (high - low)), np.float32(_BINS - 1)), tf.int32)
    bins = tf.where(high - low >= LEAST_RANGE, bins, tf.zeros_like(bins))
    # Counted by a comparison a level, which every converter knows; a level is one pass over the image.
    count = tf.stack([tf.reduce_sum(tf.cast(bins == level, tf.int32)) for level in range(_BINS)])
    count = tf.cast(count, tf.float64)
    level = tf.range(_BINS, dtype=tf.float64) + 0.5
    dark, dark_sum = tf.cumsum(count)[:-1], tf.cumsum(count * level)[:-1]
    bright, bright_sum = tf.reduce_sum(count) - dark, tf.reduce_sum(count * level) - dark_sum
    likeness = dark_sum * tf.math.log(dark_sum / dark) + bright_sum * tf.math.log(bright_sum / bright)
    return (bins > tf.argmax(likeness, output_type=tf.int32)) | (high - low < LEAST_RANGE)


def _percentile(ordered: Tensor, q: float) -> Tensor:
    """NumPy's linear percentile of sorted values."""
    position = tf.cast(tf.size(ordered) - 1, tf.float64) * (q / 100)
    below = tf.floor(position)
    share = tf.cast(position - below, tf.float32)
    first = tf.cast(below, tf.int32)
    a, b = ordered[first], ordered[tf.minimum(first + 1, tf.size(ordered) - 1)]
    return a + (b - a) * share


def logits_of(plan: Plan, network: Network, array: Tensor, *, slabs: bool = True) -> Tensor:
    """Logits (z, y, x, k) of a prepared image (z, y, x, c); `infer.engine.run_network`.

    Args:
        plan: Windows and mirroring.
        network: Batches to logits.
        array: On the network's grid, not padded.
        slabs: A 2-D network takes some slices at a time instead of all.
    """
    flat = plan.network.dims == 2
    if not flat:
        run: Network = lambda part: network(part[None])[0]  # noqa: E731 - one of three forms of the same thing
    else:
        run = _slice_wise(network, plan.network.classes) if slabs else network
    axes = plan.inference.mirror_axes
    flips = [subset for count in range(len(axes) + 1) for subset in combinations(axes, count)]
    total = _once(plan, run, array)
    for subset in flips[1:]:
        image = tf.reverse(array, subset)
        if plan.coarse is not None and LATERAL in subset:
            image = tf.gather(image, exchanged_inputs(plan), axis=-1)
        logits = tf.reverse(_once(plan, run, image), subset)
        total += tf.gather(logits, exchanged(plan), axis=-1) if LATERAL in subset else logits
    return total / len(flips) if len(flips) > 1 else total


def _once(plan: Plan, run: Network, array: Tensor) -> Tensor:
    spec, flat = plan.inference, plan.network.dims == 2
    shape = tf.shape(array)[:3]
    divisor = tf.constant(plan.network.divisor)
    least = tf.constant((1, *spec.patch[1:]) if flat else spec.patch)
    padded_shape = tf.maximum(least, (shape + divisor - 1) // divisor * divisor)
    if flat:
        padded_shape = tf.concat([shape[:1], padded_shape[1:]], 0)
    missing = padded_shape - shape
    before = missing // 2
    padded = tf.pad(array, tf.concat([tf.stack([before, missing - before], 1), [[0, 0]]], 0))
    if spec.mode == "whole":
        at_once = tf.reduce_prod(padded_shape[1:] if flat else padded_shape)
        logits = tf.cond(
            at_once <= spec.whole_voxels, lambda: run(padded), lambda: _blended(plan, run, padded, padded_shape)
        )
    else:
        logits = _blended(plan, run, padded, padded_shape)
    return tf.slice(logits, tf.concat([before, [0]], 0), tf.concat([shape, [plan.network.classes]], 0))


def _slice_wise(network: Network, classes: int) -> Network:
    """A 2-D network over a stack of slices, a few at a time."""

    def run(stack: Tensor) -> Tensor:
        count = (tf.shape(stack)[0] + _SLICES - 1) // _SLICES
        found = tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=[None, None, None, classes])

        def step(i: Tensor, found: Any) -> tuple[Tensor, Any]:
            return i + 1, found.write(i, network(stack[i * _SLICES : (i + 1) * _SLICES]))

        _, found = tf.while_loop(lambda i, _: i < count, step, (0, found), parallel_iterations=1)
        return tf.ensure_shape(found.concat(), [None, None, None, classes])

    return run


def _starts(length: Tensor, window: int, overlap: float) -> Tensor:
    """First voxels of the windows along one axis, int32; `infer.window.window_starts`."""
    step = max(1, int(window * (1 - overlap)))
    room = length - window
    count = (room + step - 1) // step + 1
    even = tf.cast(tf.range(count) * room, tf.float64) / tf.cast(tf.maximum(count - 1, 1), tf.float64)
    return tf.cast(tf.round(even), tf.int32)


def _blended(plan: Plan, run: Network, padded: Tensor, shape: Tensor) -> Tensor:
    spec, classes, flat = plan.inference, plan.network.classes, plan.network.dims == 2
    height, width = (tf.constant(p) for p in axis_profiles(spec.patch, spec.sigma)[1:])
    # Slices of a 2-D plan do not overlap: one window takes them all.
    depth = tf.ones(shape[:1]) if flat else tf.constant(axis_profiles(spec.patch, spec.sigma)[0])
    patch = tf.concat([shape[:1], spec.patch[1:]], 0) if flat else tf.constant(spec.patch)
    weights = (depth[:, None, None] * height[:, None] * width)[..., None]
    starts = [tf.zeros(1, tf.int32) if flat else _starts(shape[0], spec.patch[0], spec.overlap)] + [
        _starts(shape[axis], spec.patch[axis], spec.overlap) for axis in (1, 2)
    ]
    places = tf.reshape(tf.stack(tf.meshgrid(*starts, indexing="ij"), -1), [-1, 3])
    z, y, x = (tf.range(patch[axis]) for axis in range(3))
    inside = (z[:, None, None] * shape[1] + y[:, None]) * shape[2] + x
    inside = tf.reshape(inside, [-1])

    def step(i: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        place = places[i]
        part = run(tf.slice(padded, tf.concat([place, [0]], 0), tf.concat([patch, [-1]], 0))) * weights
        first = (place[0] * shape[1] + place[1]) * shape[2] + place[2]
        return i + 1, tf.tensor_scatter_nd_add(total, (inside + first)[:, None], tf.reshape(part, [-1, classes]))

    total = tf.zeros(tf.stack([tf.reduce_prod(shape), classes]))
    _, total = tf.while_loop(lambda i, _: i < tf.shape(places)[0], step, (0, total), parallel_iterations=1)
    total = tf.reshape(total, tf.concat([shape, [classes]], 0))
    for axis, (profile, at) in enumerate(zip((depth, height, width), starts, strict=True)):
        sums = _summed(profile, at, shape[axis])
        total /= tf.reshape(sums, [-1 if i == axis else 1 for i in range(4)])
    return total


def _summed(profile: Tensor, starts: Tensor, length: Tensor) -> Tensor:
    """Sum of the weights of all windows at each place of an axis."""
    index = starts[:, None] + tf.range(tf.size(profile))
    values = tf.tile(profile[None], [tf.size(starts), 1])
    return tf.tensor_scatter_nd_add(tf.zeros(length[None]), tf.reshape(index, [-1, 1]), tf.reshape(values, [-1]))
