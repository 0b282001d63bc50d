"""The deployment's secret, and the keyed tokens that stand for identifiers in databases, logs and file names."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segloop.errors import ServiceError
from segloop.store.files import make_folder, write_whole

_SIZE = 32


@dataclass(frozen=True, slots=True)
class Tokens:
    """Turns identifiers into tokens that nobody can turn back, or make, without the key.

    Attributes:
        key: 32 secret bytes; never shown.
    """

    key: bytes = field(repr=False)

    @classmethod
    def load(cls, data_dir: Path) -> Tokens:
        """The key of a data folder, made (readable by the owner only) when there is none.

        Raises:
            ServiceError: The key file has another size than it was made with.
        """
        path = data_dir / "secret.key"
        if not path.exists():
            make_folder(data_dir)
            write_whole(secrets.token_bytes(_SIZE), path)
        key = path.read_bytes()
        if len(key) != _SIZE:
            raise ServiceError(
                f"{path.name} has {len(key)} bytes instead of {_SIZE}.",
                code="setup.missing",
                hint="Put the key back from a backup: without it, stored studies cannot be matched with new images.",
            )
        return cls(key)

    def token(self, kind: str, *parts: str) -> str:
        """32 hex digits for an identifier of a kind, e.g. `token("study", uid)`."""
        text = "\0".join((kind, *parts))
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()[:32]

    def study(self, study_uid: str) -> str:
        """The token of a study."""
        return self.token("study", study_uid)

    def instance(self, sop_instance_uid: str) -> str:
        """The token of a SOP instance."""
        return self.token("instance", sop_instance_uid)

    def patient(self, stated: Sequence[str]) -> str:
        """The token of a patient whom a study states completely; empty where it states nothing to go by."""
        return self.token("patient of results", *stated) if stated else ""

    def derived(self, purpose: str) -> bytes:
        """A key of its own for a purpose, so that its tokens cannot be linked with the ones here."""
        return hmac.new(self.key, b"derived\0" + purpose.encode(), hashlib.sha256).digest()
