"""`segloop explain`: where the network looked for a label, and how sure it is, as volumes and as pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segloop.cli.console import Console
from segloop.cli.deployment import add_registry, registry
from segloop.cli.quiet import load_tensorflow
from segloop.cli.values import output_folder
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.plan import LabelSpec, Plan
    from segloop.volume import Labels, Volume

_HEAD = "For research use only. Not for diagnosis."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder, or NAME[@stage|@version]")
    parser.add_argument("input", type=Path, metavar="INPUT", help="image file, or DICOM series (file, folder, zip)")
    parser.add_argument("--label", required=True, metavar="L", help="name or number of the label to explain")
    parser.add_argument(
        "-o", "--output", type=output_folder, required=True, metavar="OUT", help="folder for maps and pictures"
    )
    parser.add_argument(
        "--region",
        default="found",
        metavar="found|all|FILE",
        help="whose score is explained: what the network calls the label (default), the image, or a mask's voxels",
    )
    parser.add_argument(
        "--stage",
        default="auto",
        metavar="STAGE",
        help="auto (default: the deepest whose cells are half as wide as the region), bottleneck, decoder0 (finest) …",
    )
    parser.add_argument("--check", action="store_true", help="also test the map; exit status 4 when it fails")
    parser.add_argument("--series", metavar="UID", help="the DICOM series to take")
    add_registry(parser)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Explain, draw, write."""
    load_tensorflow()
    from segloop.errors import ModelError
    from segloop.infer import Segmenter
    from segloop.infer.explain import Explainer, entropy_map
    from segloop.infer.sanity import check_explanation
    from segloop.io import files
    from segloop.volume import Volume

    bundle = registry(arguments).load(arguments.bundle)
    spec = label_of(bundle.plan, arguments.label)
    volume = _read(arguments.input, bundle.plan, arguments.series)
    explainer = Explainer(bundle)
    prediction = Segmenter(bundle, "tensorflow")(volume, keep_probabilities=True)
    assert prediction.probabilities is not None
    found = explainer(volume, spec.value, _region(arguments.region, volume), arguments.stage)
    entropy = Volume(entropy_map(prediction.probabilities, regions=bool(bundle.plan.regions)), volume.geometry)
    out = arguments.output
    out.mkdir(parents=True, exist_ok=True)
    maps = {"gradcam": found.heat, "entropy": entropy}
    for name, heat in maps.items():
        files.write(heat, out / f"{name}.nii.gz")
        title = f"Seg-Grad-CAM of {spec.name} ({found.stage})" if name == "gradcam" else "entropy of the answer"
        (out / f"{name}.png").write_bytes(_picture(volume, heat, prediction.labels, spec, title))
    document: dict[str, Any] = {
        "label": {"value": spec.value, "name": spec.name},
        "stage": found.stage,
        "region_voxels": found.region_voxels,
        "warnings": ["flat_map"] if found.flat else [],
        "files": {name: {"map": f"{name}.nii.gz", "picture": f"{name}.png"} for name in maps},
    }
    if found.flat:
        console.say(f"warning: no feature of {found.stage} speaks for {spec.name}; the map is 0 everywhere")
    console.say(f"maps and pictures in {out}")
    if not arguments.check:
        return document
    sanity = check_explanation(bundle, volume, spec.value, stage=found.stage, explainer=explainer)
    console.say(
        f"likeness with random weights {sanity.likeness:+.2f}; score lost by deletion {sanity.deletion:.1f}, "
        f"elsewhere {sanity.elsewhere:.1f}: {'passed' if sanity.passed else 'FAILED'}"
    )
    if not sanity.passed:
        raise ModelError(
            f"The explanation of {spec.name} fails its check: likeness with random weights {sanity.likeness:+.2f}, "
            f"score lost by deletion {sanity.deletion:.1f}, elsewhere {sanity.elsewhere:.1f}.",
            code="explain.unsound",
            found=sanity.model_dump(),
            expected="a likeness of at most 0.5, and deletion costing more than elsewhere",
            hint="Do not rely on this map; try another stage.",
        )
    return {**document, "sanity": sanity.model_dump()}


def label_of(plan: Plan, text: str) -> LabelSpec:
    """The Plan's label by number, English or Chinese name.

    Raises:
        InputError: `usage` when there is none.
    """
    for spec in plan.labels:
        if text.casefold() in (str(spec.value), spec.name.casefold(), spec.name_zh.casefold()):
            return spec
    names = {str(spec.value): spec.name for spec in plan.labels}
    raise InputError(
        f"{plan.name} has no label {text!r}.",
        code="usage",
        found=text,
        expected=names,
        hint=f"Its labels are {', '.join(f'{number} {name}' for number, name in names.items())}.",
    )


def _read(source: Path, plan: Plan, series_uid: str | None) -> Volume:
    from segloop.io import channels, dicom, files

    if source.is_file() and files.is_image_file(source):
        return channels.read(channels.of_one_image(source, plan.inputs.channels)[1])
    with dicom.opened(source) as folder:
        chosen = dicom.select(dicom.scan_files(folder), plan.inputs, series_uid).chosen
        return dicom.read_series(chosen, plan.reading)


def _region(text: str, volume: Volume) -> Labels | None:
    from segloop.io import files
    from segloop.volume import Labels

    if text == "found":
        return None
    if text == "all":
        return Labels(np.ones(volume.geometry.shape, np.uint8), volume.geometry)
    mask = files.read_labels(Path(text), {})
    volume.geometry.require_same_grid(mask.geometry, "The region does not lie on the image's grid")
    return Labels((mask.array > 0).astype(np.uint8), volume.geometry)


def _picture(volume: Volume, heat: Volume, labels: Labels, spec: LabelSpec, title: str) -> bytes:
    from segloop.report.heat import CONTOUR, LEGEND, outlined_heat
    from segloop.report.overlay import mosaic, to_png

    images = outlined_heat(volume, heat, labels, spec.value)
    parts = ("a quarter of the maximum", "half", "three quarters", "maximum")
    legend = [*zip(parts, LEGEND, strict=True), (f"{spec.name}, as segmented", CONTOUR)]
    return to_png(mosaic(images, (title, _HEAD), legend))
