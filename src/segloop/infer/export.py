"""A trained network to a bundle folder."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from segloop.errors import InputError, ModelError
from segloop.infer.bundle import (
    CARD,
    GRAPH,
    MANIFEST,
    PLAN,
    RESEARCH_USE,
    SELFTEST,
    WEIGHTS,
    Bundle,
    Manifest,
    network_of,
)
from segloop.infer.engine import segment
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

    Raises:
        ModelError: `bundle.corrupt` when a weight is not finite or too large for float16, or the network is another
            than the plan's; `bundle.too_large`; `backend.mismatch`.
        InputError: `usage` when something that is no bundle stands at `path`.
    """
    _require_replaceable(path)
    folder = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        (folder / "weights").mkdir(parents=True)
        (folder / SELFTEST).mkdir()
        (folder / PLAN).write_text(plan.to_json(), "utf-8")
        (folder / CARD).write_text(card, "utf-8")
        weights = _half(plan, network)
        np.savez(folder / WEIGHTS, **weights)  # type: ignore[arg-type]  # numpy's stub takes keyword arrays for flags
        exact = network_of(plan, {name: array.astype(np.float32) for name, array in weights.items()})
        _write_graph(exact, folder / GRAPH)
        _write_cases(plan, exact, selftest, folder / SELFTEST)
        manifest = Manifest(
            schema=1,
            name=plan.name,
            version=version,
            labels=plan.labels,
            files={f.relative_to(folder).as_posix(): _sha256(f) for f in sorted(folder.rglob("*")) if f.is_file()},
            provenance=provenance,
            intended_use=intended_use,
            metrics=dict(metrics or {}),
            plan_digest=plan.digest,
        )
        _write_manifest(folder, manifest)
        _require_size(Bundle(folder), max_bytes)
        _move_into_place(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Bundle(path)


def reissue(source: Bundle, path: Path, *, card: str, metrics: Mapping[str, float]) -> Bundle:
    """The same model under a card and metrics found after its export, such as cross-validated figures.

    Plan, weights and self-test keep their bytes; card, manifest and with it the digest are new.

    Args:
        source: A checked bundle.
        path: Folder to write; an older bundle there is replaced.
        card: Model card, Markdown.
        metrics: Numbers to keep in the manifest, instead of the ones there.

    Raises:
        ModelError: `bundle.corrupt`.
        InputError: `usage` when something that is no bundle stands at `path`.
    """
    _require_replaceable(path)
    folder = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        shutil.copytree(source.path, folder)
        (folder / CARD).write_text(card, "utf-8")
        files = {**source.manifest.files, CARD: _sha256(folder / CARD)}
        _write_manifest(folder, source.manifest.model_copy(update={"files": files, "metrics": dict(metrics)}))
        Bundle(folder)
        _move_into_place(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Bundle(path)


def _require_replaceable(path: Path) -> None:
    if path.exists() and not (path / MANIFEST).is_file():
        raise InputError(
            f"{path.name} exists and is no bundle; it is not replaced.",
            code="usage",
            found=path.name,
            hint="Choose another folder, or remove this one.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    document = manifest.model_dump(mode="json", by_alias=True)
    (folder / MANIFEST).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


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
    from segloop.infer.runtimes.openvino import load_openvino
    from segloop.infer.runtimes.tensorflow import require_backend

    require_backend()
    openvino = load_openvino()
    with TemporaryDirectory() as folder:
        network.export(folder, format="tf_saved_model", verbose=False)
        graph = openvino.Core().read_model(folder)
        openvino.save_model(graph, str(path), compress_to_fp16=True)


def _write_cases(
    plan: Plan, network: keras.Model, cases: Sequence[Volume | tuple[Volume, Labels]], folder: Path
) -> None:
    from segloop.infer.runtimes.tensorflow import TensorFlow
    from segloop.io import files

    runtime = TensorFlow(network)
    for number, case in enumerate(cases):
        image, labels = case if isinstance(case, tuple) else (case, segment(plan, runtime, case)[0])
        # Colour and other channels: a format per kind, all of them read back without loss.
        flat = image.array.shape[0] == 1 and image.channels == 3 and image.array.dtype == np.uint8
        suffix = "png" if flat else "nii.gz"
        files.write(image, folder / f"case{number}-image.{suffix}")
        files.write(labels, folder / f"case{number}-labels.nii.gz")


def _require_size(bundle: Bundle, max_bytes: int | None) -> None:
    if max_bytes is not None and bundle.size_bytes > max_bytes:
        raise ModelError(
            f"The bundle has {bundle.size_bytes / 2**20:.1f} MiB; {max_bytes / 2**20:.1f} MiB are allowed.",
            code="bundle.too_large",
            found=bundle.size_bytes,
            expected=max_bytes,
            hint="Plan a network with fewer features, or smaller self-test cases.",
        )


def _move_into_place(folder: Path, path: Path) -> None:
    """Replace `path` by `folder`; the older bundle is gone only after the new one stands."""
    older = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")
    if path.exists():
        path.rename(older)
    folder.rename(path)
    shutil.rmtree(older, ignore_errors=True)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
