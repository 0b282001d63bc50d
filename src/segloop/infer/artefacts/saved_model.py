"""One SavedModel that takes raw voxels and returns labels on their own grid, as TensorFlow Serving expects it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from segloop.infer.artefacts.graph import Network, Tensor, require_geometry
from segloop.infer.artefacts.parts import Image, Part, segmented, together
from segloop.infer.bundle import Bundle, load_network
from segloop.plan import Plan


class Pipeline(tf.Module):  # type: ignore[misc]
    """Raw voxels to labels and probabilities.

    Args:
        plan: What decides a voxel's label.
        parts: The networks.
        ensemble: Their mean is decided by `plan`, even if there is only one.
        tracked: What holds the networks' variables, so that they are saved with the functions.
        slabs: Work on some slices after the other, which bounds memory.
        digest: Of the bundle; the signature `windows` says it with every answer.
    """

    def __init__(
        self,
        plan: Plan,
        parts: Sequence[Part],
        tracked: Any = None,
        *,
        ensemble: bool,
        slabs: bool = True,
        digest: str = "",
    ) -> None:
        super().__init__(name="segloop")
        self._plan, self._parts, self._ensemble = plan, tuple(parts), ensemble
        self._slabs, self._digest = slabs, digest
        self.tracked = tracked

    def functions(self) -> dict[str, Any]:
        """The signatures.

        `serving_default` gives labels, `probabilities` both; where there is one network, `windows` gives its bare
        scores.
        """
        channels = self._plan.inputs.channels
        shape = [None, None, None] if channels == 1 else [None, None, None, channels]
        signature = [
            tf.TensorSpec(shape, tf.float32, name="voxels"),
            tf.TensorSpec([3], tf.float64, name="spacing_mm"),
            tf.TensorSpec([3, 3], tf.float64, name="direction"),
        ]

        def labels(voxels: Tensor, spacing_mm: Tensor, direction: Tensor) -> dict[str, Tensor]:
            return self._segmented(voxels, spacing_mm, direction, probabilities=False)

        def probabilities(voxels: Tensor, spacing_mm: Tensor, direction: Tensor) -> dict[str, Tensor]:
            return self._segmented(voxels, spacing_mm, direction, probabilities=True)

        traced = {
            name: tf.function(body, input_signature=signature, autograph=False).get_concrete_function()
            for name, body in {"serving_default": labels, "probabilities": probabilities}.items()
        }
        if self._ensemble or self._parts[0].coarse is not None:
            return traced
        batch = [tf.TensorSpec([], tf.string, name="windows"), tf.TensorSpec([None], tf.int32, name="shape")]
        scores = tf.function(self._scores, input_signature=batch, autograph=False)
        return {**traced, "windows": scores.get_concrete_function()}

    def _segmented(
        self, voxels: Tensor, spacing_mm: Tensor, direction: Tensor, *, probabilities: bool
    ) -> dict[str, Tensor]:
        with tf.control_dependencies(require_geometry(voxels, spacing_mm, direction)):
            array = tf.identity(voxels) if self._plan.inputs.channels > 1 else voxels[..., None]
        image = Image(array, spacing_mm, direction)
        if self._ensemble:
            return together(self._plan, self._parts, image, slabs=self._slabs, with_probabilities=probabilities)
        return segmented(self._parts[0], image, slabs=self._slabs, with_probabilities=probabilities)

    def _scores(self, windows: Tensor, shape: Tensor) -> dict[str, Tensor]:
        """Prepared windows, as bytes, through the network: what `infer.runtimes.serving` asks for.

        Bytes, because a server writes every number of a tensor as text.
        """
        spec = self._parts[0].plan.network
        batch = tf.reshape(tf.io.decode_raw(windows, tf.float32), shape)
        batch = tf.ensure_shape(batch, [None, *[None] * spec.dims, spec.channels])
        logits = self._parts[0].network(batch)
        return {"logits_bytes": tf.io.serialize_tensor(logits), "digest": tf.constant(self._digest)}


def parts_of(bundle: Bundle, ready: Callable[[Bundle], Network], weight: float = 1.0) -> tuple[Part, ...]:
    """The networks of a bundle.

    Args:
        bundle: A checked bundle: a single network, a cascade, or an ensemble of either.
        ready: Makes a network from a bundle that holds one.
        weight: Of all of them together.
    """
    members = bundle.members()
    if members:
        return tuple(part for member, share in members for part in parts_of(member, ready, weight * share))
    coarse = parts_of(bundle.coarse(), ready)[0] if bundle.plan.coarse is not None else None
    return (Part(bundle.plan, ready(bundle), weight, coarse),)


def write_saved_model(bundle: Bundle, folder: Path) -> None:
    """The pipeline with its signatures; see `Pipeline.functions`."""
    networks: list[Any] = []

    def ready(one: Bundle) -> Network:
        network = load_network(one)
        networks.append(network)
        return lambda batch: network([batch], training=False)

    parts, ensemble = parts_of(bundle, ready), bool(bundle.manifest.members)
    pipeline = Pipeline(bundle.plan, parts, networks, ensemble=ensemble, digest=bundle.digest)
    tf.saved_model.save(pipeline, str(folder), signatures=pipeline.functions())
