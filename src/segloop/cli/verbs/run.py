"""`segloop run`: the closed loop on one study, without a server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segloop.cli.console import Console
from segloop.cli.deployment import add_registry, registry
from segloop.cli.quiet import load_tensorflow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("study", type=Path, metavar="STUDY", help="folder, zip or file of DICOM")
    parser.add_argument("--model", required=True, metavar="MODEL", help="a bundle's folder, or NAME[@stage|@version]")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results")
    parser.add_argument("--series", metavar="UID", help="the series to take when more than one fits")
    parser.add_argument(
        "--runtime", choices=("auto", "tensorflow", "openvino"), default="auto", help="what runs the network"
    )
    parser.add_argument("--language", choices=("en", "zh-CN"), default="en", help="language of the report")
    parser.add_argument("--paper", choices=("a4", "letter"), default="a4", help="paper of the report")
    parser.add_argument(
        "--uneven-slices",
        choices=("refuse", "resample"),
        default="refuse",
        help="what becomes of a series whose slices lie at varying distances",
    )
    parser.add_argument(
        "--seg",
        choices=("binary", "labelmap"),
        default="binary",
        help="form of the DICOM SEG: bits per label, which every receiver takes, or a label map",
    )
    parser.add_argument("--rtstruct", action="store_true", help="also write the contours as a DICOM RTSTRUCT")
    parser.add_argument("--explain", metavar="LABEL", help="also show in the PDF where the network looked for a label")
    parser.add_argument(
        "--prior",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="folder of an earlier result to compare with (repeatable); used only if it is of the same patient",
    )
    add_registry(parser)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Process the study and show what was measured."""
    from segloop.cli.verbs.explain import label_of
    from segloop.report import Findings, prior_key
    from segloop.report.concepts import follow_up_sentences
    from segloop.study import StudyTask, read_record
    from segloop.workflow import process_study

    explained = None
    if arguments.explain is not None:
        load_tensorflow()
        explained = label_of(registry(arguments).load(arguments.model).plan, arguments.explain).value
    task = StudyTask(
        source=arguments.study,
        out=arguments.output,
        model=arguments.model,
        series_uid=arguments.series,
        registry=arguments.registry,
        runtime=arguments.runtime,
        language=arguments.language,
        paper=arguments.paper,
        uneven_slices=arguments.uneven_slices,
        rtstruct=arguments.rtstruct,
        seg=arguments.seg,
        explain=explained,
        priors=tuple(prior_key(folder) for folder in arguments.prior),
        prior_folders=tuple(arguments.prior),
    )
    result = process_study(task)
    for series in result.refused:
        console.say(f"not taken: {series.title}: {'; '.join(series.reasons)}")
    console.table(
        ("structure", "part", "quantity", "value", "unit"),
        [
            (m.name, m.component or "all", m.quantity.replace("_", " "), f"{m.value:.2f}", m.unit)
            for m in result.measurements
        ],
    )
    if arguments.prior:
        for sentence in follow_up_sentences(read_record(Findings, arguments.output / "findings.json")):
            console.say(sentence)
    for warning in result.warnings:
        console.say(f"warning: {warning}")
    model = result.model
    console.say(f"{model.name} {model.version} on {model.runtime} ({model.precision}), {result.seconds['total']:.1f} s")
    console.say(f"results in {arguments.output}: {', '.join(result.files.values())}")
    return result.model_dump(mode="json", by_alias=True)
