"""Instances that somebody has withdrawn by a rejection note: images no longer used, results no longer valid.

Marks are files, `rejected/<study token>/<instance token>`, on disk before the note's sender hears Success.
"""

from __future__ import annotations

from pathlib import Path

from segloop.io.dicom import Rejection
from segloop.store import Tokens, make_folder, write_whole
from segloop.store.spool import SUFFIX


class Rejected:
    """The withdrawn instances of a deployment.

    Args:
        folder: Where the marks are kept.
        tokens: Names for studies and instances.
    """

    def __init__(self, folder: Path, tokens: Tokens) -> None:
        self._folder, self._tokens = folder, tokens

    def take(self, note: Rejection) -> frozenset[str]:
        """Mark what a note withdraws, on disk when this returns; returns the tokens of the studies it concerns.

        Raises:
            ServiceError: `disk.full`.
        """
        studies = frozenset(self._tokens.study(series.study_uid) for series in note.series)
        for series in note.series:
            folder = self._folder / self._tokens.study(series.study_uid)
            make_folder(folder)
            for uid in series.sop_instance_uids:
                write_whole(note.code.encode(), folder / self._tokens.instance(uid))
        return studies

    def of(self, study: str) -> frozenset[str]:
        """Tokens of a study's withdrawn instances."""
        folder = self._folder / study
        return (
            frozenset(path.name for path in folder.iterdir() if path.suffix == "") if folder.exists() else frozenset()
        )

    def files(self, study: str) -> frozenset[str]:
        """Names that a study's withdrawn instances have in the spool."""
        return frozenset(f"{token}{SUFFIX}" for token in self.of(study))

    def holds(self, study: str, sop_instance_uid: str) -> bool:
        """Whether an instance was withdrawn."""
        return (self._folder / study / self._tokens.instance(sop_instance_uid)).exists()
