"""Reads one DICOM folder with one reader, again and again on request, and prints seconds and a checksum of the voxels.

Run by reading.py in the interpreter that has the reader: `_read_series.py segloop|simpleitk|dicom2nifti FOLDER`.
Each line on standard input asks for one reading; the first one after the start is not to be counted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def _segloop(folder: Path) -> tuple[Any, object]:
    from segloop.io import dicom

    (series,) = dicom.scan(folder)
    return dicom.read_series(series).array, None


def _simpleitk(folder: Path) -> tuple[Any, object]:
    import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    # The view ends with its image, so that one is kept; a copy would count against it.
    return sitk.GetArrayViewFromImage(image), image


def _dicom2nifti(folder: Path) -> tuple[Any, object]:
    from dicom2nifti.common import read_dicom_directory
    from dicom2nifti.convert_dicom import dicom_array_to_nifti

    image = dicom_array_to_nifti(read_dicom_directory(str(folder)), None, reorient_nifti=False)["NII"]
    return np.asanyarray(image.dataobj), None


READERS: dict[str, Callable[[Path], tuple[Any, object]]] = {
    "segloop": _segloop,
    "simpleitk": _simpleitk,
    "dicom2nifti": _dicom2nifti,
}


def main() -> None:
    """Answer each line with a reading."""
    read, folder = READERS[sys.argv[1]], Path(sys.argv[2])
    for _ in sys.stdin:
        started = time.perf_counter()
        array, owner = read(folder)
        seconds = time.perf_counter() - started
        print(seconds, round(float(array.sum(dtype="float64"))), flush=True)
        del array, owner


if __name__ == "__main__":
    main()
