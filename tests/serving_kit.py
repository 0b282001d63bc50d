"""A stand-in for TensorFlow Serving's REST port: plain TensorFlow behind the JSON mapping that its documentation gives.

The real server comes as a container image only, which this project's tests cannot fetch. Source of the mapping:
TensorFlow Serving's "RESTful API" page and `util/json_tensor.cc` (columnar predict requests; `b64`; `_bytes`).
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import tensorflow as tf

from his_kit import Web


class TfServing:
    """Serves the newest version below each model base path.

    Attributes:
        questions: Path and decoded body of every request.
        url: `http://127.0.0.1:PORT`.
    """

    def __init__(self, **models: Path) -> None:
        self._models = models
        self._loaded: dict[Path, Any] = {}
        self.questions: list[tuple[str, dict[str, Any]]] = []
        self._web = Web(self._answer)
        self.url = self._web.url

    def stop(self) -> None:
        self._web.stop()

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        question = json.loads(body)
        self.questions.append((path, question))
        try:
            found = self._predicted(path, question)
        except LookupError as fault:
            return 404, json.dumps({"error": fault.args[0]}).encode()
        except (tf.errors.InvalidArgumentError, ValueError) as fault:
            return 400, json.dumps({"error": str(fault)}).encode()
        return 200, json.dumps({"outputs": found}).encode()

    def _predicted(self, path: str, question: dict[str, Any]) -> Any:
        asked = re.fullmatch(r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict", path)
        if asked is None or asked[1] not in self._models:
            raise LookupError(f"Servable not found for request: Latest({asked[1] if asked else path})")
        versions = {int(one.name): one for one in self._models[asked[1]].iterdir() if one.name.isdigit()}
        number = int(asked[2]) if asked[2] else max(versions)
        if number not in versions:
            raise LookupError(f"Servable not found for request: Specific({asked[1]}, {number})")
        place = versions[number]
        if place not in self._loaded:
            self._loaded[place] = tf.saved_model.load(str(place))
        name = question.get("signature_name", "serving_default")
        signatures = self._loaded[place].signatures
        if name not in signatures:
            raise ValueError(f'Serving signature name: "{name}" not found in signature def')
        wanted = signatures[name].structured_input_signature[1]
        if set(question["inputs"]) != set(wanted):
            raise ValueError("JSON object: does not have named input")
        given = {key: tf.constant(_decoded(value), wanted[key].dtype) for key, value in question["inputs"].items()}
        found = {key: _encoded(key, value) for key, value in signatures[name](**given).items()}
        return found if len(found) > 1 else next(iter(found.values()))


def _decoded(value: Any) -> Any:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _encoded(name: str, tensor: Any) -> Any:
    value = tensor.numpy()
    if tensor.dtype != tf.string:
        return value.tolist()
    # Scalars only: what these exports have.
    return {"b64": base64.b64encode(value).decode()} if name.endswith("_bytes") else value.decode()
