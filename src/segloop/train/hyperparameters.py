"""What distinguishes one run from another, for TensorBoard's table of hyper-parameters."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from segloop.plan import Plan
from segloop.train.checkpoint import State

Value = bool | float | str


def hyperparameters(plan: Plan, state: State) -> dict[str, Value]:
    """The Plan's `network` and `training` as `--set` names them, with the seed and the fold of the run.

    Lists stand as `40, 56, 40`, what is not set as `none`.
    """
    document = plan.model_dump(mode="json", include={"network", "training"})
    flat: dict[str, Value] = {}
    _flatten("", document, flat)
    flat["training.seed"] = state.seed
    flat["fold"] = "all" if state.fold is None else str(state.fold)
    return flat


def session_start(values: Mapping[str, Value], name: str) -> Any:
    """TensorBoard's `Summary` that begins a row of the table.

    Args:
        values: The cells.
        name: Of the run. The row is called by it and six digits of a hash of the values, so that runs of one name in
            different folders share a row only when they are the same.
    """
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    digest = hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()
    return hparams_pb(dict(values), trial_id=f"{name} {digest[:6]}")


def session_end() -> Any:
    """TensorBoard's `Summary` that marks a row as done."""
    # Put together here because TensorBoard's own function needs TensorFlow, which a run on JAX may not have.
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
    content = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    summary = Summary()
    summary.value.add(tag=metadata.SESSION_END_INFO_TAG, metadata=content, tensor=metadata.NULL_TENSOR)
    return summary


def _flatten(prefix: str, node: Any, flat: dict[str, Value]) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            _flatten(f"{prefix}.{key}" if prefix else key, value, flat)
    elif isinstance(node, bool | int | float):
        flat[prefix] = node
    else:
        flat[prefix] = _text(node)


def _text(node: Any) -> str:
    if node is None:
        return "none"
    if not isinstance(node, list):
        return str(node)
    nested = any(isinstance(part, list) for part in node)
    return ("; " if nested else ", ").join(_text(part) for part in node) or "none"
