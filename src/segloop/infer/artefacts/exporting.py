"""A bundle to a folder that a server or a device runs, with a description of what it does and does not do."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from segloop.errors import InputError, ModelError
from segloop.infer.bundle import Bundle
from segloop.plan import Frozen, PostSpec

Format = Literal["saved-model", "litert", "openvino"]
FORMATS: tuple[str, ...] = get_args(Format)
DESCRIPTION = "segloop.json"

_RAW: Mapping[str, str] = {
    "voxels": "float32 (z, y, x), or (z, y, x, c) for several channels: stored values after rescale (CT in HU)",
    "spacing_mm": "float64 (3,): distance between voxel centres along z, y, x",
    "direction": "float64 (3, 3): for each array axis z, y, x the unit vector (x, y, z in LPS) its index grows along",
}
_LABELS = "uint8 or uint16 (z, y, x): label numbers on the grid of the voxels"
_PROBABILITIES = "float32 (z, y, x, k): calibrated probabilities, background first (or one per region)"
_WINDOWS = (
    "string: a serialised TensorProto, float32, (b, z, y, x, k) or (b, y, x, k): the network's scores of prepared "
    "windows. This signature takes no voxels but `windows` (string: float32 values, little-endian) and `shape` (int32: "
    "b, z, y, x, c or b, y, x, c); it is what `segloop predict --runtime serving:URL` asks"
)
_DIGEST = "string: digest of the bundle"
_CLEAN = "Clean-up of components, holes and borders (`post` below) is left to the host."
_MODALITY = "The modality is not checked: the host must not send a CT to a model of MR."
_TWICE = "Probabilities of all classes of the whole image exist at least twice: 8 bytes or more per voxel and class."
_MEMORY = "The scores of all source slices exist at once, which takes 4 bytes per voxel and class."


class Artefact(Frozen):
    """What an exported folder is, written into it as `segloop.json`.

    Attributes:
        model: Name.
        version: Of the model.
        digest: Of the bundle it was made from.
        format: `saved-model`, `litert` or `openvino`.
        files: What to load, below the folder.
        inputs: Name to type, shape and meaning.
        outputs: The same of what it returns; of `saved-model` by signature and name.
        does: What happens inside.
        leaves: What is left to the host: read it before you put the artefact to use.
        labels: Label number to name.
        post: The clean-up that the Plan asks for.
        intended_use: Of the bundle.
        weight_values: Number of stored values by type (`litert`).
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    model: str
    version: str
    digest: str
    format: Format
    files: tuple[str, ...]
    inputs: dict[str, str]
    outputs: dict[str, str]
    does: tuple[str, ...]
    leaves: tuple[str, ...]
    labels: dict[int, str]
    post: PostSpec
    intended_use: str
    weight_values: dict[str, int] = Field(default_factory=dict)


def export_artefact(
    bundle: Bundle, out: Path, form: Format, *, precision: Literal["float32", "float16"] = "float16"
) -> tuple[Path, Artefact]:
    """Write the artefact, whole or not at all.

    Args:
        bundle: A checked bundle.
        out: Folder to write into. `saved-model` adds a version below it, as TensorFlow Serving's model base path has
            them: the next number that is free. The others need a folder that is absent or empty.
        form: One of `FORMATS`.
        precision: Of the stored weights; `litert` only.

    Returns:
        The folder written, and its description.

    Raises:
        InputError: `usage` when `out` holds something else.
        ModelError: `runtime.unavailable` for several networks in a format that holds one, for a cascade that cleans up
            between its networks, or when the converter fails.
    """
    _require_possible(bundle, form)
    folder = _place(out, form)
    temporary = out / f".{secrets.token_hex(4)}.tmp" if form == "saved-model" else out.with_name(f".{out.name}.tmp")
    try:
        described = _write(bundle, temporary, form, precision)
        text = described.model_dump_json(indent=2, by_alias=True) + "\n"
        # TensorFlow Serving ignores what it does not know in `assets.extra`.
        place = temporary / "assets.extra" if form == "saved-model" else temporary
        place.mkdir(exist_ok=True)
        (place / DESCRIPTION).write_text(text, "utf-8")
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder, described


def _write(bundle: Bundle, folder: Path, form: Format, precision: Literal["float32", "float16"]) -> Artefact:
    common: dict[str, Any] = {
        "model": bundle.manifest.name,
        "version": bundle.manifest.version,
        "digest": bundle.digest,
        "format": form,
        "labels": bundle.plan.label_names,
        "post": bundle.plan.post,
        "intended_use": bundle.manifest.intended_use,
    }
    pipeline: tuple[str, ...] = (
        "turns the axes, resamples, normalises, runs the network (whole or in blended windows), restores the grid",
        "float32 throughout",
    )
    clean = (_CLEAN,) if bundle.plan.post.steps else ()
    if bundle.manifest.members:
        pipeline = (*pipeline, f"averages the probabilities of {len(bundle.manifest.members)} models on that grid")
    if any(one.plan.coarse is not None for one in (*(member for member, _ in bundle.members()), bundle)):
        pipeline = (*pipeline, "in a cascade, a first network, on coarser voxels, shows its labels to the second one")
    if form == "saved-model":
        from segloop.infer.artefacts.saved_model import write_saved_model

        write_saved_model(bundle, folder)
        outputs = {
            "serving_default/labels": _LABELS,
            "probabilities/labels": _LABELS,
            "probabilities/probabilities": _PROBABILITIES,
        }
        if not _several(bundle):
            outputs |= {"windows/logits_bytes": _WINDOWS, "windows/digest": _DIGEST}
        refuses = "refuses voxels that are not finite, and grids the model was not made for"
        return Artefact(
            **common,
            files=("saved_model.pb", "variables"),
            inputs=dict(_RAW),
            outputs=outputs,
            does=(*pipeline, refuses),
            leaves=(*clean, _MODALITY, *((_TWICE,) if bundle.manifest.members else ())),
        )
    if form == "openvino":
        from segloop.infer.artefacts.openvino import write_openvino

        write_openvino(bundle, folder)
        unchecked = (
            "Nothing is refused: the host checks that voxels are finite and that spacing and extent suit the model."
        )
        return Artefact(
            **common,
            files=("segloop.xml", "segloop.bin"),
            inputs=dict(_RAW),
            outputs={"labels": _LABELS},
            does=(*pipeline, "compile it with INFERENCE_PRECISION_HINT f32 for these results"),
            leaves=(*clean, _MODALITY, unchecked, _MEMORY, "There are no probabilities."),
        )
    from segloop.infer.artefacts.litert import MODEL, window_shape, write_litert

    found = write_litert(bundle, folder, precision)
    shape = window_shape(bundle)
    return Artefact(
        **common,
        files=(MODEL,),
        inputs={"image": f"float32 {shape}: one window on the network's grid, normalised"},
        outputs={"logits": f"float32 {(*shape[:-1], bundle.plan.network.classes)}: scores before the softmax"},
        does=(f"one window through the network; weights stored in {precision}",),
        leaves=(
            "Everything around the network is left to the host, by the bundle's plan.json: turning, resampling, "
            "normalising, windows, mirroring, softmax, decision, the way back.",
            *clean,
            "The window's size is fixed. Integer (int8) weights are not offered: for 3-D networks the converter "
            "silently leaves floats.",
        ),
        weight_values=dict(found),
    )


def _several(bundle: Bundle) -> bool:
    return bool(bundle.manifest.members) or bundle.plan.coarse is not None


def _require_possible(bundle: Bundle, form: Format) -> None:
    """Raise where the format cannot hold the bundle's networks, or the graph not do what stands between them."""
    if _several(bundle) and form == "litert":
        raise ModelError(
            f"{bundle.manifest.name} has several networks; a LiteRT artefact holds one.",
            code="runtime.unavailable",
            found=max(2, len(bundle.manifest.members)),
            expected=1,
            hint="Export to saved-model or openvino, or export one member of an ensemble.",
        )
    for one in (bundle, *(member for member, _ in bundle.members())):
        if one.plan.coarse is not None and one.plan.coarse.post.steps:
            raise ModelError(
                f"{one.manifest.name} is a cascade whose first network's labels are cleaned of components before the "
                "second one sees them, which an artefact cannot do.",
                code="runtime.unavailable",
                found=[step.label for step in one.plan.coarse.post.steps],
                expected="a coarse plan without clean-up",
                hint="Plan and train again: newer Plans clean up behind the second network alone.",
            )


def _place(out: Path, form: Format) -> Path:
    if form == "saved-model":
        out.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.name) for path in out.iterdir() if path.name.isdigit()]
        return out / str(max(numbers, default=0) + 1)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out.name} exists and is not an empty folder; nothing is replaced.",
            code="usage",
            found=out.name,
            hint="Choose another folder, or remove this one.",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    return out
