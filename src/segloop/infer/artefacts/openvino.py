"""The whole pipeline as an OpenVINO graph."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import tensorflow as tf

from segloop.infer.artefacts.graph import Network
from segloop.infer.artefacts.saved_model import Pipeline, parts_of
from segloop.infer.bundle import Bundle, load_network
from segloop.infer.runtimes.openvino import load_openvino, openvino_core


def write_openvino(bundle: Bundle, folder: Path) -> None:
    """`segloop.xml` and `segloop.bin`: voxels, spacing_mm and direction to labels.

    OpenVINO's reader finds no variables inside loops, so the weights go in as constants; and it keeps no lists of
    tensors of different sizes, so the way back takes all slices at once.
    """
    pipeline = Pipeline(bundle.plan, parts_of(bundle, _constant), ensemble=bool(bundle.manifest.members), slabs=False)
    openvino = load_openvino()
    with TemporaryDirectory() as saved:
        tf.saved_model.save(pipeline, saved, signatures={"serving_default": pipeline.functions()["serving_default"]})
        graph = openvino_core().read_model(saved)
        folder.mkdir(parents=True, exist_ok=True)
        openvino.save_model(graph, str(folder / "segloop.xml"), compress_to_fp16=False)


def _constant(bundle: Bundle) -> Network:
    network = load_network(bundle)
    weights = [tf.constant(variable.numpy()) for variable in network.trainable_variables]
    fixed = [tf.constant(variable.numpy()) for variable in network.non_trainable_variables]
    return lambda batch: network.stateless_call(weights, fixed, [batch], training=False)[0]
