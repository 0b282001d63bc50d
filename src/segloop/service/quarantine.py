"""What cannot be processed, kept with the reason: `quarantine/<token>/reason.json` and the files beside it.

The folder is protected like the spool: reasons may quote a series description. Databases and logs get the code.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from segloop.errors import SegloopError
from segloop.log import get_logger
from segloop.plan import Frozen
from segloop.store import make_folder, now, write_whole

_log = get_logger(__name__)


class Reason(Frozen):
    """Why something lies in quarantine.

    Attributes:
        token: Name of the folder.
        study: Token of the study it belongs to; empty when it could not be told.
        kind: An instance that was not taken in, or a version of a study that cannot be processed.
        code: Error code.
        message: What was found, what was expected, what to do.
        received: When, ISO 8601 in UTC.
        files: Names of the files beside the reason.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    token: str
    study: str
    kind: Literal["instance", "study"]
    code: str
    message: str
    received: str
    files: tuple[str, ...]


class Quarantine:
    """The quarantine below one folder. Putting the same thing in again changes nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        make_folder(root)

    def put_instance(self, token: str, study: str, fault: SegloopError, content: bytes) -> None:
        """Keep the bytes of an instance that was not taken in.

        Raises:
            ServiceError: `disk.full`.
        """
        self._put(token, study, "instance", fault, {"instance.dcm": content})

    def put_study(self, token: str, study: str, fault: SegloopError, files: Sequence[Path]) -> None:
        """Keep the files of a version of a study; links where the disk can, so that nothing is stored twice.

        Raises:
            ServiceError: `disk.full`.
        """
        self._put(token, study, "study", fault, {path.name: path for path in files})

    def release(self, token: str) -> None:
        """Take something out again, because a later try succeeded."""
        shutil.rmtree(self.root / token, ignore_errors=True)

    def reasons(self) -> tuple[Reason, ...]:
        """Everything in quarantine, newest first."""
        found: list[Reason] = []
        for path in self.root.glob("*/reason.json"):
            try:
                found.append(Reason.model_validate_json(path.read_bytes()))
            except (OSError, ValidationError):
                _log.error("quarantine reason is unreadable", token=path.parent.name)
        return tuple(sorted(found, key=lambda reason: reason.received, reverse=True))

    def _put(
        self,
        token: str,
        study: str,
        kind: Literal["instance", "study"],
        fault: SegloopError,
        files: Mapping[str, bytes | Path],
    ) -> None:
        folder = self.root / token
        if (folder / "reason.json").exists():
            return
        make_folder(folder)
        for name, content in files.items():
            if isinstance(content, bytes):
                write_whole(content, folder / name)
            else:
                _link(content, folder / name)
        reason = Reason(
            token=token,
            study=study,
            kind=kind,
            code=fault.code,
            message=str(fault),
            received=now(),
            files=tuple(sorted(files)),
        )
        write_whole(reason.model_dump_json(indent=2, by_alias=True).encode(), folder / "reason.json")
        _log.warning("quarantined", token=token, study=study or None, code=fault.code, kind=kind)


def _link(source: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        # Some file systems have no hard links; a copy says the same.
        shutil.copyfile(source, target)
