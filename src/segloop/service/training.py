"""Copies kept for training: where they lie, and the sealed tables by which their owner finds back to the originals."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from segloop.errors import InputError
from segloop.io import deid
from segloop.store import Tokens

_SHORT = 16
_TABLES = "training-links"


def secret(tokens: Tokens) -> bytes:
    """The key that copies are made with, and their tables sealed."""
    return tokens.derived("training")


def case_folder(data_dir: Path, alias: str, key: str) -> Path:
    """Where the copy of a job's series lies: `training/PSEUDONYM/JOB`."""
    return data_dir / "training" / alias / key[:_SHORT]


def case_table(data_dir: Path, alias: str, key: str) -> Path:
    """The table of one case, outside of `training`, so that whoever is given that folder is not given the way back.

    Each case has one of its own: it costs the same whatever there is already, and goes with the case.
    """
    return data_dir / _TABLES / alias / f"{key[:_SHORT]}.map"


def links_of(data_dir: Path, aliases: Iterable[str]) -> deid.Links:
    """What the tables of some patients, given by pseudonym, hold together; empty where there are none.

    Raises:
        InputError: `input.unreadable`: the deployment keeps no such tables.
        PrivacyError: `mapping.key`, `mapping.damaged`.
        ServiceError: `setup.missing`: the deployment's key is not what it was.
    """
    if not (data_dir / _TABLES).is_dir():
        raise InputError(
            "This deployment keeps no tables that lead back from training copies.",
            expected=f"a data folder with {_TABLES}, of a service that has kept copies",
            hint="Name the deployment's settings file with --config.",
        )
    key = secret(Tokens.load(data_dir))
    # A pseudonym is 16 hex digits, and what else stands there as a patient's id is nobody's folder.
    known = sorted(alias for alias in set(aliases) if alias.isalnum())
    paths = [path for alias in known for path in sorted((data_dir / _TABLES / alias).glob("*.map"))]
    return deid.merged(deid.read_links(path, key) for path in paths)
