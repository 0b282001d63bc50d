"""Received instances as files: `spool/<study token>/<instance token>.dcm`, each on disk before it is acknowledged."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segloop.store.files import make_folder, write_whole

SUFFIX = ".dcm"


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of an instance.

    Attributes:
        state: `new`; `same`: it was there with the same bytes; `other`: with other bytes, and was not touched.
        path: The file that is there now.
    """

    state: Literal["new", "same", "other"]
    path: Path


class Spool:
    """The instances of all studies below one folder. Safe for threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._digests: dict[Path, str] = {}
        make_folder(root)
        for torn in root.glob("*/.*.tmp"):
            torn.unlink()

    def add(self, study: str, instance: str, content: bytes) -> Stored:
        """Keep an instance durably, unless one of that name is there.

        Args:
            study: Token of the study.
            instance: Token of the SOP instance.
            content: The whole file.

        Raises:
            ServiceError: `disk.full`; nothing was kept.
        """
        path = self.root / study / (instance + SUFFIX)
        digest = hashlib.sha256(content).hexdigest()
        with self._lock:
            if path.exists():
                return Stored("same" if self._digest(path) == digest else "other", path)
            make_folder(path.parent)
            write_whole(content, path)
            self._digests[path] = digest
            return Stored("new", path)

    def studies(self) -> tuple[str, ...]:
        """Tokens of the studies that hold an instance."""
        return tuple(sorted({path.parent.name for path in self.root.glob(f"*/*{SUFFIX}")}))

    def folder(self, study: str) -> Path:
        """The folder of a study's instances."""
        return self.root / study

    def files(self, study: str) -> tuple[str, ...]:
        """Names of a study's instance files, sorted."""
        return tuple(sorted(path.name for path in self.folder(study).glob(f"*{SUFFIX}")))

    def version(self, study: str, files: Sequence[str], revision: str = "") -> str:
        """32 hex digits that change with any instance of the study and with its bytes, and with the revision."""
        with self._lock:
            pairs = [f"{name} {self._digest(self.folder(study) / name)}" for name in sorted(files)]
        if revision:
            pairs.append(revision)
        return hashlib.sha256("\n".join(pairs).encode()).hexdigest()[:32]

    def _digest(self, path: Path) -> str:
        known = self._digests.get(path)
        if known is None:
            with path.open("rb") as stream:
                known = hashlib.file_digest(stream, "sha256").hexdigest()
            self._digests[path] = known
        return known
