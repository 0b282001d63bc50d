"""Comments inside compressed pixels: none of them stays, and no pixel changes."""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.processing import convert_color_space
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    SegmentationStorage,
    UltrasoundImageStorage,
)

import service_kit as kit
from segloop.errors import PrivacyError
from segloop.io import deid
from segloop.io.deid.codestream import without_comments

KEY = b"k" * 32
VISITOR = b"seen by Jonesplanted"
"""Somebody whom no element of the file names, so that no search for identities would find them."""


def picture(kind: str, **how: object) -> bytes:
    grey = np.random.default_rng(0).integers(0, 255, (32, 48)).astype(np.uint8)
    stream = BytesIO()
    Image.fromarray(grey).save(stream, kind, **how)
    return stream.getvalue()


def code_stream(comment: bytes) -> bytes:
    """A JPEG 2000 code stream with a comment in its main header."""
    boxed = picture("JPEG2000")
    stream = boxed[boxed.index(b"\xff\x4f\xff\x51") :]
    after_size = 4 + int.from_bytes(stream[4:6], "big")
    segment = b"\xff\x64" + (len(comment) + 4).to_bytes(2, "big") + b"\0\1" + comment
    return stream[:after_size] + segment + stream[after_size:]


def exif(text: bytes) -> Image.Exif:
    found = Image.Exif()
    found[0x010E] = text.decode()
    return found


def jpeg_ls(comment: bytes) -> bytes:
    dataset = kit.slice_of(1)
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    return stream[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + stream[2:]


def image(frames: list[bytes], syntax: str) -> Dataset:
    bits, size = (16, (8, 8)) if syntax == JPEGLSLossless else (8, (32, 48))
    dataset = kit.slice_of(
        1, Rows=size[0], Columns=size[1], BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=0
    )
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return dataset


@pytest.mark.parametrize(
    ("frame", "syntax"),
    [
        pytest.param(picture("JPEG", comment=VISITOR), JPEGBaseline8Bit, id="JPEG comment"),
        pytest.param(picture("JPEG", exif=exif(VISITOR)), JPEGBaseline8Bit, id="Exif"),
        pytest.param(picture("JPEG", progressive=True, comment=VISITOR), JPEGBaseline8Bit, id="progressive"),
        pytest.param(picture("JPEG") + VISITOR, JPEGBaseline8Bit, id="behind the end"),
        pytest.param(jpeg_ls(VISITOR), JPEGLSLossless, id="JPEG-LS comment"),
        pytest.param(code_stream(VISITOR), JPEG2000Lossless, id="JPEG 2000 comment"),
        pytest.param(code_stream(b"") + VISITOR, JPEG2000Lossless, id="behind a code stream"),
        pytest.param(picture("JPEG2000") + b"\0\0\0\x1cxml " + VISITOR, JPEG2000, id="box"),
    ],
)
def test_a_comment_in_a_compressed_frame_goes_and_every_pixel_stays(tmp_path: Path, frame: bytes, syntax: str) -> None:
    sources = kit.write(tmp_path / "in", image([frame], syntax))
    before = dcmread(sources[0]).pixel_array
    assert VISITOR in sources[0].read_bytes()
    for name in ("refuse", "clean"):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        (copy,) = deid.pseudonymise(sources, tmp_path / "out", KEY, deid.Profile(pixels=name))
        assert b"Jonesplanted" not in copy.read_bytes()
        np.testing.assert_array_equal(dcmread(copy).pixel_array, before)


def test_a_frame_in_several_fragments_is_read_as_one() -> None:
    frame = picture("JPEG", comment=VISITOR)
    pixels = encapsulate([frame, picture("JPEG")], fragments_per_frame=3)
    assert pixels.count(b"\xfe\xff\x00\xe0") == 7
    blanked = without_comments(pixels)
    assert b"Jonesplanted" not in blanked
    assert len(blanked) == len(pixels)


def test_pixels_in_which_nobody_wrote_anything_stay_byte_for_byte() -> None:
    for frame in (code_stream(b"Created by OpenJPEG version 2.5.2"), code_stream(b"Kakadu-v7.10"), picture("JPEG")):
        pixels = encapsulate([frame])
        assert without_comments(pixels) == pixels


def test_a_damaged_frame_is_refused(tmp_path: Path) -> None:
    frame = bytearray(picture("JPEG", comment=VISITOR))
    at = frame.index(b"\xff\xfe")
    frame[at + 2 : at + 4] = b"\xff\xff"
    with pytest.raises(PrivacyError) as caught:
        deid.pseudonymise(kit.write(tmp_path, image([bytes(frame)], JPEGBaseline8Bit)), tmp_path / "out", KEY)
    assert caught.value.code == "pixels.uncleared"


def test_bytes_behind_the_bits_of_a_segmentation_are_cut_off(tmp_path: Path) -> None:
    dataset = kit.slice_of(1, SOPClassUID=SegmentationStorage, BitsAllocated=1, BitsStored=1, HighBit=0)
    dataset.PixelData = b"\x55" * 8 + VISITOR
    (copy,) = deid.pseudonymise(kit.write(tmp_path / "in", dataset), tmp_path / "out", KEY)
    assert dcmread(copy).PixelData == b"\x55" * 8


def test_a_blanked_colour_image_keeps_its_colours(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:64, :96]
    colours = np.stack([60 + rows, 60 + columns, 190 - rows], axis=-1).astype(np.uint8)[None]
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 10, 20
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 79, 59
    dataset = kit.slice_of(
        1, SOPClassUID=UltrasoundImageStorage, Modality="US", Rows=64, Columns=96, SamplesPerPixel=3,
        PlanarConfiguration=0, BitsAllocated=8, BitsStored=8, HighBit=7, PhotometricInterpretation="YBR_FULL",
        SequenceOfUltrasoundRegions=[region], PixelData=convert_color_space(colours, "RGB", "YBR_FULL").tobytes(),
    )  # fmt: skip
    sources = kit.write(tmp_path / "in", dataset)
    (copy,) = deid.pseudonymise(sources, tmp_path / "out", KEY, deid.Profile(pixels="clean"))
    before, after = pixel_array(sources[0]), pixel_array(copy)
    np.testing.assert_array_equal(after[20:60, 10:80], before[20:60, 10:80])
    assert len(np.unique(after[:20])) == 1
