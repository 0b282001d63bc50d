"""A trained network to a bundle folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from segloop.errors import ModelError
from segloop.infer.bundle import (
    CARD,
    COARSE,
    GRAPH,
    PLAN,
    RESEARCH_USE,
    SELFTEST,
    WEIGHTS,
    Bundle,
    Manifest,
    load_network,
    network_of,
)
from segloop.infer.cascade import Cascade
from segloop.infer.runtimes.base import Runtime
from segloop.infer.writing import bundle_folder, write_cases, write_manifest
from segloop.measure.intervals import VolumeInterval
from segloop.plan import Plan, Provenance
from segloop.volume import Labels, Volume

if TYPE_CHECKING:
    import keras

Weights = dict[str, np.ndarray]


def export_bundle(  # noqa: PLR0913 - one argument per part of a bundle
    path: Path,
    plan: Plan,
    network: keras.Model,
    *,
    provenance: Provenance,
    card: str,
    version: str,
    selftest: Sequence[Volume | tuple[Volume, Labels]],
    metrics: Mapping[str, float] | None = None,
    intended_use: str = RESEARCH_USE,
    max_bytes: int | None = None,
    coarse: Bundle | None = None,
) -> Bundle:
    """Write a bundle, whole or not at all, and return it opened.

    Weights are rounded to float16, and everything else in the bundle (the OpenVINO graph, the self-test's labels) is
    made from the rounded ones.

    Args:
        path: Folder to write; an older bundle there is replaced.
        plan: The recipe.
        network: The trained Keras network, training or deployed; its variables must include those of
            `deploy(build_unet(plan.network))` under the same paths.
        provenance: Where the weights come from.
        card: Model card, Markdown.
        version: Of the model.
        selftest: Small images, at least one. For an image without labels the expected labels are what this network
            gives in float32.
        metrics: Numbers to keep in the manifest.
        intended_use: Sentence shown on reports.
        max_bytes: Refuse to write a larger bundle; `SHIPPED_BYTES` for one that travels inside the package.
        coarse: The first network of a cascade, which becomes a part of the bundle.

    Raises:
        ModelError: `bundle.corrupt` when a weight is not finite or too large for float16, or the network is another
            than the plan's; `bundle.too_large`; `backend.mismatch`.
        InputError: `usage` when something that is no bundle stands at `path`.
    """
    if (coarse.plan if coarse else None) != plan.coarse:
        raise ModelError(
            f"{plan.name} {'needs' if plan.coarse else 'has no'} first network{' of its own plan' if coarse else ''}.",
            code="bundle.corrupt",
            found=coarse.plan.name if coarse else None,
            expected=plan.coarse.name if plan.coarse else None,
        )
    with bundle_folder(path, max_bytes) as folder:
        (folder / "weights").mkdir(parents=True)
        (folder / PLAN).write_text(plan.to_json(), "utf-8")
        (folder / CARD).write_text(card, "utf-8")
        weights = _half(plan, network)
        np.savez(folder / WEIGHTS, **weights)  # type: ignore[arg-type]  # numpy's stub takes keyword arrays for flags
        exact = network_of(plan, {name: array.astype(np.float32) for name, array in weights.items()})
        _write_graph(exact, folder / GRAPH)
        if coarse is not None:
            shutil.copytree(coarse.path, folder / COARSE)
        write_cases(plan, exactly(exact, coarse), selftest, folder / SELFTEST)
        manifest = Manifest(
            schema=1,
            name=plan.name,
            version=version,
            labels=plan.labels,
            files={},
            provenance=provenance,
            intended_use=intended_use,
            metrics=dict(metrics or {}),
            plan_digest=plan.digest,
        )
        write_manifest(folder, manifest)
    return Bundle(path)


def reissue(
    source: Bundle,
    path: Path,
    *,
    card: str,
    metrics: Mapping[str, float],
    plan: Plan | None = None,
    intervals: Sequence[VolumeInterval] | None = None,
) -> Bundle:
    """The same network under what was found after its export: card, metrics, and decisions made out of fold.

    Weights keep their bytes; so do plan and self-test unless another plan is given.

    Args:
        source: A checked bundle of a single model.
        path: Folder to write; an older bundle there is replaced.
        card: Model card, Markdown.
        metrics: Numbers to keep in the manifest, instead of the ones there.
        plan: The recipe with other `inference`, `post` or `reasons`; the self-test's labels are then made anew.
        intervals: Of volumes; None keeps the ones there.

    Raises:
        ModelError: `bundle.corrupt`, also when the plan needs another network or preparation; `bundle.ensemble`.
        InputError: `usage` when something that is no bundle stands at `path`.
    """
    changed: dict[str, Any] = {"metrics": dict(metrics)}
    if intervals is not None:
        changed["intervals"] = tuple(intervals)
    with bundle_folder(path) as folder:
        shutil.copytree(source.path, folder)
        (folder / CARD).write_text(card, "utf-8")
        if plan is not None and plan != source.plan:
            _require_same_network(source.plan, plan)
            network = network_of(plan, source.weights())
            (folder / PLAN).write_text(plan.to_json(), "utf-8")
            runtime = exactly(network, source.coarse() if plan.coarse else None)
            write_cases(plan, runtime, [image for image, _ in source.selftest_cases()], folder / SELFTEST)
            changed |= {"plan_digest": plan.digest, "name": plan.name, "labels": plan.labels}
        write_manifest(folder, source.manifest.model_copy(update=changed))
    return Bundle(path)


def _require_same_network(before: Plan, now: Plan) -> None:
    if any(getattr(before, part) != getattr(now, part) for part in ("network", "preparation", "regions", "coarse")):
        raise ModelError(
            f"The weights of {before.name} belong to another network or preparation than the plan's.",
            code="bundle.corrupt",
            found=now.network.model_dump(mode="json"),
            expected=before.network.model_dump(mode="json"),
            hint="Change inference, post-processing or reasons only; train again for anything else.",
        )


def exactly(network: keras.Model, coarse: Bundle | None = None) -> Runtime:
    """The network as it is; behind the coarse one of a cascade, in the same precision, where there is one."""
    from segloop.infer.runtimes.tensorflow import TensorFlow

    reduced = any(layer.compute_dtype == "bfloat16" for layer in network.layers)
    precision = "bfloat16" if reduced else "float32"
    fine = TensorFlow(network, precision)
    if coarse is None:
        return fine
    return Cascade(TensorFlow(load_network(coarse, "mixed_bfloat16" if reduced else "float32"), precision), fine)


def _half(plan: Plan, network: keras.Model) -> Weights:
    """The deployed network's weights as float16 by variable path."""
    from segloop.nets import build_unet, deploy

    own = {variable.path: variable for variable in network.weights}
    wanted = [variable.path for variable in deploy(build_unet(plan.network, seed=0)).weights]
    missing = [name for name in wanted if name not in own]
    if missing:
        raise ModelError(
            f"The network lacks {len(missing)} variables of the plan's network, such as {missing[0]}.",
            code="bundle.corrupt",
            found=len(own),
            expected=len(wanted),
            hint="Export the network together with the plan it was built from.",
        )
    weights: Weights = {}
    for name in wanted:
        with np.errstate(over="ignore"):
            weights[name] = np.asarray(own[name].numpy(), np.float32).astype(np.float16)
        if not np.isfinite(weights[name]).all():
            raise ModelError(
                f"The weights {name} hold values that are not finite or beyond float16's range.",
                code="bundle.corrupt",
                found=name,
                expected="finite values up to 65504",
                hint="The training diverged; train again with a lower learning rate.",
            )
    return weights


def _write_graph(network: keras.Model, path: Path) -> None:
    """The network for OpenVINO, sizes left open, weights in float16."""
    from segloop.infer.runtimes.openvino import load_openvino, openvino_core
    from segloop.infer.runtimes.tensorflow import require_backend

    require_backend()
    openvino = load_openvino()
    with TemporaryDirectory() as folder:
        network.export(folder, format="tf_saved_model", verbose=False)
        graph = openvino_core().read_model(folder)
        openvino.save_model(graph, str(path), compress_to_fp16=True)
