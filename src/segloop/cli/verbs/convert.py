"""`segloop convert`: any image, DICOM series, segmentation or structure set to a volume file."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.console import Console
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.io.dicom import SeriesRef
    from segloop.io.rois import RoiFile
    from segloop.volume import Labels

_ALONE = frozenset({"labels.no_series", "input.not_an_image", "input.empty", "input.two_patients"})
"""Why a folder around a segmentation gives no series for it; then it keeps the grid it brings with it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="image file, DICOM file, folder or zip, SEG or RTSTRUCT file"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="OUT.nii.gz, OUT.nrrd, OUT.mha or a folder"
    )
    parser.add_argument("--series", metavar="UID", help="the DICOM series to take, or to put a segmentation on")
    parser.add_argument(
        "--series-folder",
        type=Path,
        metavar="FOLDER",
        help="the series that a SEG or RTSTRUCT was drawn on; looked for beside it when not given",
    )
    parser.add_argument(
        "--apart", action="store_true", help="each segment or structure to a file of its own, overlapping ones too"
    )


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Convert; of several DICOM series a file takes the one asked for, a folder takes all that can be read."""
    from segloop.io import dicom, files, rois

    source, out = arguments.input, arguments.output
    if arguments.apart and files.is_image_file(out):
        raise InputError("--apart writes several files; give a folder with -o.", code="usage", found=out.name)
    if source.is_file() and files.is_image_file(source):
        target = out if files.is_image_file(out) else out / f"{files.stem(source)}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write(files.read(source), target)
        console.say(f"{source.name} -> {target}")
        return {"written": [str(target)], "refused": [], "labels": {}}
    with dicom.opened(source) as folder:
        drawn = rois.find_rois(folder.paths)
        if drawn and len(folder.paths) == 1:
            series = _series_for(drawn[0], arguments.series_folder, arguments.series)
            if series is None:
                console.say(f"no series for {drawn[0].path.name} was found beside it; the file's own grid is taken")
            named = _written(drawn[0], series, out, drawn[0].path.stem, arguments.apart, console)
            return {"written": list(named), "refused": [], "labels": named}
        return _folder(arguments, console, folder, drawn)


def _folder(arguments: argparse.Namespace, console: Console, folder: Any, drawn: Sequence[RoiFile]) -> dict[str, Any]:
    """Every series that can be read, and into a folder every segmentation of them as well."""
    from segloop.io import dicom, files

    out = arguments.output
    scanned = dicom.scan_files(folder)
    outlines = {roi.path for roi in drawn}
    images = [s for s in scanned if not outlines.issuperset(f.path for f in s.files)]
    found = [s for s in images if arguments.series in (None, s.series_uid)]
    good = [s for s in found if not s.faults]
    if files.is_image_file(out) and len(good) > 1:
        raise InputError(
            f"{len(good)} series could be meant; choose one with --series, or give a folder.",
            code="input.ambiguous_series",
            found=[s.series_uid for s in good],
        )
    if not good:
        reason = found[0].faults[0] if found else None
        raise InputError(
            reason.message if reason else f"No series {arguments.series} in {folder.name}.",
            code=reason.code if reason else "input.empty",
            found=[f.message for s in found for f in s.faults],
        )
    written: list[str] = []
    for done, series in enumerate(good):
        target = out if files.is_image_file(out) else out / f"{series.series_uid}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write(dicom.read_series(series), target)
        console.say(f"{series.title} -> {target}")
        console.progress(done + 1, len(good), "series")
        written.append(str(target))
    refused = [{"series_uid": s.series_uid, "reasons": [f.message for f in s.faults]} for s in found if s.faults]
    for entry in refused:
        console.say(f"refused {entry['series_uid']}: {'; '.join(entry['reasons'])}")
    labels: dict[str, dict[str, str]] = {}
    if files.is_image_file(out):
        for roi in drawn:
            console.say(f"{roi.path.name} is not converted: OUT is one file; give the file itself, or a folder")
    else:
        labels = _outlines(arguments, console, drawn, good, refused)
    return {"written": [*written, *labels], "refused": refused, "labels": labels}


def _outlines(
    arguments: argparse.Namespace,
    console: Console,
    drawn: Sequence[RoiFile],
    series: Sequence[SeriesRef],
    refused: list[dict[str, Any]],
) -> dict[str, dict[str, str]]:
    """The segmentations of the series that were converted; why others were not is added to `refused`."""
    labels: dict[str, dict[str, str]] = {}
    counts: Counter[str] = Counter()
    for roi in drawn:
        try:
            own = roi.series(series)
            stem = f"{own.series_uid}_{roi.kind.lower()}"
            counts[stem] += 1
            stem = f"{stem}{counts[stem]}"
            labels |= _written(roi, own, arguments.output, stem, arguments.apart, console)
        except InputError as fault:
            refused.append({"file": roi.path.name, "reasons": [str(fault)]})
            console.say(f"refused {roi.path.name}: {fault}")
    return labels


def _written(
    roi: RoiFile, series: SeriesRef | None, out: Path, stem: str, apart: bool, console: Console
) -> dict[str, dict[str, str]]:
    """Write the labels of one file; each file written, with its label numbers and names."""
    from segloop.io import files

    named: dict[str, dict[str, str]] = {}
    for name, labels in _labels(roi, series, stem, apart):
        target = out if files.is_image_file(out) else out / f"{name}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write(labels, target)
        shown = ", ".join(f"{number} {text}" for number, text in labels.names.items())
        console.say(f"{roi.path.name} -> {target} ({shown})")
        named[str(target)] = {str(number): text for number, text in labels.names.items()}
    return named


def _labels(roi: RoiFile, series: SeriesRef | None, stem: str, apart: bool) -> Iterator[tuple[str, Labels]]:
    from segloop.io import rois

    if not apart:
        yield stem, rois.read_labels(roi.path, series)
        return
    for part in rois.read_parts(roi.path, series):
        yield f"{stem}_{next(iter(part.names))}", part


def _series_for(roi: RoiFile, folder: Path | None, uid: str | None) -> SeriesRef | None:
    """The series that a segmentation goes on; None for a SEG that has none beside it and brings its own grid."""
    from segloop.io import dicom

    try:
        with dicom.opened(folder or roi.path.parent) as beside:
            found = dicom.scan_files(beside)
        if uid is None:
            return roi.series(found)
        asked = [series for series in found if series.series_uid == uid]
        if not asked:
            raise InputError(f"No series {uid} beside {roi.path.name}.", code="labels.no_series", expected=uid)
        return asked[0]
    except InputError as fault:
        if folder is not None or uid is not None or roi.kind != "SEG" or fault.code not in _ALONE:
            raise
        return None
