"""Every transfer syntax and bit depth gives the values that were stored."""

from __future__ import annotations

import base64
import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.uid import (
    HTJ2K,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from results import write_series
from segloop.io.dicom import read_series, scan

SHAPE = (3, 32, 32)
# allocated, stored, signed
DEPTHS = [(8, 8, 0), (16, 10, 0), (16, 12, 0), (16, 12, 1), (16, 15, 1), (16, 16, 0), (16, 16, 1)]
NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
COMPRESSED = [RLELossless, JPEGLSLossless, JPEG2000Lossless]
# (1000 or -500) + 37 y + 11 x + 50 (x y mod 7), encoded without loss by OpenJPH 0.26 through imagecodecs.
HIGH_THROUGHPUT = {
    0: (
        b"/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQ"
        b"kJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAYwAAf+TwAAmi/UFB3QAAMAAEsAAE0AAEgD6AQd0ANb+Agd0APwn"
        b"cwDAABUQAAVEAAFQFlRd4ACBtACaqKhcAMa0AM39/vUAQ5QAwAAWtAABa0AAFsh4j/WJvEm3QXjYf3t11fszi4AAJrcAeivnSaTF/0kVm7t9"
        b"Nj3+AGgAAS63ALj9+SshJgAlBxaKALns9OHj+AAaCIC7lwDAAC9PgABenwAAu/CrK8DgVaLAGrCipeCGgVEJZF3pKmhVSRFUsYI0hRUVwRSV"
        b"1oKuFdZAFZgwQQClZQlkEQRIHBwEXFlhBYyhAXGblIE7VIY4OEAGDQgAOFIB1RUBjApM4EqgWtEGqqhUBUp07VopUClo7RJMDGQlGNi6oiK4"
        b"EuiqEii4YoVEC6EC+wokMFQw6VZQsoLrASU8lInQDNCg0CCEAAYEAGhTAa1a2bVgKwy60uVytbJgK66uGLTq6gqDurrCoNWCBbu2XLlq1bXF"
        b"lauYAhnv8uEL+nUNt1T9XeAQB/4QgKRWAf/Z"
    ),
    1: (
        b"/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABjwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQ"
        b"kJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAYsAAf+TwAAlQwGHdAAAwAASwAATQAASAPoBB3QA1v4CB3QA/Cdz"
        b"AMAAFRAABUQAAVAWVF3gAIG0AJqoqFwAxrQAzf3+9QBDlADAABa0AAFrQAAWyHiP9Ym8SbdBeNh/e3XV+zOLgAAmtwB6K+dJpMX/SRWbu302"
        b"Pf4AaAABLrcAuP35KyEmACUHFooAuez04eP4ABoIgLuXAMAAL0+AAF6fAAC78KsrwOBVosAasKKl4IaBUQlkXekqaFVJEVSxgjSFFRXBFJXW"
        b"gq4V1kAVmDBBAKVlCWQRBEgcHARcWWEFjKEBcZuUgTtUhjg4QAYNCAA4UgHVFQGMCkzgSqBa0QaqqFQFSnTtWilQKWjtEkwMZCUY2LqiIrgS"
        b"6KoSKLhihUQLoQL7CiQwVDDpVlCygusBJTyUidAM0KDQIIQABgQAaFMBrVrZtWArDLrS5XK1smArrq4YtOrqCoO6usKg1YIFu7ZcuWrVtcWV"
        b"q5gCGe/y4Qv6dQ23VP1d4BAH/hCApFYB/9k="
    ),
}


def numbers(stored: int, signed: int) -> np.ndarray:
    low = -(2 ** (stored - 1)) if signed else 0
    values = np.random.default_rng(stored + signed).integers(low, low + 2**stored, SHAPE)
    values[:, 0, :2] = low, low + 2**stored - 1
    return values


def with_pixels(folder, values, allocated, stored, signed, syntax) -> None:
    """A CT whose slices hold `values` in one encoding, rescaled by -24."""
    write_series(folder, shape=SHAPE, modality="CT")
    kind = np.dtype(f"{'>' if syntax == ExplicitVRBigEndian else '<'}{'i' if signed else 'u'}{allocated // 8}")
    for path, plane in zip(sorted(folder.iterdir()), values, strict=True):
        dataset = pydicom.dcmread(path)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, stored - 1
        dataset.PixelRepresentation = signed
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -24
        dataset.PixelData = plane.astype(kind).tobytes()
        dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
        if syntax in COMPRESSED:
            dataset.compress(syntax, generate_instance_uid=False)
            dataset.save_as(path)
            continue
        dataset.file_meta.TransferSyntaxUID = syntax
        implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        buffer = DicomBytesIO()
        pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
        path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize("syntax", NATIVE + COMPRESSED, ids=lambda uid: uid.name)
def test_lossless_encodings_give_back_every_bit(tmp_path, syntax):
    for allocated, stored, signed in DEPTHS:
        folder = tmp_path / f"{stored}-{signed}"
        values = numbers(stored, signed)
        with_pixels(folder, values, allocated, stored, signed, syntax)
        (series,) = scan(folder)
        found = read_series(series)
        assert (found.array == values - 24).all(), (stored, signed)
        assert found.array.dtype == (
            np.int16 if found.array.min() >= -32768 and found.array.max() < 32768 else np.int32
        )


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K], ids=lambda uid: uid.name)
@pytest.mark.parametrize("signed", [0, 1])
def test_high_throughput_jpeg_2000(tmp_path, syntax, signed):
    y, x = np.mgrid[:16, :16]
    values = (-500 if signed else 1000) + 37 * y + 11 * x + (y * x) % 7 * 50
    with_pixels(tmp_path / "s", np.zeros(SHAPE), 16, 16, signed, ExplicitVRLittleEndian)
    for path in (tmp_path / "s").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.Rows = dataset.Columns = 16
        dataset.PixelData = encapsulate([base64.b64decode(HIGH_THROUGHPUT[signed])])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    (series,) = scan(tmp_path / "s")
    assert (read_series(series).array == values - 24).all()


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_baseline_jpeg_is_close(tmp_path, colour):
    y, x = np.mgrid[:32, :32]
    plane = (40 + 3 * y + 2 * x).astype(np.uint8)
    plane = np.stack([plane, 255 - plane, plane // 2], axis=-1) if colour else plane
    stream = io.BytesIO()
    Image.fromarray(plane).save(stream, "JPEG", quality=98, subsampling=0)
    with_pixels(tmp_path / "s", np.zeros(SHAPE), 8, 8, 0, ExplicitVRLittleEndian)
    for path in (tmp_path / "s").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([stream.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
        if colour:
            dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
            dataset.PhotometricInterpretation = "YBR_FULL_422"
        dataset.save_as(path)
    (series,) = scan(tmp_path / "s")
    found = read_series(series).array.astype(int)
    assert np.abs(found - (plane if colour else plane.astype(int) - 24)).max() <= 6


@pytest.mark.parametrize("signed", [0, 1])
def test_bits_beyond_the_stored_ones_are_no_part_of_a_value(tmp_path, signed):
    """Old overlays, or anything, may stand there."""
    values = numbers(12, signed)
    with_pixels(tmp_path / "s", values, 16, 12, signed, ExplicitVRLittleEndian)
    for z, path in enumerate(sorted((tmp_path / "s").iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = ((values[z] & 0x0FFF) | 0x5000).astype("<u2").tobytes()
        dataset.save_as(path)
    (series,) = scan(tmp_path / "s")
    assert (read_series(series).array == values - 24).all()


def test_values_in_the_upper_bits(tmp_path):
    values = numbers(12, 0)
    with_pixels(tmp_path / "s", values, 16, 12, 0, ExplicitVRLittleEndian)
    for z, path in enumerate(sorted((tmp_path / "s").iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.HighBit = 15
        dataset.PixelData = (values[z] << 4 | 9).astype("<u2").tobytes()
        dataset.save_as(path)
    (series,) = scan(tmp_path / "s")
    assert (read_series(series).array == values - 24).all()
