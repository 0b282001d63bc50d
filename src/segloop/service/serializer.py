"""How DBOS writes inputs, outputs and errors: as JSON, and of an error its code only, so that no identity gets in."""

from __future__ import annotations

import json
from typing import Any

from dbos import Serializer

from segloop.errors import CODES, SegloopError

_ERROR = "segloop.error"


class JsonSerializer(Serializer):
    """Plain JSON. An error comes back as a `SegloopError` with the same code and its general sentence."""

    def serialize(self, data: Any) -> str:
        """The text for a value of JSON's kinds, or for an exception."""
        if isinstance(data, BaseException):
            code = data.code if isinstance(data, SegloopError) else "internal"
            return json.dumps({_ERROR: code, "type": type(data).__name__})
        return json.dumps(data)

    def deserialize(self, serialized_data: str) -> Any:
        """The value of a text."""
        data = json.loads(serialized_data)
        if isinstance(data, dict) and _ERROR in data:
            return plain_error(data[_ERROR])
        return data

    def name(self) -> str:
        """What DBOS notes beside each value."""
        return "segloop_json"


def plain_error(code: str) -> SegloopError:
    """An error that says what its code says and nothing about the case."""
    return SegloopError(CODES.get(code, CODES["internal"]), code=code if code in CODES else "internal")
