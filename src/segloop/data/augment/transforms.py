"""The transforms of an `AugmentationSpec`, drawn for a batch and applied to patches read from a pool of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from math import prod, radians

import numpy as np
from keras import KerasTensor, ops

from segloop.data.augment import values
from segloop.data.augment.draws import Draw, between, happens, rotation, uniform
from segloop.data.augment.fields import splines, spread
from segloop.data.augment.pool import Cut, Pool, crop, warp
from segloop.data.augment.sides import exchange
from segloop.plan import AugmentationSpec, Plan, Size
from segloop.volume import Vector

_NOISE_VALUES = 1 << 20
# Streams of random numbers; those of `Places` and `Patches` begin at 7.
_BATCH, _ELASTIC, _LOW_RESOLUTION, _BIAS, _BIAS_STRENGTH = range(5)


class Augment:
    """Draws and applies the transforms of an `AugmentationSpec`.

    Args:
        spec: Ranges and probabilities.
        patch: Voxels along z, y, x; (1, y, x) in 2-D.
        spacing_mm: Of the training grid; rotation and lengths are in mm, so an anisotropic grid is not sheared.
        dims: 2 or 3. In 2-D only rotation about z and in-plane mirroring, scaling and deformation happen.
        numbers: Label number of class 1, 2, …, in which `spec.swap_labels` is written.
        guides: How many of the last channels are labels of a cascade's coarse network, whose values stay as they are.
        apart: Make one patch after the other, so that a transform costs nothing where a patch does not need it. That is
            quickest on a CPU; an accelerator would rather have the whole batch at once.

    Raises:
        PlanError: `plan.invalid` when `spec.swap_labels` holds a number that is not in `numbers`.
    """

    def __init__(
        self,
        spec: AugmentationSpec,
        patch: Size,
        spacing_mm: Vector = (1.0, 1.0, 1.0),
        dims: int = 3,
        numbers: Sequence[int] = (),
        guides: int = 0,
        *,
        apart: bool = False,
    ) -> None:
        self.spec, self.patch, self.dims, self.guides, self.apart = spec, patch, dims, guides, apart
        self._spacing = np.asarray(spacing_mm, np.float32)
        self._free = np.asarray([dims == 3, True, True], np.float32)
        self._elastic = splines(patch, spec.elastic_smoothness_mm, spacing_mm)
        self._bias = splines(patch, spec.bias_field_smoothness_mm, spacing_mm)
        self._lines = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in patch]
        self._noise = np.random.default_rng(0).standard_normal(_NOISE_VALUES, dtype=np.float32)
        self._exchange = exchange(spec.swap_labels, numbers)

    @classmethod
    def of(cls, plan: Plan, *, apart: bool = False) -> Augment:
        """The transforms of a Plan."""
        training = plan.training
        spacing_mm = plan.preparation.spacing_mm or (1.0, 1.0, 1.0)
        numbers = [label.value for label in plan.labels]
        dims = plan.network.dims
        return cls(training.augmentation, training.patch, spacing_mm, dims, numbers, plan.guides, apart=apart)

    @property
    def reach(self) -> Size:
        """Voxels along z, y, x from a patch's middle to the furthest that is read for it, whatever is drawn."""
        spec = self.spec
        half_mm = (np.asarray(self.patch) - 1) / 2 * self._spacing
        far = half_mm
        if spec.rotation_probability > 0:
            turned = _furthest(spec.rotation_degrees, self.dims) @ half_mm
            # Whatever the angles, nothing gets further from the middle than the corner of the patch.
            far = np.minimum(turned, np.linalg.norm(half_mm[3 - self.dims :]))
        if spec.scale_probability > 0:
            far = far / min(1.0, *spec.scale)
        if spec.elastic_probability > 0:
            far = far + abs(spec.elastic_mm)
        # Half a voxel from middles between voxels, one more to interpolate with.
        z, y, x = (np.ceil(far / self._spacing + 0.5).astype(int) + 1) * self._free.astype(int)
        return int(z), int(y), int(x)

    def draw(self, seed: KerasTensor, batch: int) -> Draw:
        """Parameters of `batch` patches; the same seed gives the same ones.

        Args:
            seed: One integer (scalar tensor or int); use another one for every batch.
            batch: Patches.
        """
        s, free = self.spec, self._free
        u = uniform(seed, _BATCH, (batch, 22))
        rotate = happens(u[:, 0:1], s.rotation_probability) * np.asarray(
            [radians(a) for a in s.rotation_degrees], np.float32
        )
        spin = np.asarray([1.0, free[0], free[0]], np.float32)
        turn = rotation(rotate * spin * (2 * u[:, 1:4] - 1))
        low, high = np.log(s.scale[0]), np.log(s.scale[1])
        zoom = ops.exp(happens(u[:, 4:5], s.scale_probability) * (low + (high - low) * u[:, 5:6]) * free)
        allowed = np.asarray([axis in s.mirror_axes and free[axis] > 0 for axis in range(3)], np.float32)
        mirror = 1 - 2 * allowed * ops.cast(u[:, 6:9] < 0.5, "float32")
        # Voxel of the patch -> mm -> turned -> voxel of the source. Zooming in by z reads a 1/z smaller region.
        matrix = turn * self._spacing[None, None, :] / self._spacing[None, :, None] * (mirror / zoom)[:, None, :]

        gamma = happens(u[:, 11], s.gamma_probability) * between(u[:, 12], np.log(s.gamma[0]), np.log(s.gamma[1]))
        return Draw(
            matrix=matrix,
            elastic=self._elastic_control(seed, happens(u[:, 9], s.elastic_probability) * u[:, 10]),
            swapped=mirror[:, 2] < 0,
            bias_field=self._bias_control(seed, batch),
            gamma=ops.exp(gamma),
            contrast=1 + happens(u[:, 13], s.contrast_probability) * (between(u[:, 14], *s.contrast) - 1),
            brightness=happens(u[:, 15], s.brightness_probability) * s.brightness * (2 * u[:, 16] - 1),
            blur_sigma=happens(u[:, 20], s.blur_probability) * between(u[:, 21], *s.blur_sigma),
            low_resolution=self._kept(seed, batch),
            noise_sd=happens(u[:, 17], s.noise_probability) * s.noise_sd * u[:, 18],
            noise_start=ops.cast(u[:, 19] * (_NOISE_VALUES - 1), "int32"),
        )

    def sample(self, draw: Draw, pool: Pool, case: KerasTensor, centre: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        """Augmented patches read straight from whole images, so that no corner is black where there is image.

        Beyond an image, voxels are 0 and label 0.

        Args:
            draw: Parameters of b patches.
            pool: The images.
            case: Which image each patch comes from, (b,) int32.
            centre: Middle of each patch in voxels of its image, (b, 3) float32; the middle of n voxels from a is a +
                (n-1)/2, so that an unmoved patch lies on whole voxels.

        Returns:
            Images (b, z, y, x, channels) float32, and label indices (b, z, y, x) uint8; no z in 2-D.
        """
        if not self.apart or case.shape[0] == 1:
            return self._make(draw, pool, case, centre)
        names = [field.name for field in fields(Draw)]

        def one(row: Sequence[KerasTensor]) -> tuple[KerasTensor, KerasTensor]:
            *parameters, its_case, its_centre = (value[None] for value in row)
            image, labels = self._make(Draw(**dict(zip(names, parameters, strict=True))), pool, its_case, its_centre)
            return image[0], labels[0]

        rows = [*(getattr(draw, name) for name in names), case, centre]
        image, labels = ops.map(one, rows)
        return image, labels

    def apply(self, draw: Draw, images: KerasTensor, labels: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        """Augmented variants of b patches (b, z, y, x, channels) and their labels (b, z, y, x); no z in 2-D."""
        batch = images.shape[0]
        images = ops.reshape(images, (batch, *self.patch, images.shape[-1]))
        pool = Pool.around(images, ops.reshape(labels, (batch, *self.patch)), self.dims)
        centre = np.tile((np.asarray(self.patch, np.float32) - 1) / 2, (batch, 1))
        case = ops.convert_to_tensor(np.arange(batch, dtype=np.int32))
        return self.sample(draw, pool, case, ops.convert_to_tensor(centre))

    def coordinates(self, draw: Draw, centre: KerasTensor) -> tuple[KerasTensor, ...]:
        """Where each patch voxel is read, around centres (b, 3): z, y and x in source voxels, each (b, z, y, x)."""
        points = []
        for axis in range(3):
            parts = []
            for a, line in enumerate(self._lines):
                part = draw.matrix[:, axis, a][:, None] * line[None]
                part = part + centre[:, axis : axis + 1] if a == 0 else part
                parts.append(ops.reshape(part, (-1, *(len(line) if a == i else 1 for i in range(3)))))
            # Only the last sum is as large as the patch.
            points.append((parts[0] + parts[1]) + parts[2])
        if self.spec.elastic_probability == 0:
            return tuple(points)
        bent = ops.any(draw.elastic != 0)
        return tuple(ops.cond(bent, lambda: self._bent(draw, points), lambda: tuple(points)))

    def intensity(self, draw: Draw, images: KerasTensor, cut: Cut) -> KerasTensor:
        """What changes values of patches (b, z, y, x, channels): field, gamma, contrast, brightness, blur, noise.

        In the order in which they arise: tissue and coil, display, optics, sampling, electronics.
        """
        spec = self.spec
        if spec.bias_field_probability > 0:
            field = draw.bias_field
            images = _when(ops.any(field != 0), lambda x: values.bias(x, spread(field, self._bias)), images)
        if spec.gamma_probability > 0:
            images = _when(ops.any(draw.gamma != 1), lambda x: values.bend(x, draw.gamma), images)
        if spec.contrast_probability > 0 or spec.brightness_probability > 0:
            needed = ops.any(ops.logical_or(draw.contrast != 1, draw.brightness != 0))
            images = _when(needed, lambda x: values.stretch(x, draw.contrast, draw.brightness), images)
        if spec.blur_probability > 0:
            images = _when(ops.any(draw.blur_sigma > 0), lambda x: self._blurred(draw, x), images)
        if spec.low_resolution_probability > 0:
            images = _when(ops.any(draw.low_resolution != 1), lambda x: self._coarsened(draw, x), images)
        if spec.noise_probability > 0:
            images = _when(ops.any(draw.noise_sd > 0), lambda x: x + self._white(draw, x.shape, cut), images)
        return images

    def _elastic_control(self, seed: KerasTensor, strength: KerasTensor) -> KerasTensor:
        """Displacements at the control points; what the Plan switches off is not even drawn, here and below."""
        spec, batch = self.spec, strength.shape[0]
        size = (batch, *(weights.shape[1] for weights in self._elastic), 3)
        if spec.elastic_probability == 0:
            return ops.zeros(size)
        amplitude = ops.reshape(strength * spec.elastic_mm, (batch, 1, 1, 1, 1))
        return (2 * uniform(seed, _ELASTIC, size) - 1) * amplitude * (self._free / self._spacing)

    def _bias_control(self, seed: KerasTensor, batch: int) -> KerasTensor:
        spec, size = self.spec, (batch, *(weights.shape[1] for weights in self._bias))
        if spec.bias_field_probability == 0:
            return ops.zeros(size)
        u = uniform(seed, _BIAS_STRENGTH, (batch, 2))
        strength = happens(u[:, 0], spec.bias_field_probability) * u[:, 1] * spec.bias_field
        return (2 * uniform(seed, _BIAS, size) - 1) * ops.reshape(strength, (batch, 1, 1, 1))

    def _kept(self, seed: KerasTensor, batch: int) -> KerasTensor:
        spec = self.spec
        if spec.low_resolution_probability == 0:
            return ops.ones((batch, 3))
        u = uniform(seed, _LOW_RESOLUTION, (batch, 4))
        less = between(u[:, 1:], *spec.low_resolution) - 1
        return 1 + happens(u[:, :1], spec.low_resolution_probability) * less * self._free

    def _make(self, draw: Draw, pool: Pool, case: KerasTensor, centre: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        """Like `sample`, the patches all together."""
        image, labels = self._read(draw, pool, case, centre)
        size, own = (case.shape[0], *(self.patch if self.dims == 3 else self.patch[1:])), image.shape[-1] - self.guides
        changed = self.intensity(draw, image[..., :own] if self.guides else image, pool.cut)
        image = ops.concatenate([changed, image[..., own:]], axis=-1) if self.guides else changed
        return ops.reshape(image, (*size, image.shape[-1])), ops.reshape(labels, size)

    def _read(self, draw: Draw, pool: Pool, case: KerasTensor, centre: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        """Images (b, z, y, x, channels) and label indices (b, z, y, x) uint8 of patches, values not yet changed."""
        shape = (case.shape[0], *self.patch)

        def between_voxels() -> tuple[KerasTensor, KerasTensor]:
            points = self.coordinates(draw, centre + np.asarray(pool.border, np.float32))
            image, labels = warp(pool, case, [ops.reshape(point, (shape[0], -1)) for point in points])
            return ops.reshape(image, (*shape, image.shape[-1])), ops.reshape(labels, shape)

        # What is only mirrored lies on whole voxels, where one value does instead of eight.
        signs = ops.stack([draw.matrix[:, axis, axis] for axis in range(3)], axis=1)
        if not (self.spec.rotation_probability or self.spec.scale_probability or self.spec.elastic_probability):
            image, labels = crop(pool, case, centre, signs, self.patch)
            return image, self._sided(draw, ops.cast(labels, "uint8"))
        straight = ops.all(ops.abs(draw.matrix) == np.eye(3, dtype=np.float32))
        still = ops.logical_and(straight, ops.logical_not(ops.any(draw.elastic != 0)))
        image, labels = ops.cond(still, lambda: crop(pool, case, centre, signs, self.patch), between_voxels)
        return image, self._sided(draw, ops.cast(labels, "uint8"))

    def _sided(self, draw: Draw, labels: KerasTensor) -> KerasTensor:
        """Label indices with lateral ones exchanged in patches that are mirrored along x."""
        if self._exchange is None or 2 not in self.spec.mirror_axes:
            return labels
        exchanged = ops.take(ops.convert_to_tensor(self._exchange), ops.cast(labels, "int32"))
        return ops.where(draw.swapped[:, None, None, None], exchanged, labels)

    def _bent(self, draw: Draw, points: Sequence[KerasTensor]) -> tuple[KerasTensor, ...]:
        field = spread(ops.transpose(draw.elastic, (0, 4, 1, 2, 3)), self._elastic)
        return tuple(point + field[:, axis] for axis, point in enumerate(points))

    def _blurred(self, draw: Draw, images: KerasTensor) -> KerasTensor:
        for axis in range(3 - self.dims, 3):
            images = values.blurred(images, draw.blur_sigma, axis)
        return images

    def _coarsened(self, draw: Draw, images: KerasTensor) -> KerasTensor:
        for axis in range(3 - self.dims, 3):
            images = values.coarsened(images, draw.low_resolution[:, axis], axis)
        return images

    def _white(self, draw: Draw, shape: tuple[int, ...], cut: Cut) -> KerasTensor:
        """Noise read from one fixed table at a random start: a hundred times cheaper than fresh normal numbers."""
        size = prod(shape[1:])
        # The table goes on from its beginning, so that what is read is always one piece.
        table = ops.convert_to_tensor(np.resize(self._noise, _NOISE_VALUES + size))
        pieces = [cut(table, draw.noise_start[i : i + 1], (size,)) for i in range(shape[0])]
        return ops.reshape(ops.stack(pieces), shape) * values.per_patch(draw.noise_sd)


def _furthest(degrees: Sequence[float], dims: int) -> np.ndarray:
    """Upper bounds of the entries (3, 3) of rotations about z, y, x by at most these angles."""
    z, y, x = (np.sin(np.radians(min(abs(angle), 90.0))) for angle in degrees)
    y, x = (y, x) if dims == 3 else (0.0, 0.0)
    about_z = np.array([[1, 0, 0], [0, 1, z], [0, z, 1]])
    about_y = np.array([[1, 0, y], [0, 1, 0], [y, 0, 1]])
    about_x = np.array([[1, x, 0], [x, 1, 0], [0, 0, 1]])
    bounds: np.ndarray = np.minimum(about_x @ about_y @ about_z, 1.0)
    return bounds


def _when(condition: KerasTensor, changed: Callable[[KerasTensor], KerasTensor], images: KerasTensor) -> KerasTensor:
    """The changed images where the condition holds; otherwise nothing is computed."""
    return ops.cond(condition, lambda: changed(images), lambda: images)


__all__ = ["Augment"]
