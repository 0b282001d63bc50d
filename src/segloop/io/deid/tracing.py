"""Whose a pseudonymised copy is, or a result about copies: what the mapping table tells the holder of its key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from segloop.errors import InputError, PrivacyError
from segloop.io.deid.copies import Refused
from segloop.io.deid.elements import MALFORMED
from segloop.io.deid.mapping import Links
from segloop.io.dicom.header import quiet, text
from segloop.io.dicom.refs import PatientRef, StudyRef

_TAGS = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]


@dataclass(frozen=True, slots=True)
class Traced:
    """A file without identity, and what it leads back to.

    Attributes:
        source: The file.
        patient: Whose it is.
        study: The original study.
        series_uid: The original series of a copy; empty for a result about copies.
        instance_uid: The original SOP instance of a copy; empty for a result.
    """

    source: Path
    patient: PatientRef
    study: StudyRef
    series_uid: str
    instance_uid: str


def trace(files: Sequence[Path], links: Links) -> tuple[tuple[Traced, ...], tuple[Refused, ...]]:
    """What each file leads back to, and the files that lead nowhere, with the reason.

    Args:
        files: Copies, or results about copies.
        links: The mapping table, from `read_links`.

    Returns:
        The traced, and the refused: `mapping.unknown`: the table does not know its study, or an instance that stands in
        the series of a copy. `identity.mismatch`: its patient is not the one of its study. `input.unreadable`.
    """
    found, refused = list[Traced](), list[Refused]()
    for number, path in enumerate(files, start=1):
        try:
            found.append(_traced(path, _read(path, f"{number} of {len(files)}"), links))
        except (InputError, PrivacyError) as fault:
            refused.append(Refused(path, fault.code, fault.message))
    return tuple(found), tuple(refused)


def aliases_in(files: Iterable[Path]) -> frozenset[str]:
    """The pseudonyms that files name as their patients; those that cannot be read name none."""
    found = set[str]()
    for number, path in enumerate(files, start=1):
        try:
            found.add(text(_read(path, str(number)), "PatientID"))
        except InputError:
            continue
    return frozenset(found - {""})


def _read(path: Path, which: str) -> Dataset:
    try:
        with quiet():
            return dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except (OSError, InvalidDicomError, *MALFORMED):
        raise InputError(f"File {which} cannot be read as DICOM.") from None


def _traced(path: Path, dataset: Dataset, links: Links) -> Traced:
    alias, study, series, instance = (text(dataset, keyword) for keyword in _TAGS)
    known = links.studies.get(study)
    if known is None:
        raise _unknown("its study")
    if alias != known.alias:
        raise PrivacyError("The file's patient is not the one of its study.", code="identity.mismatch", found=_TAGS[0])
    original, within = links.series.get(series, ("", study))
    first, part_of = links.instances.get(instance, ("", series))
    if within != study or part_of != series:
        raise PrivacyError(
            "The file stands in another series or study than its copy.", code="identity.mismatch", found=_TAGS[2]
        )
    if original and not first:
        raise _unknown("this instance, which stands in the series of a copy")
    return Traced(path, links.patients[alias].patient, known.study, original, first)


def _unknown(what: str) -> PrivacyError:
    return PrivacyError(
        f"The mapping table does not know {what}, so it leads to nobody.",
        code="mapping.unknown",
        found=what,
        expected="copies that were noted in this table, or results about them",
    )
