"""NRRD and MetaImage: read through SimpleITK; written by hand, so that a full disk is noticed and bytes repeat."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from segloop.errors import InputError
from segloop.volume import Geometry, Volume

_NRRD_TYPES = {
    "uint8": "uint8",
    "int8": "int8",
    "uint16": "uint16",
    "int16": "int16",
    "uint32": "uint32",
    "int32": "int32",
    "uint64": "uint64",
    "int64": "int64",
    "float32": "float",
    "float64": "double",
}
_META_TYPES = {
    "uint8": "MET_UCHAR",
    "int8": "MET_CHAR",
    "uint16": "MET_USHORT",
    "int16": "MET_SHORT",
    "uint32": "MET_UINT",
    "int32": "MET_INT",
    "uint64": "MET_ULONG_LONG",
    "int64": "MET_LONG_LONG",
    "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}


def read(path: Path) -> Volume:
    """The image of an NRRD or MetaImage file, in LPS; vector pixels become channels.

    Raises:
        InputError: `geometry.invalid` for an NRRD that names no patient space.
    """
    import SimpleITK as sitk  # noqa: N813 - its established short name

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    image: Any = reader.Execute()
    if (
        path.suffix.lower() in (".nrrd", ".nhdr")
        and image.GetDimension() == 3
        and not image.HasMetaDataKey("NRRD_space")
    ):
        raise InputError(
            f"{path.name} does not say how it lies in the patient: its header has no 'space'.",
            code="geometry.invalid",
            found="no space field",
            expected="space: left-posterior-superior (or another patient space)",
            hint="Write the image again with its orientation; segloop does not guess left and right.",
        )
    array: Shaped[np.ndarray, "*axes"] = sitk.GetArrayFromImage(image)
    if array.dtype.kind not in "uif":
        raise InputError(f"{path.name} holds {array.dtype} values; real numbers are needed.", found=str(array.dtype))
    return Volume(*_three_dimensional(image, array, path))


def _three_dimensional(image: Any, array: Shaped[np.ndarray, "*axes"], path: Path) -> tuple[np.ndarray, Geometry]:
    dimension = image.GetDimension()
    if dimension == 4 and image.GetSize()[3] == 1:
        image, array, dimension = image[:, :, :, 0], array[0], 3
    if dimension not in (2, 3):
        raise InputError(
            f"{path.name} has {dimension} dimensions of size {image.GetSize()}; an image has two or three.",
            found=list(image.GetSize()),
            expected="two or three dimensions",
        )
    columns, spacing, origin = np.eye(3), np.ones(3), np.zeros(3)
    columns[:dimension, :dimension] = np.asarray(image.GetDirection()).reshape(dimension, dimension)
    spacing[:dimension], origin[:dimension] = image.GetSpacing(), image.GetOrigin()
    affine = np.eye(4)
    affine[:3, :3] = (columns * spacing)[:, ::-1]
    affine[:3, 3] = origin
    array = array if dimension == 3 else array[np.newaxis]
    return array, Geometry.from_affine(affine, array.shape)


def encode_nrrd(volume: Volume) -> bytes:
    """The bytes of a gzipped NRRD in left-posterior-superior space."""
    array, kind = _storable(volume.array, _NRRD_TYPES)
    affine = volume.geometry.affine
    axes = [_point(affine[:3, axis]) for axis in (2, 1, 0)]
    sizes, kinds = list(array.shape[2::-1]), ["domain"] * 3
    if array.ndim == 4:
        axes, sizes, kinds = ["none", *axes], [array.shape[3], *sizes], ["vector", *kinds]
    lines = (
        "NRRD0004",
        f"type: {kind}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {' '.join(axes)}",
        f"kinds: {' '.join(kinds)}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_point(affine[:3, 3])}",
    )
    return "\n".join(lines).encode() + b"\n\n" + gzip.compress(array.tobytes(), compresslevel=4, mtime=0)


def encode_mha(volume: Volume) -> bytes:
    """The bytes of a compressed MetaImage with its data in the same file."""
    array, kind = _storable(volume.array, _META_TYPES)
    geometry = volume.geometry
    data = zlib.compress(array.tobytes(), 4)
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {len(data)}",
        # MetaImage lists the direction of each axis in turn, x first.
        f"TransformMatrix = {_numbers(np.asarray(geometry.direction)[::-1].ravel())}",
        f"Offset = {_numbers(np.asarray(geometry.origin_mm))}",
        f"ElementSpacing = {_numbers(np.asarray(geometry.spacing_mm)[::-1])}",
        f"DimSize = {' '.join(map(str, geometry.shape[::-1]))}",
    ]
    if array.ndim == 4:
        lines.append(f"ElementNumberOfChannels = {array.shape[3]}")
    lines += [f"ElementType = {kind}", "ElementDataFile = LOCAL"]
    return "\n".join(lines).encode() + b"\n" + data


def _storable(array: np.ndarray, names: dict[str, str]) -> tuple[np.ndarray, str]:
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little, names[little.dtype.name]


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{float(v):.17g}" for v in values)


def _point(values: np.ndarray) -> str:
    return "(" + ",".join(f"{float(v):.17g}" for v in values) + ")"
