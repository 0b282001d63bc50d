"""`segloop convert`: any image or DICOM series to a volume file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segloop.cli.console import Console
from segloop.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="image file, or DICOM file, folder or zip")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="OUT.nii.gz, OUT.nrrd, OUT.mha or a folder"
    )
    parser.add_argument("--series", metavar="UID", help="the DICOM series to take")


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Convert; of several DICOM series a file takes the one asked for, a folder takes all that can be read."""
    from segloop.io import dicom, files

    source, out = arguments.input, arguments.output
    if source.is_file() and files.is_image_file(source):
        target = out if files.is_image_file(out) else out / f"{files.stem(source)}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write(files.read(source), target)
        console.say(f"{source.name} -> {target}")
        return {"written": [str(target)], "refused": []}
    with dicom.opened(source) as folder:
        found = [s for s in dicom.scan_files(folder) if arguments.series in (None, s.series_uid)]
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
                reason.message if reason else f"No series {arguments.series} in {source.name}.",
                code=reason.code if reason else "input.empty",
                found=[f.message for s in found for f in s.faults],
            )
        written = []
        for series in good:
            target = out if files.is_image_file(out) else out / f"{series.series_uid}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            files.write(dicom.read_series(series), target)
            console.say(f"{series.title} -> {target}")
            written.append(str(target))
    refused = [{"series_uid": s.series_uid, "reasons": [f.message for f in s.faults]} for s in found if s.faults]
    for entry in refused:
        console.say(f"refused {entry['series_uid']}: {'; '.join(entry['reasons'])}")
    return {"written": written, "refused": refused}
