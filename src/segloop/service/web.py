"""Results to web addresses: a FHIR transaction, DICOM objects by STOW-RS, and word that there is a result.

An answer counts as a yes only when it says so of everything that was sent.

Source: HL7 FHIR R4, 3.1.0.11 (transaction); DICOM PS3.18, 10.5 (Store transaction).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segloop.errors import ServiceError
from segloop.io.web import Endpoint, post

_LATER = frozenset({408, 425, 429})


class _Reading(BaseModel):
    """Part of what a server answers; what else it says does not matter."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Response(_Reading):
    status: str


class _Entry(_Reading):
    response: _Response


class _Transaction(_Reading):
    type: str
    entry: tuple[_Entry, ...] = ()


class _Sequence(_Reading):
    value: tuple[Any, ...] = Field(default=(), alias="Value")


class _Stored(_Reading):
    failed: _Sequence = Field(default=_Sequence(), alias="00081198")
    taken: _Sequence = Field(default=_Sequence(), alias="00081199")


Answer = TypeVar("Answer", bound=_Reading)


def send_bundle(bundle: bytes, base: Endpoint, context: ssl.SSLContext, token: str = "") -> None:
    """Post a FHIR transaction; returns once the server says that every entry was done.

    Raises:
        ServiceError: `peer.unavailable`, `peer.untrusted`, `peer.refused` or `peer.garbled`.
    """
    kind = "application/fhir+json"
    headers = {"Content-Type": kind, "Accept": kind, "Prefer": "return=minimal", **_bearer(token)}
    answer = _understood(_Transaction, _post(base, bundle, headers, context), base)
    asked = len(json.loads(bundle)["entry"])
    if answer.type != "transaction-response" or len(answer.entry) != asked:
        raise ServiceError(f"{base} answers a transaction with something else.", code="peer.garbled")
    if any(not one.response.status.startswith("2") for one in answer.entry):
        raise ServiceError(f"{base} did not do every entry of the transaction.", code="peer.refused")


def send_objects(files: Sequence[Path], base: Endpoint, context: ssl.SSLContext, token: str = "") -> int:
    """Post DICOM files by STOW-RS; returns how many the server has taken, which is all of them.

    Raises:
        ServiceError: `peer.unavailable`, `peer.untrusted`, `peer.refused` or `peer.garbled`.
    """
    contents = [path.read_bytes() for path in files]
    # Derived from what is sent: 256 bits that occur in none of the parts but by design.
    boundary = hashlib.sha256(b"".join(contents)).hexdigest()
    parts = [b"--%b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % (boundary.encode(), one) for one in contents]
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
        **_bearer(token),
    }
    target = base.model_copy(update={"url": f"{base.url.rstrip('/')}/studies"})
    content = b"".join(parts) + f"--{boundary}--\r\n".encode()
    answer = _understood(_Stored, _post(target, content, headers, context), base)
    if answer.failed.value:
        raise ServiceError(f"{base} does not take every object.", code="peer.refused")
    if len(answer.taken.value) != len(files):
        raise ServiceError(f"{base} does not say that it has taken every object.", code="peer.garbled")
    return len(files)


def send_notice(notice: bytes, target: Endpoint, context: ssl.SSLContext, secret: str = "") -> None:
    """Post a JSON document; a secret signs it in `X-Segloop-Signature: sha256=…` (HMAC of the body).

    Raises:
        ServiceError: `peer.unavailable`, `peer.untrusted` or `peer.refused`.
    """
    headers = {"Content-Type": "application/json"}
    if secret:
        headers["X-Segloop-Signature"] = f"sha256={hmac.new(secret.encode(), notice, hashlib.sha256).hexdigest()}"
    _post(target, notice, headers, context)


def _post(target: Endpoint, content: bytes, headers: dict[str, str], context: ssl.SSLContext) -> bytes:
    """The body of an answer that says yes."""
    status, body = post(target, content, headers, context)
    if status in _LATER or status >= 500:
        raise ServiceError(f"{target} answers with status {status}: it cannot now.", found=status)
    if not 200 <= status < 300:
        raise ServiceError(
            f"{target} answers with status {status}.",
            code="peer.refused",
            found=status,
            hint="The server's own log says why.",
        )
    return body


def _understood(kind: type[Answer], body: bytes, base: Endpoint) -> Answer:
    try:
        return kind.model_validate_json(body)
    except ValidationError as fault:
        raise ServiceError(f"{base} answers with something that is no answer to this.", code="peer.garbled") from fault


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
