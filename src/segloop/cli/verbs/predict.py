"""`segloop predict`: masks of files, DICOM series or folders of files, each in its input's own geometry."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.console import Console
from segloop.cli.deployment import add_registry, registry
from segloop.cli.values import output_folder, runtime, size_bytes
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.infer import Segmenter
    from segloop.volume import Volume


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder, or NAME[@stage|@version]")
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="image file (of several channel files NAME_0000 … any), DICOM series, or folder of either",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=output_folder,
        required=True,
        metavar="OUT",
        help="folder for OUT/<case or series>.nii.gz",
    )
    parser.add_argument(
        "--runtime",
        type=runtime,
        default="auto",
        metavar="RUNTIME",
        help="what runs the network: auto, tensorflow, openvino, litert, or serving:URL of TensorFlow Serving",
    )
    parser.add_argument("--probabilities", action="store_true", help="write the probabilities of every class as well")
    parser.add_argument(
        "--tta", action="store_true", help="segment mirrored images as well, along the axes that training mirrored"
    )
    parser.add_argument("--memory", type=size_bytes, metavar="SIZE", help="memory that inference may use, such as 4GiB")
    parser.add_argument("--series", metavar="UID", help="the DICOM series to take")
    add_registry(parser)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Predict each input; a bad one stops the command with its error after the good ones before it are written."""
    from segloop.infer import Segmenter

    bundle = registry(arguments).load(arguments.bundle)
    segmenter = Segmenter(bundle, runtime=arguments.runtime, memory=arguments.memory, tta=arguments.tta)
    arguments.output.mkdir(parents=True, exist_ok=True)
    inputs = list(_inputs(arguments.inputs, bundle.plan.inputs.channels))
    taken: dict[str, Path] = {}
    written: list[dict[str, Any]] = []
    for number, source in enumerate(inputs):
        console.progress(number, len(inputs), source[0].name)
        name, volume = _load(source, segmenter, arguments.series)
        if name in taken:
            raise InputError(
                f"Two inputs would both be written to {name}.nii.gz: {taken[name]} and {source[0]}.",
                code="usage",
                hint="Predict them into different folders.",
            )
        taken[name] = source[0]
        written.append(_predict(segmenter, name, volume, arguments))
    if written:
        console.say(
            f"{len(written)} masks in {arguments.output} ({written[-1]['runtime']}, {written[-1]['precision']})"
        )
    return {"cases": written}


def _predict(segmenter: Segmenter, name: str, volume: Volume, arguments: argparse.Namespace) -> dict[str, Any]:
    from segloop.io import files
    from segloop.volume import Volume

    prediction = segmenter(volume, keep_probabilities=arguments.probabilities)
    path = arguments.output / f"{name}.nii.gz"
    files.write(prediction.labels, path)
    document: dict[str, Any] = {
        "id": name,
        "labels": str(path),
        "seconds": dict(prediction.seconds),
        "runtime": prediction.runtime,
        "precision": prediction.precision,
        "mirrored": list(segmenter.plan.inference.mirror_axes),
        "warnings": list(prediction.warnings),
    }
    if prediction.probabilities is not None:
        document["probabilities"] = str(arguments.output / f"{name}_probabilities.nii.gz")
        files.write(
            Volume(prediction.probabilities, prediction.labels.geometry),
            arguments.output / f"{name}_probabilities.nii.gz",
        )
    return document


def _inputs(sources: list[Path], channels: int) -> Iterator[tuple[Path, ...]]:
    """Image files (those of its channels together) and DICOM folders; a folder of image files gives each of them."""
    from segloop.io import files
    from segloop.io.channels import of_one_image

    told: set[tuple[Path, ...]] = set()
    for source in sources:
        if not source.exists():
            raise InputError(
                f"There is no {source}.", code="input.unreadable", found=str(source), expected="a file or folder"
            )
        images = sorted(p for p in source.iterdir() if files.is_image_file(p)) if source.is_dir() else []
        for path in images or [source]:
            together = of_one_image(path, channels)[1] if files.is_image_file(path) and path.is_file() else (path,)
            if len(together) == 1 or together not in told:
                yield together
            told.add(together)


def _load(source: tuple[Path, ...], segmenter: Segmenter, series_uid: str | None) -> tuple[str, Volume]:
    from segloop.io import channels, dicom, files

    first = source[0]
    if first.is_file() and files.is_image_file(first):
        return channels.of_one_image(first, len(source))[0], channels.read(source)
    with dicom.opened(first) as folder:
        chosen = dicom.select(dicom.scan_files(folder), segmenter.bundle.plan.inputs, series_uid).chosen
        return chosen.series_uid, dicom.read_series(chosen, segmenter.bundle.plan.reading)
