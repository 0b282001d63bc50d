"""TensorFlow Serving: the network of an export, on a server; everything around it is done here.

Source: TensorFlow Serving's RESTful API (predict, columnar format; outputs that end in `_bytes` come in base64);
`tf.io.serialize_tensor` for the bytes.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, ValidationError

from segloop.errors import InputError, ModelError, ServiceError
from segloop.infer.runtimes.base import one_network_only
from segloop.io.web import Endpoint, post
from segloop.settings import is_loopback

if TYPE_CHECKING:
    from segloop.infer.bundle import Bundle

_SIGNATURE = "windows"
# A server that has other work first may take long over one batch.
_PATIENCE_S = 300.0
_LATER = frozenset({408, 425, 429})
# TensorProto: field 1 (type) is float32, then field 2 (shape); `serialize_tensor` puts the values last, in one piece.
_FLOAT32 = b"\x08\x01\x12"
_VALUES = b"\x22"


class _Binary(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    b64: str


class _Scores(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    logits_bytes: _Binary
    digest: str


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    outputs: _Scores


class Serving:
    """The signature `windows` of the bundle's SavedModel export, in float32.

    Every answer says which bundle it was made from, so that a server whose model was changed meanwhile is found out.

    Args:
        bundle: With one network.
        url: `http(s)://HOST:PORT`, with the bundle's name for a model, or `…/v1/models/NAME[/versions/N]`. Without TLS
            only on this machine.

    Raises:
        InputError: `usage` for another kind of address.
        ModelError: `runtime.unavailable` for a bundle of several networks; `model.mismatch` when the server has another
            model.
        ServiceError: `peer.unavailable`, `peer.refused`, `peer.untrusted` or `peer.garbled`.
    """

    name = "serving"
    precision = "float32"

    def __init__(self, bundle: Bundle, url: str) -> None:
        if bundle.manifest.members or bundle.plan.coarse is not None:
            raise one_network_only(bundle.manifest.name)
        self._model = _model_address(url, bundle.manifest.name)
        self._target = Endpoint(url=f"{self._model}:predict", timeout_seconds=_PATIENCE_S)
        self._context = ssl.create_default_context()
        self._digest, self._classes = bundle.digest, bundle.plan.network.classes
        # Asked once with the least that passes the network, so that what is wrong is said before any work is done.
        network = bundle.plan.network
        self(np.zeros((1, *network.divisor[3 - network.dims :], network.channels), np.float32))

    def __call__(self, batch: Float[np.ndarray, "b *space c"]) -> Float[np.ndarray, "b *space k"]:
        """Logits; see `Runtime`."""
        shape = (*batch.shape[:-1], self._classes)
        windows = base64.b64encode(np.ascontiguousarray(batch, "<f4").tobytes()).decode("ascii")
        question = {
            "signature_name": _SIGNATURE,
            "inputs": {"windows": {"b64": windows}, "shape": list(batch.shape)},
        }
        expected = int(np.prod(shape)) * 4
        status, body = post(
            self._target,
            json.dumps(question).encode(),
            {"Content-Type": "application/json"},
            self._context,
            longest=2 * expected + (1 << 16),
        )
        if status != 200:
            raise self._refused(status, body)
        try:
            found = _Answer.model_validate_json(body).outputs
            values = base64.b64decode(found.logits_bytes.b64, validate=True)
        except (ValidationError, ValueError) as fault:
            raise self._garbled("an answer of another form") from fault
        if found.digest != self._digest:
            raise ModelError(
                f"{self._model} runs another model than the bundle that was given.",
                code="model.mismatch",
                found=found.digest,
                expected=self._digest,
                hint="Export this very bundle with `segloop export --format saved-model`, and let the server load it.",
            )
        return self._values(values, shape)

    def _values(self, proto: bytes, shape: tuple[int, ...]) -> Float[np.ndarray, "b *space k"]:
        """The tensor in a serialised TensorProto, when it is one of float32 and `shape`."""
        size = int(np.prod(shape)) * 4
        head = _FLOAT32 + _sized(b"".join(b"\x12" + _sized(b"\x08" + _varint(n)) for n in shape))
        head += _VALUES + _varint(size)
        if len(proto) != len(head) + size or not proto.startswith(head):
            raise self._garbled("scores of another shape or type")
        # A copy, because bytes cannot be written to.
        return np.frombuffer(proto, "<f4", offset=len(head)).reshape(shape).astype(np.float32)

    def _refused(self, status: int, body: bytes) -> ServiceError:
        """With the server's own words, but for what it repeats of the request."""
        try:
            words = str(json.loads(body)["error"]).partition("JSON Value")[0]
        except (ValueError, KeyError, TypeError):
            words = ""
        said = "".join(letter for letter in words.strip() if letter.isprintable())[:300]
        later = status in _LATER or status >= 500
        return ServiceError(
            f"{self._model} answers with status {status}" + (f": {said}" if said else "."),
            code="peer.unavailable" if later else "peer.refused",
            found=status,
            hint="See the server's log; --rest_api_timeout_in_ms sets how long TensorFlow Serving works on one answer."
            if later
            else "Check the model's name with GET /v1/models/NAME; it must be an export of this version of segloop.",
        )

    def _garbled(self, what: str) -> ServiceError:
        return ServiceError(
            f"{self._model} gives {what}; expected the signature `{_SIGNATURE}` of an export.",
            code="peer.garbled",
            hint="Export the bundle again with this version of segloop.",
        )


def _sized(content: bytes) -> bytes:
    return _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """A number as protocol buffers write it: seven bits a byte, the lowest first."""
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _model_address(url: str, name: str) -> str:
    """`…/v1/models/NAME[/versions/N]` of what the user gave."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:  # a port that is no number, half an IPv6 address
        sound = False
    found = re.fullmatch(r"(?:/v1/models/([^/]+)(/versions/[0-9]+)?)?/?", parts.path) if sound else None
    if found is None or parts.query or parts.fragment or "@" in parts.netloc or not parts.netloc.isascii():
        raise InputError(
            f"{url} is no address of TensorFlow Serving.",
            code="usage",
            found=url,
            expected="http(s)://HOST:PORT[/v1/models/NAME[/versions/N]]",
            hint="Its REST port is 8501 unless it was told another.",
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise InputError(
            f"{parts.netloc} is beyond this machine, and images of patients would go there unencrypted.",
            code="usage",
            found=url,
            expected="https, or an address on this machine",
            hint="Put a TLS proxy before the server, or a tunnel (ssh -L 8501:localhost:8501) to it.",
        )
    model = quote(unquote(found[1] or name), safe="")
    return f"{parts.scheme}://{parts.netloc}/v1/models/{model}{found[2] or ''}"
