"""Random variants of training patches: parameters are drawn first and applied after, so that a draw can be replayed.

Mirroring, rotation, scaling and elastic deformation become one set of coordinates, and image and mask are read at them
once: the image trilinear, the mask nearest. Everything is `keras.ops`, without hidden state, on any Keras backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil, radians

import numpy as np
from jaxtyping import Float
from keras import KerasTensor, ops

from segloop.plan import AugmentationSpec, Size
from segloop.volume import Vector

_NOISE_VALUES = 1 << 20


@dataclass(frozen=True, slots=True)
class Draw:
    """The parameters of one batch of b patches; applying it again gives the same patches.

    Attributes:
        matrix: Patch axes in the source, in voxels, (b, 3, 3): mirror, rotation and scale.
        elastic: Displacement at the control points, in voxels, (b, cz, cy, cx, 3).
        gamma: Exponent on values scaled to 0..1, (b,); 1 changes nothing.
        contrast: Factor on the distance from the mean, (b,).
        brightness: Added, in standard deviations, (b,).
        noise_sd: Of white noise, (b,).
        noise_start: Where in the noise table each patch begins, (b,) int32.
        blur_sigma: Of the Gaussian blur, in voxels, (b,); 0 for none.
    """

    matrix: KerasTensor
    elastic: KerasTensor
    gamma: KerasTensor
    contrast: KerasTensor
    brightness: KerasTensor
    noise_sd: KerasTensor
    noise_start: KerasTensor
    blur_sigma: KerasTensor


@dataclass(frozen=True, slots=True)
class Pool:
    """Many images of any size as one flat array, so that a patch is a gather.

    Attributes:
        images: Voxels of all images, each in C order, (voxels, channels).
        labels: Their label indices, (voxels,), of any integer type.
        offsets: First voxel of each image, (images,) int32.
        shapes: Size along z, y, x of each, (images, 3) int32.
    """

    images: KerasTensor
    labels: KerasTensor
    offsets: KerasTensor
    shapes: KerasTensor


class Augment:
    """Draws and applies the transforms of an `AugmentationSpec`.

    Args:
        spec: Ranges and probabilities.
        patch: Voxels along z, y, x; (1, y, x) in 2-D.
        spacing_mm: Of the training grid; rotation and lengths are in mm, so an anisotropic grid is not sheared.
        dims: 2 or 3. In 2-D only rotation about z and in-plane mirroring, scaling and deformation happen.
    """

    def __init__(
        self, spec: AugmentationSpec, patch: Size, spacing_mm: Vector = (1.0, 1.0, 1.0), dims: int = 3
    ) -> None:
        self.spec, self.patch, self.dims = spec, patch, dims
        self._spacing = np.asarray(spacing_mm, np.float32)
        self._free = np.asarray([dims == 3, True, True], np.float32)
        self._splines = [_spline(n, spec.elastic_smoothness_mm / s) for n, s in zip(patch, spacing_mm, strict=True)]
        axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in patch]
        self._grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        self._noise = np.random.default_rng(0).standard_normal(_NOISE_VALUES, dtype=np.float32)

    def draw(self, seed: KerasTensor, batch: int) -> Draw:
        """Parameters of `batch` patches; the same seed gives the same ones.

        Args:
            seed: One integer (scalar tensor or int); use another one for every batch.
            batch: Patches.
        """
        s, free = self.spec, self._free
        u = uniform(seed, 0, (batch, 22))
        rotate = _on(u[:, 0:1], s.rotation_probability) * np.asarray(
            [radians(a) for a in s.rotation_degrees], np.float32
        )
        spin = np.asarray([1.0, free[0], free[0]], np.float32)
        turn = _rotation(rotate * spin * (2 * u[:, 1:4] - 1))
        low, high = np.log(s.scale[0]), np.log(s.scale[1])
        zoom = ops.exp(_on(u[:, 4:5], s.scale_probability) * (low + (high - low) * u[:, 5:6]) * free)
        allowed = np.asarray([axis in s.mirror_axes and free[axis] > 0 for axis in range(3)], np.float32)
        mirror = 1 - 2 * allowed * ops.cast(u[:, 6:9] < 0.5, "float32")
        # Voxel of the patch -> mm -> turned -> voxel of the source. Zooming in by z reads a 1/z smaller region.
        matrix = turn * self._spacing[None, None, :] / self._spacing[None, :, None] * (mirror / zoom)[:, None, :]

        size = tuple(spline.shape[1] for spline in self._splines)
        amplitude = _on(u[:, 9], s.elastic_probability) * u[:, 10] * s.elastic_mm
        field = 2 * uniform(seed, 1, (batch, *size, 3)) - 1
        elastic = field * ops.reshape(amplitude, (batch, 1, 1, 1, 1)) * (free / self._spacing)

        gamma = ops.exp(_on(u[:, 11], s.gamma_probability) * _between(u[:, 12], np.log(s.gamma[0]), np.log(s.gamma[1])))
        contrast = 1 + _on(u[:, 13], s.contrast_probability) * (_between(u[:, 14], *s.contrast) - 1)
        brightness = _on(u[:, 15], s.brightness_probability) * s.brightness * (2 * u[:, 16] - 1)
        noise_sd = _on(u[:, 17], s.noise_probability) * s.noise_sd * u[:, 18]
        noise_start = ops.cast(u[:, 19] * (_NOISE_VALUES - 1), "int32")
        blur = _on(u[:, 20], s.blur_probability) * _between(u[:, 21], *s.blur_sigma)
        return Draw(matrix, elastic, gamma, contrast, brightness, noise_sd, noise_start, blur)

    def sample(self, draw: Draw, pool: Pool, case: KerasTensor, centre: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        """Augmented patches read straight from whole images, so that no corner is black where there is image.

        Beyond an image, voxels are 0 and label 0.

        Args:
            draw: Parameters of b patches.
            pool: The images.
            case: Which image each patch comes from, (b,) int32.
            centre: Middle of each patch in voxels of its image, (b, 3) float32; the middle of n voxels from a is a +
                (n-1)/2.

        Returns:
            Images (b, z, y, x, channels) float32, and label indices (b, z, y, x) uint8; no z in 2-D.
        """
        batch = case.shape[0]
        image, labels = warp(pool, case, self.coordinates(draw) + centre[:, None, :], self.dims)
        size = self.patch if self.dims == 3 else self.patch[1:]
        channels = pool.images.shape[-1]
        image = self.intensity(draw, ops.reshape(image, (batch, *self.patch, channels)))
        return ops.reshape(image, (batch, *size, channels)), ops.reshape(ops.cast(labels, "uint8"), (batch, *size))

    def apply(self, draw: Draw, images: KerasTensor, labels: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        """Augmented variants of b patches (b, z, y, x, channels) and their labels (b, z, y, x); no z in 2-D."""
        batch, voxels = images.shape[0], int(np.prod(self.patch))
        index = np.arange(batch, dtype=np.int32)
        shapes = np.tile(np.asarray(self.patch, np.int32), (batch, 1))
        flat = ops.reshape(images, (-1, images.shape[-1])), ops.reshape(labels, (-1,))
        pool = Pool(*flat, ops.convert_to_tensor(index * voxels), ops.convert_to_tensor(shapes))
        centre = ops.convert_to_tensor((shapes - 1).astype(np.float32) / 2)
        return self.sample(draw, pool, ops.convert_to_tensor(index), centre)

    def coordinates(self, draw: Draw) -> KerasTensor:
        """Where each patch voxel is read, in source voxels from the patch's centre, (b, voxels, 3)."""
        flat = ops.matmul(ops.convert_to_tensor(self._grid)[None], ops.transpose(draw.matrix, (0, 2, 1)))
        z, y, x = (ops.convert_to_tensor(spline) for spline in self._splines)
        bend = ops.einsum("bzyxc,Xx->bzyXc", draw.elastic, x)
        bend = ops.einsum("bzyxc,Yy->bzYxc", bend, y)
        bend = ops.einsum("bzyxc,Zz->bZyxc", bend, z)
        return flat + ops.reshape(bend, (draw.matrix.shape[0], -1, 3))

    def intensity(self, draw: Draw, images: KerasTensor) -> KerasTensor:
        """Gamma, contrast, brightness, blur and noise on patches (b, z, y, x, channels), in this order."""
        images = _when(ops.any(draw.gamma != 1), lambda: _gamma(images, draw.gamma), images)
        shape = (-1, 1, 1, 1, 1)
        mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
        contrast = ops.reshape(draw.contrast, shape)
        images = images * contrast + (mean * (1 - contrast) + ops.reshape(draw.brightness, shape))
        flat = self.dims == 2
        images = _when(ops.any(draw.blur_sigma > 0), lambda: _blur(images, draw.blur_sigma, flat), images)
        return _when(ops.any(draw.noise_sd > 0), lambda: images + self._white(draw, images.shape), images)

    def _white(self, draw: Draw, shape: tuple[int, ...]) -> KerasTensor:
        """Noise read from one fixed table at a random start: a hundred times cheaper than fresh normal numbers."""
        size = int(np.prod(shape[1:]))
        index = (draw.noise_start[:, None] + np.arange(size, dtype=np.int32)) % _NOISE_VALUES
        noise = ops.take(ops.convert_to_tensor(self._noise), index, axis=0)
        return ops.reshape(noise * draw.noise_sd[:, None], shape)


def warp(pool: Pool, case: KerasTensor, points: KerasTensor, dims: int = 3) -> tuple[KerasTensor, KerasTensor]:
    """Images (b, n, channels), linear, and labels (b, n), nearest, at points (b, n, 3) in voxels of images `case`.

    In 2-D the z coordinate is taken as it is, without interpolation.
    """
    shape = ops.take(pool.shapes, case, axis=0)
    steps = (shape[:, 1:2] * shape[:, 2:3], shape[:, 2:3], 1)
    start = ops.take(pool.offsets, case, axis=0)[:, None]
    ends: list[list[tuple[KerasTensor, KerasTensor]]] = []
    nearest, inside = start, True
    for axis in range(3):
        at, size, step = points[:, :, axis], shape[:, axis : axis + 1], steps[axis]
        round_ = ops.cast(ops.floor(at + 0.5), "int32")
        inside = ops.logical_and(inside, _within(round_, size))
        nearest = nearest + ops.clip(round_, 0, size - 1) * step
        if dims == 2 and axis == 0:
            ends.append([(ops.clip(round_, 0, size - 1) * step, ops.cast(_within(round_, size), "float32"))])
            continue
        floor = ops.floor(at)
        share, low = at - floor, ops.cast(floor, "int32")
        ends.append(
            [
                (ops.clip(i, 0, size - 1) * step, weight * ops.cast(_within(i, size), "float32"))
                for i, weight in ((low, 1 - share), (low + 1, share))
            ]
        )
    labels = ops.take(pool.labels, nearest, axis=0)
    labels = ops.where(inside, labels, ops.zeros_like(labels))
    corners = [
        ops.take(pool.images, start + z + y + x, axis=0) * (a * b * c)[:, :, None]
        for (z, a), (y, b), (x, c) in product(*ends)
    ]
    return sum(corners[1:], corners[0]), labels


def uniform(seed: KerasTensor, stream: int, shape: tuple[int, ...]) -> KerasTensor:
    """Numbers in [0, 1), float32, that depend on seed, stream and place alone: no state, the same on every backend.

    Source: the 32-bit finaliser "lowbias32" of C. Wellons' hash-prospector, applied to a counter.
    """
    count = int(np.prod(shape))
    counter = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(stream * 0x85EBCA6B % 2**32)
    key = _mix(ops.cast(seed, "uint32") + np.uint32(0x68E31DA4))
    bits = _mix(_mix(ops.convert_to_tensor(counter)) ^ key)
    return ops.reshape(ops.cast(ops.right_shift(bits, np.uint32(8)), "float32") * np.float32(2.0**-24), shape)


def _mix(x: KerasTensor) -> KerasTensor:
    x = (x ^ ops.right_shift(x, np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ ops.right_shift(x, np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ ops.right_shift(x, np.uint32(16))


def _within(index: KerasTensor, size: KerasTensor) -> KerasTensor:
    return ops.logical_and(index >= 0, index < size)


def _on(u: KerasTensor, probability: float) -> KerasTensor:
    return ops.cast(u < probability, "float32")


def _between(u: KerasTensor, low: float, high: float) -> KerasTensor:
    return low + (high - low) * u


def _when(condition: KerasTensor, changed: object, images: KerasTensor) -> KerasTensor:
    return ops.cond(condition, changed, lambda: images)


def _rotation(angles: KerasTensor) -> KerasTensor:
    """Matrices (b, 3, 3) on (z, y, x) of rotations by angles (b, 3) in radians about z, then y, then x."""
    c, s = ops.cos(angles), ops.sin(angles)
    one, zero = ops.ones_like(c[:, 0]), ops.zeros_like(c[:, 0])

    def rows(*values: KerasTensor) -> KerasTensor:
        return ops.reshape(ops.stack(values, axis=-1), (-1, 3, 3))

    about_z = rows(one, zero, zero, zero, c[:, 0], -s[:, 0], zero, s[:, 0], c[:, 0])
    about_y = rows(c[:, 1], zero, -s[:, 1], zero, one, zero, s[:, 1], zero, c[:, 1])
    about_x = rows(c[:, 2], -s[:, 2], zero, s[:, 2], c[:, 2], zero, zero, zero, one)
    return ops.matmul(about_x, ops.matmul(about_y, about_z))


def _spline(length: int, distance: float) -> Float[np.ndarray, "length points"]:
    """Cubic B-spline weights from control points `distance` voxels apart to `length` voxels; each row adds up to 1."""
    points = max(1, ceil((length - 1) / distance)) + 3
    t = np.abs(np.arange(length)[:, None] / distance - (np.arange(points)[None] - 1))
    near, far = (4 - 6 * t**2 + 3 * t**3) / 6, np.clip(2 - t, 0, None) ** 3 / 6
    weights: Float[np.ndarray, "length points"] = np.where(t < 1, near, far).astype(np.float32)
    return weights


def _gamma(images: KerasTensor, gamma: KerasTensor) -> KerasTensor:
    """Values scaled to 0..1 per patch and channel, raised to `gamma`, and brought back to their mean and deviation."""
    space, shape = (1, 2, 3), (-1, 1, 1, 1, 1)
    low, high = ops.min(images, space, keepdims=True), ops.max(images, space, keepdims=True)
    bent = ops.power((images - low) / (high - low + 1e-6), ops.reshape(gamma, shape))
    mean, sd = ops.mean(images, space, keepdims=True), ops.std(images, space, keepdims=True)
    bent = (bent - ops.mean(bent, space, keepdims=True)) / (ops.std(bent, space, keepdims=True) + 1e-6) * sd + mean
    return ops.where(ops.reshape(gamma, shape) == 1, images, bent)


def _blur(images: KerasTensor, sigma: KerasTensor, flat: bool) -> KerasTensor:
    """Gaussian blur of five taps per axis, normalised, with each patch's own sigma; 0 leaves the patch as it is."""
    safe = ops.maximum(ops.reshape(sigma, (-1, 1, 1, 1, 1)), 1e-3)
    one, two = ops.exp(-0.5 / safe**2), ops.exp(-2.0 / safe**2)
    whole = 1 + 2 * one + 2 * two
    for axis in (2, 3) if flat else (1, 2, 3):
        size = images.shape[axis]
        padding = [(2, 2) if i == axis else (0, 0) for i in range(5)]
        wide = ops.pad(images, padding, mode="symmetric")
        taps = [wide[tuple(slice(k, k + size) if i == axis else slice(None) for i in range(5))] for k in range(5)]
        images = (taps[2] + one * (taps[1] + taps[3]) + two * (taps[0] + taps[4])) / whole
    return images


__all__ = ["Augment", "Draw", "Pool", "uniform", "warp"]
