"""What of a series' files makes up its volume: copies, survey and derived images left out, parts put together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from segloop.errors import InputError
from segloop.io.dicom.grid import Stack, stack
from segloop.io.dicom.header import Header, number, text
from segloop.io.dicom.refs import InstanceRef, Refusal
from segloop.io.dicom.slices import Slice, slices_of
from segloop.plan import UnevenSlices


def without_copies(headers: Sequence[Header]) -> tuple[list[Header], list[Refusal]]:
    """The files with byte-identical copies of one instance left out, and a fault for differing ones."""
    kept: list[Header] = []
    faults: list[Refusal] = []
    seen: dict[str, InstanceRef] = {}
    for header in headers:
        uid = text(header.dataset, "SOPInstanceUID")
        instance = InstanceRef(header.path, uid, "")
        if uid and uid in seen:
            if seen[uid].sha256() != instance.sha256():
                names = f"{seen[uid].path.name} and {header.path.name}"
                faults.append(Refusal("input.duplicate", f"{names} have one SOP instance UID but different bytes."))
            continue
        seen[uid] = instance
        kept.append(header)
    return kept, faults


def is_localizer(header: Header) -> bool:
    """Whether it is a survey image for planning."""
    return "LOCALIZER" in text(header.dataset, "ImageType").upper()


def is_derived(header: Header) -> bool:
    """Whether its pixels were computed from other images: reformations, projections, captures."""
    return text(header.dataset, "ImageType").upper().lstrip("['").startswith("DERIVED")


def without_surveys(headers: Sequence[Header]) -> tuple[list[Header], tuple[str, ...]]:
    """The files without the survey images among them, and a note that says so; all of them when there is nothing else.

    Scanners put the survey into the same series as the slices that were planned on it.
    """
    kept = [header for header in headers if not is_localizer(header)]
    if not kept or len(kept) == len(headers):
        return list(headers), ()
    return kept, (f"{len(headers) - len(kept)} survey image(s) (localizer) left out",)


def incomplete(headers: Sequence[Header]) -> list[Refusal]:
    """A fault for each concatenation (one image in several files) of which a part is missing, or there twice.

    Source: DICOM PS3.3 C.7.6.16.1.3, Concatenation.
    """
    parts: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        uid = text(header.dataset, "ConcatenationUID")
        if uid:
            parts[uid].append(header)
    faults = []
    for group in parts.values():
        numbers = {number(header.dataset, "InConcatenationNumber") or 0 for header in group}
        if len(numbers) < len(group):
            faults.append(
                Refusal(
                    "input.duplicate",
                    f"{len(group)} files share {len(numbers)} numbers of parts of an image in several files (a "
                    "concatenation).",
                )
            )
            continue
        stated = max(number(header.dataset, "InConcatenationTotalNumber") or 0 for header in group)
        total = max(stated, *numbers)
        if numbers != set(range(1, total + 1)):
            there = len(numbers & set(range(1, total + 1)))
            faults.append(
                Refusal(
                    "geometry.missing_slices",
                    f"{there} of the {total} parts of an image in several files (a concatenation) are there.",
                )
            )
    return faults


def arranged(headers: Sequence[Header], modality: str, uneven: UnevenSlices) -> tuple[list[Header], Stack]:
    """The files that form a stack, and the stack.

    Where all of them form none, and the fewer of them are derived from the others (a projection sent along with its
    slices), the originals alone are tried, and a note names what was left out.

    Raises:
        InputError: As `stack` does, for all files.
    """
    try:
        return list(headers), stack(_slices(headers), modality, uneven)
    except InputError:
        originals = [header for header in headers if not is_derived(header)]
        left_out = len(headers) - len(originals)
        if not 0 < left_out < len(originals):
            raise
        try:
            found = stack(_slices(originals), modality, uneven)
        except InputError:
            found = None
        if found is None:
            raise
        note = f"{left_out} derived image(s) among the originals left out"
        return originals, Stack(found.slices, found.geometry, (*found.notes, note), found.regrid, found.warnings)


def _slices(headers: Sequence[Header]) -> list[Slice]:
    return [place for i, header in enumerate(headers) for place in slices_of(header, i)]
