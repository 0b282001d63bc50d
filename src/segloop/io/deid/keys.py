"""Pseudonyms, UIDs and date shifts from a key: the same on every host and after a restart, unlinkable without it."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from segloop.errors import InputError

SHORTEST_KEY = 16
LONGEST_UID = 64
_SHIFT_DAYS = (30, 3650)


def read_key(path: Path) -> bytes:
    """The secret in a key file: all its bytes, less white space at the ends.

    Raises:
        InputError: `input.unreadable`: there is no such file. `usage`: it has fewer than 16 bytes.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as fault:
        raise InputError(f"The key file {path.name} cannot be read.") from fault
    if len(key) < SHORTEST_KEY:
        raise InputError(
            f"The key file {path.name} has {len(key)} bytes.",
            code="usage",
            found=len(key),
            expected=f"at least {SHORTEST_KEY}",
            hint="Make one with: head -c 32 /dev/urandom | base64 > KEY",
        )
    return key


def pseudonym(patient_id: str, issuer: str, key: bytes) -> str:
    """The patient's pseudonym: 16 hex digits, the same for the same patient and key."""
    return keyed_hash(key, "patient", f"{patient_id.strip()}\\{issuer.strip()}").hex()[:16]


def new_uid(uid: str, key: bytes, root: str = "2.25") -> str:
    """A UID derived from another with the key, below a root.

    Source: DICOM PS3.5 section B.2, UUID-derived UIDs.
    """
    number = str(int.from_bytes(keyed_hash(key, "uid", uid)[:16], "big"))
    return f"{root}.{number[: LONGEST_UID - len(root) - 1]}"


def date_shift_days(alias: str, key: bytes) -> int:
    """By how many days a patient's dates move back: 30 to 3650, the same for all of the patient's files."""
    low, high = _SHIFT_DAYS
    return low + int.from_bytes(keyed_hash(key, "dates", alias)[:8], "big") % (high - low + 1)


def keyed_hash(key: bytes, kind: str, text: str) -> bytes:
    """HMAC-SHA-256 of a text; `kind` separates the uses of one key."""
    return hmac.new(key, f"{kind}\0{text}".encode(), hashlib.sha256).digest()
