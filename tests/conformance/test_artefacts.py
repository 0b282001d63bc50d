"""What every exported artefact must do: give the labels of `segloop predict`, without this package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_models
from segloop.cli import main
from segloop.errors import InputError, ModelError
from segloop.infer import Bundle, Runtime, export_bundle, load_network
from segloop.infer.artefacts import export_artefact
from segloop.infer.cascade import Cascade
from segloop.infer.engine import segment
from segloop.infer.ensemble import export_ensemble
from segloop.infer.export import exactly
from segloop.infer.members import given
from segloop.infer.runtimes.openvino import openvino_core
from segloop.infer.runtimes.tensorflow import TensorFlow
from segloop.io import files
from segloop.nets import build_unet
from segloop.plan import Provenance
from segloop.volume import Geometry, Volume

REGIONS = [{"name": "all", "labels": [1, 5], "paints": 1}, {"name": "core", "labels": [5], "paints": 5}]
KINDS = {
    "whole": (3, 1, {"preparation__spacing_mm": [1.2, 0.9, 1.1]}),
    "window": (
        3,
        1,
        {
            "inference__mode": "window",
            "inference__patch": [8, 10, 8],
            "preparation__normalisation": [{"kind": "zscore"}],
            "inference__logit_bias": [0.3, -0.2],
            "inference__temperature": 1.7,
        },
    ),
    "mirrored": (
        3,
        1,
        {
            "training__augmentation__mirror_axes": [0, 2],
            "training__augmentation__swap_labels": [[1, 5]],
            "inference__mirror_axes": [0, 2],
            "preparation__normalisation": [{"kind": "body"}],
        },
    ),
    "colour": (2, 3, {"inference__mode": "window", "preparation__spacing_mm": None}),
}

PLAIN = """
import json, sys
import numpy as np
import tensorflow as tf
folder, inputs, out = sys.argv[1:]
model = tf.saved_model.load(folder)
results = {}
with np.load(inputs) as cases:
    for n in range(int(cases["count"])):
        given = {key: tf.constant(cases[f"{key}{n}"]) for key in ("voxels", "spacing_mm", "direction")}
        found = model.signatures["probabilities"](**given)
        again = model.signatures["serving_default"](**given)["labels"]
        assert bool(tf.reduce_all(again == found["labels"]))
        results |= {f"{key}{n}": value.numpy() for key, value in found.items()}
    refused = []
    for change in ({"voxels": given["voxels"] * float("nan")}, {"spacing_mm": -given["spacing_mm"]},
                   {"direction": given["direction"] * 2}):
        try:
            model.signatures["serving_default"](**(given | change))
        except tf.errors.InvalidArgumentError as fault:
            refused.append(str(fault).splitlines()[0])
assert len(refused) == 3, refused
assert not any(name.split(".")[0] in ("segloop", "keras") for name in sys.modules if name == "segloop")
np.savez(out, **results)
"""


def _volumes(dims: int, channels: int) -> list[Volume]:
    """One image stored in three ways, one of them oblique, with a spacing of its own along each axis."""
    if dims == 2:
        array = np.clip(tiny_models.image((1, 40, 29), channels) * 40 + 128, 0, 255).astype(np.uint8)
        return [Volume(array, Geometry(array.shape[:3]))]
    array = tiny_models.image((14, 19, 23), seed=5)
    upright = Volume(array, Geometry(array.shape, (1.6, 0.8, 1.1)), "MR")
    turned = [tiny_models.stored(upright, *tiny_models.ORIENTATIONS[i]) for i in (13, 38)]
    return [upright, *turned, Volume(array, tiny_models.oblique(array.shape, (1.3, 1.0, 0.7), 3), "MR")]


def _inputs(volumes: list[Volume]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {"count": np.asarray(len(volumes))}
    for n, volume in enumerate(volumes):
        found[f"voxels{n}"] = np.ascontiguousarray(volume.array, np.float32)
        found[f"spacing_mm{n}"] = np.asarray(volume.geometry.spacing_mm)
        found[f"direction{n}"] = np.asarray(volume.geometry.direction)
    return found


def _cascade(folder: Path) -> Bundle:
    """A network at 2 mm that shows its labels to one at 0.9 mm, on mirrored images as well."""
    lateral = {
        "training.augmentation.mirror_axes": [0, 2],
        "training.augmentation.swap_labels": [[1, 5]],
        "inference.mirror_axes": [2],
    }
    plan = tiny_models.cascade().changed(lateral | {"preparation.spacing_mm": [0.9, 0.9, 0.9]})
    first = export_bundle(
        folder / "coarse", plan.coarse, tiny_models.network(), selftest=[_volumes(3, 1)[0]], **_DESCRIBED
    )
    network = build_unet(plan.network, seed=8)
    # Guides are 0 and 1, the image is larger: without this the first network's labels would hardly count.
    first_kernel = next(v for v in network.trainable_variables if v.shape[-2] == 3)
    first_kernel.assign(first_kernel.numpy() * np.asarray([1, 20, 20], np.float32)[:, None])
    return export_bundle(folder / "bundle", plan, network, selftest=[_volumes(3, 1)[0]], coarse=first, **_DESCRIBED)


def _ensemble(folder: Path) -> Bundle:
    """A 3-D network, a 2-D one and a cascade, each on a grid of its own, calibrated and decided together."""
    solid = tiny_models.export(folder / "solid", 3, 1, **KINDS["window"][2])
    flat = tiny_models.export(folder / "flat", 2, 1, preparation__spacing_mm=[1.0, 0.8, 1.2])
    plan = solid.plan.changed({"inference.temperature": 0.8, "inference.logit_bias": [-0.1, 0.2]})
    return export_ensemble(folder / "bundle", [solid, flat, _cascade(folder / "two")], [3, 2, 1], plan=plan)


def _alone(folder: Path) -> Bundle:
    """An ensemble of one, which is decided twice: the member by its own temperature, the mean by the ensemble's."""
    solid = tiny_models.export(folder / "solid", 3, 1, **KINDS["window"][2])
    return export_ensemble(folder / "bundle", [solid])


def _regions(folder: Path) -> Bundle:
    """Two networks of overlapping regions, with thresholds of their own."""
    members = []
    for seed, spacing in enumerate(([1.2, 0.9, 1.1], [1.0, 1.0, 1.0])):
        plan = tiny_models.plan(
            regions=REGIONS, network__classes=2, preparation__spacing_mm=spacing, inference__logit_bias=[0.3, -0.2]
        )
        network = build_unet(plan.network, seed=seed)
        members.append(export_bundle(folder / str(seed), plan, network, selftest=[_volumes(3, 1)[0]], **_DESCRIBED))
    plan = members[0].plan.changed({"inference.temperature": 0.6, "inference.logit_bias": [-0.2, 0.1]})
    return export_ensemble(folder / "bundle", members, [3, 1], plan=plan)


_DESCRIBED: dict[str, Any] = {"provenance": Provenance(dataset="noise"), "card": "# Tiny\n", "version": "1.0"}
SEVERAL = {"cascade": _cascade, "ensemble": _ensemble, "alone": _alone, "regions": _regions}


@pytest.fixture(scope="module", params=[*KINDS, *SEVERAL])
def kind(request, tmp_path_factory) -> tuple[Bundle, list[Volume]]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param in SEVERAL:
        return SEVERAL[request.param](folder), _volumes(3, 1)
    dims, channels, changes = KINDS[request.param]
    bundle = tiny_models.export(folder / "bundle", dims, channels, **changes)
    return bundle, _volumes(dims, channels)


def _runtime(bundle: Bundle) -> Runtime:
    """The bundle's networks in the arithmetic of an export."""
    members = bundle.members()
    if members:
        return given([m.plan for m, _ in members], [_runtime(m) for m, _ in members], [w for _, w in members])
    return exactly(load_network(bundle), bundle.coarse() if bundle.plan.coarse else None)


def _expected(bundle: Bundle, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities, _ = segment(bundle.plan, _runtime(bundle), volume, keep_probabilities=True)
    assert probabilities is not None
    return labels.array, probabilities


def test_a_saved_model_run_by_plain_tensorflow_gives_the_same_labels(kind, tmp_path):
    bundle, volumes = kind
    folder, artefact = export_artefact(bundle, tmp_path / "served", "saved-model")
    assert folder == tmp_path / "served" / "1"
    np.savez(tmp_path / "inputs.npz", **_inputs(volumes))
    script = [sys.executable, "-I", "-c", PLAIN, str(folder), str(tmp_path / "inputs.npz"), str(tmp_path / "out.npz")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "out.npz") as found:
        for n, volume in enumerate(volumes):
            labels, probabilities = _expected(bundle, volume)
            assert found[f"labels{n}"].dtype == labels.dtype
            assert len(np.unique(labels)) > 1
            assert (found[f"labels{n}"] == labels).mean() >= 0.9999
            assert np.abs(found[f"probabilities{n}"] - probabilities).max() < 1e-3
    written = json.loads((folder / "assets.extra" / "segloop.json").read_text("utf-8"))
    assert written["digest"] == bundle.digest == artefact.digest
    assert written["labels"] == {"1": "one", "5": "five"}


class _Nothing:
    """A first network that finds nothing."""

    name, precision = "nothing", "float32"

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return np.concatenate([np.ones((*batch.shape[:-1], 1)), np.zeros((*batch.shape[:-1], 2))], -1).astype(
            np.float32
        )


def test_what_the_first_network_of_a_cascade_finds_counts(tmp_path):
    """Or else an artefact that leaves it out would go unnoticed."""
    bundle, volume = _cascade(tmp_path), _volumes(3, 1)[0]
    blind, _, _ = segment(bundle.plan, Cascade(_Nothing(), TensorFlow(load_network(bundle))), volume)
    assert (blind.array != _expected(bundle, volume)[0]).mean() > 0.01


def test_the_first_network_of_a_cascade_has_the_precision_of_the_second(tmp_path):
    """On any processor: expected labels come from float32, and steady ones are those that bfloat16 gives as well."""
    bundle = _cascade(tmp_path)
    exact, fast = (exactly(load_network(bundle, dtype), bundle.coarse()) for dtype in ("float32", "mixed_bfloat16"))
    assert (exact.coarse.precision, fast.coarse.precision) == ("float32", "bfloat16")
    batch = np.random.default_rng(0).normal(size=(1, 16, 16, 16, 1)).astype(np.float32)
    expected = np.asarray(load_network(bundle.coarse())([batch], training=False))
    np.testing.assert_allclose(exact.coarse(batch), expected, atol=1e-4)
    assert np.abs(fast.coarse(batch) - expected).max() > 1e-3


def test_a_cascade_takes_the_channel_files_of_its_images_and_not_of_its_guides(tmp_path):
    bundle = _cascade(tmp_path)
    images = [tmp_path / f"a_{number:04d}.nii.gz" for number in range(2)]
    for path in images:
        files.write(_volumes(3, 1)[0], path)
    assert main(["predict", str(bundle.path), *map(str, images), "-o", str(tmp_path / "masks")]) == 0
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["a_0000.nii.gz", "a_0001.nii.gz"]


def test_what_an_artefact_cannot_do_with_several_networks_is_refused(tmp_path):
    bundle = _ensemble(tmp_path)
    with pytest.raises(ModelError, match="LiteRT artefact holds one") as caught:
        export_artefact(bundle, tmp_path / "edge", "litert")
    assert caught.value.code == "runtime.unavailable"
    plan = tiny_models.cascade().changed({"coarse.post.steps": [{"label": 1, "largest_component": True}]})
    case = [_volumes(3, 1)[0]]
    first = export_bundle(tmp_path / "coarse", plan.coarse, tiny_models.network(), selftest=case, **_DESCRIBED)
    network = build_unet(plan.network, seed=8)
    cleaned = export_bundle(tmp_path / "both", plan, network, selftest=case, coarse=first, **_DESCRIBED)
    with pytest.raises(ModelError, match="cleaned of components"):
        export_artefact(cleaned, tmp_path / "served", "saved-model")
    assert not (tmp_path / "served").exists()
    assert not (tmp_path / "edge").exists()


@pytest.mark.parametrize("name", ["window", "colour", "cascade", "ensemble"])
def test_an_openvino_graph_gives_the_same_labels(name, tmp_path):
    if name in SEVERAL:
        bundle, volumes = SEVERAL[name](tmp_path), _volumes(3, 1)
    else:
        dims, channels, changes = KINDS[name]
        bundle, volumes = tiny_models.export(tmp_path / "bundle", dims, channels, **changes), _volumes(dims, channels)
    folder, artefact = export_artefact(bundle, tmp_path / "graph", "openvino")
    assert any("Nothing is refused" in sentence for sentence in artefact.leaves)
    graph = openvino_core().compile_model(str(folder / "segloop.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = _inputs(volumes)
    for n, volume in enumerate(volumes):
        answer = graph({key: given[f"{key}{n}"] for key in ("voxels", "spacing_mm", "direction")})
        assert (answer["labels"] == _expected(bundle, volume)[0]).mean() >= 0.9999


def test_regions_are_painted_in_order_inside_the_graph(tmp_path):
    import tensorflow as tf

    from segloop.infer.artefacts.restore import decide, probabilities
    from segloop.prep.decision import Decision

    decision = Decision((1, 5), regions=True, temperature=1.5, bias=(0.4, -0.3))
    scores = np.random.default_rng(0).normal(size=(4, 5, 6, 2)).astype(np.float32)
    ours = decision.probabilities(np.moveaxis(scores, -1, 0).copy())
    inside = probabilities(decision, tf.constant(scores))
    assert np.allclose(np.moveaxis(inside.numpy(), -1, 0), ours, atol=1e-6)
    assert np.array_equal(decide(decision, inside).numpy(), decision.labels(ours))


@pytest.mark.parametrize(("dims", "channels"), [(3, 1), (2, 3)], ids=["3-D", "2-D colour"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_litert_holds_the_weights_in_the_type_asked_for_and_agrees(dims, channels, precision, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    bundle = tiny_models.bundle(dims, channels)
    folder, artefact = export_artefact(bundle, tmp_path / "edge", "litert", precision=precision)
    weights = sum(array.size for array in bundle.weights().values())
    other = {"float32": "float16", "float16": "float32"}[precision]
    assert artefact.weight_values[precision] > 0.9 * weights
    assert artefact.weight_values.get(other, 0) < artefact.weight_values[precision]
    interpreter = Interpreter(model_path=str(folder / "model.tflite"))
    interpreter.allocate_tensors()
    (image,), (logits,) = interpreter.get_input_details(), interpreter.get_output_details()
    batch = np.random.default_rng(1).normal(size=image["shape"]).astype(np.float32)
    interpreter.set_tensor(image["index"], batch)
    interpreter.invoke()
    expected = np.asarray(load_network(bundle)(batch, training=False))
    assert np.abs(interpreter.get_tensor(logits["index"]) - expected).max() < 0.02 * np.abs(expected).max()


def test_a_second_export_is_the_next_version_and_other_folders_are_not_replaced(tmp_path):
    bundle = tiny_models.bundle()
    base = tmp_path / "served"
    (base / "7").mkdir(parents=True)
    assert export_artefact(bundle, base, "saved-model")[0].name == "8"
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine", "utf-8")
    with pytest.raises(InputError, match="nothing is replaced"):
        export_artefact(bundle, tmp_path / "taken", "litert")
    assert sorted(p.name for p in base.iterdir()) == ["7", "8"]
    assert [p.name for p in Path(tmp_path / "taken").iterdir()] == ["notes.txt"]
