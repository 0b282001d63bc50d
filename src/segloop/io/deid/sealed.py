"""A file that only the holder of a key can read or write: encrypted, authenticated, replaced as a whole."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hmac import compare_digest
from pathlib import Path

from segloop.errors import InputError, PrivacyError

_MAGIC = b"SEGLOOP MAPPING 1\n"
_SALT, _CHECK, _NONCE, _TAG = 32, 16, 12, 16
_HEAD = len(_MAGIC) + _SALT + _CHECK + _NONCE
_PURPOSE = b"segloop mapping table 1"
_PATIENCE_SECONDS = 600.0


def seal(content: bytes, key: bytes) -> bytes:
    """The content encrypted: a mark, a salt, a check of the key, a nonce, and the sealed bytes.

    Each call draws a new salt, hence another key and another nonce, so equal contents give unequal files.

    Source: HKDF, RFC 5869; AES-256-GCM, NIST SP 800-38D.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
    secret, check = _derived(key, salt)
    head = _MAGIC + salt + check + nonce
    return head + bytes(AESGCM(secret).encrypt(nonce, content, head))


def unseal(sealed: bytes, key: bytes) -> bytes:
    """The content of a sealed file.

    Raises:
        PrivacyError: `mapping.damaged`: not what `seal` wrote, to the last bit. `mapping.key`: sealed with another key.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head = sealed[:_HEAD]
    if not head.startswith(_MAGIC) or len(sealed) < _HEAD + _TAG:
        raise _damaged("it does not begin like one, or is cut off")
    salt, check = head[len(_MAGIC) :][:_SALT], head[len(_MAGIC) + _SALT :][:_CHECK]
    secret, expected = _derived(key, salt)
    if not compare_digest(check, expected):
        raise PrivacyError(
            "The mapping table was written with another key, or its first bytes are damaged.",
            code="mapping.key",
            hint="Name the key file that the copies were made with.",
        )
    try:
        return bytes(AESGCM(secret).decrypt(head[-_NONCE:], sealed[_HEAD:], head))
    except InvalidTag:
        raise _damaged("its contents were changed after they were sealed") from None


def read_sealed(path: Path) -> bytes:
    """A sealed file's bytes; empty when there is no such file.

    Raises:
        InputError: `input.unreadable`.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as fault:
        raise InputError(f"The mapping table {path.name} cannot be read ({fault.strerror}).") from fault


def replace_whole(content: bytes, path: Path) -> None:
    """Put a file on disk so that after a kill or a power cut the old one or the new one is there, whole.

    Only its owner may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name != "nt":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def alone(path: Path, patience_seconds: float = _PATIENCE_SECONDS) -> Iterator[None]:
    """Hold `PATH.lock`, so that of several processes one at a time reads and replaces a file.

    SQLite's lock is used because it is the same on every system, and because a killed process leaves none behind.

    Raises:
        PrivacyError: `mapping.busy`: another process held it for all that time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = sqlite3.connect(path.with_name(f"{path.name}.lock"), timeout=patience_seconds, isolation_level=None)
    try:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as fault:
            raise PrivacyError(
                f"Another process has held the mapping table for {patience_seconds:g} seconds.", code="mapping.busy"
            ) from fault
        yield
    finally:
        lock.close()


def _derived(key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """The key of one file, and what shows that a key is the right one without telling anything of it."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    material = bytes(HKDF(SHA256(), 32 + _CHECK, salt, _PURPOSE).derive(key))
    return material[:32], material[32:]


def _damaged(reason: str) -> PrivacyError:
    return PrivacyError(
        f"The mapping table fails its own check: {reason}.",
        code="mapping.damaged",
        hint="Take it from your backup; de-identifying the originals again with the same key makes a new one.",
    )
