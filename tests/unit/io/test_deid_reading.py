"""Burned-in text that no rule knows: found by the detector of the extra `segloop[ocr]`, refused without it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset, dcmread
from pydicom.uid import ComputedRadiographyImageStorage, UltrasoundMultiFrameImageStorage

import service_kit as kit
from segloop.errors import PrivacyError
from segloop.io import deid
from segloop.io.deid import pixels, reading
from segloop.io.deid.burned import Box

KEY = b"k" * 32
CLEAN = deid.Profile.of(pixels="clean")
ROWS, COLUMNS = 240, 320
FONT = files("segloop.report").joinpath("fonts", "NotoSansCJKsc-Regular.otf")


@pytest.fixture
def no_extra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the extra were not installed."""
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    reading.reader_name.cache_clear()
    yield
    reading.reader_name.cache_clear()


@pytest.fixture
def extra() -> None:
    pytest.importorskip("rapidocr", reason="text detection is not installed: pip install 'segloop[ocr]'")


def frames(*texts: str, grey: int = 150, height: int = 18) -> np.ndarray:
    """A soft body in the middle of each frame, and a line of grey text in its upper left: neither bright nor black."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    body = 30 + 200 * np.exp(-(((y - 150) / 45) ** 2 + ((x - 180) / 70) ** 2))
    drawn = []
    for text in texts:
        picture = Image.fromarray(body.astype(np.uint8))
        font = ImageFont.truetype(str(FONT), height)
        ImageDraw.Draw(picture).text((12, 10), text, grey, font=font)
        drawn.append(np.asarray(picture))
    return np.stack(drawn)


def ultrasound(folder: Path, array: np.ndarray, **changes: object) -> Path:
    """A multi-frame ultrasound image of a device that no rule knows."""
    dataset = kit.slice_of(1, SOPClassUID=UltrasoundMultiFrameImageStorage, Modality="US", Manufacturer="Nobody")
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = array.shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = array.tobytes()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    (path,) = kit.write(folder / "in", dataset)
    return path


def cleaned(folder: Path, source: Path) -> Dataset:
    (copy,) = deid.pseudonymise([source], folder / "out", KEY, CLEAN)
    return dcmread(copy)


def refusal(folder: Path, source: Path) -> PrivacyError:
    with pytest.raises(PrivacyError) as caught:
        deid.pseudonymise([source], folder / "out", KEY, CLEAN)
    assert caught.value.code == "pixels.uncleared"
    assert not list((folder / "out").rglob("*.dcm"))
    return caught.value


@pytest.mark.usefixtures("no_extra")
@pytest.mark.parametrize("grey", [150, 255])
def test_without_the_extra_what_no_rule_knows_is_refused(tmp_path: Path, grey: int) -> None:
    """Also where one line is bright enough to be found without it: others may not be."""
    fault = refusal(tmp_path, ultrasound(tmp_path, frames("QUILLARA ZYX", grey=grey)))
    assert reading.EXTRA in str(fault.hint)


@pytest.mark.usefixtures("no_extra")
def test_without_the_extra_no_copy_says_that_a_detector_looked(tmp_path: Path) -> None:
    source = ultrasound(tmp_path, frames("nothing"), ManufacturerModelName="LOGIQ9")
    copy = cleaned(tmp_path, source)
    assert "detection" not in str(copy.DeidentificationMethod)


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("text", ["QUILLARA ZYX 1963-11-29", "王小东 男 56岁", "홍길동 Jérôme №7731"])
def test_text_of_any_grey_is_blanked_in_every_frame(tmp_path: Path, text: str) -> None:
    array = frames("", text, "")
    copy = cleaned(tmp_path, ultrasound(tmp_path, array))
    drawn = array[1] != array[0]
    assert drawn.sum() > 200
    assert (copy.pixel_array[:, drawn] == array.min()).all()
    body = np.s_[:, 60:, 80:]
    assert (copy.pixel_array[body] == array[body]).all()
    assert copy.BurnedInAnnotation == "NO"
    assert any("rapidocr" in method for method in copy.DeidentificationMethod)
    assert "113101" in [code.CodeValue for code in copy.DeidentificationMethodCodeSequence]


@pytest.mark.usefixtures("extra")
def test_text_in_a_radiograph_of_twelve_bits_is_found_without_a_flag(tmp_path: Path) -> None:
    array = (frames("QUILLARA ZYX", grey=120)[0].astype(np.uint16) * 16 + 5)[None]
    source = ultrasound(
        tmp_path, array, SOPClassUID=ComputedRadiographyImageStorage, Modality="CR", BitsAllocated=16, BitsStored=12,
        HighBit=11, NumberOfFrames=1,
    )  # fmt: skip
    copy = cleaned(tmp_path, source)
    drawn = frames("QUILLARA ZYX", grey=120)[0] != frames("")[0]
    assert (copy.pixel_array[drawn] == array.min()).all()


@pytest.mark.usefixtures("extra")
def test_an_image_without_text_keeps_its_pixels_and_one_that_claims_some_is_refused(tmp_path: Path) -> None:
    array = frames("", "")
    assert (cleaned(tmp_path, ultrasound(tmp_path, array)).pixel_array == array).all()
    refusal(tmp_path / "told", ultrasound(tmp_path / "told", array, BurnedInAnnotation="YES"))


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("shape", [(8, 8), (1, 300), (2000, 24), (700, 1200)])
def test_frames_of_any_shape_can_be_looked_at(shape: tuple[int, int]) -> None:
    assert reading.find_lines(np.zeros(shape, np.uint8)) == []
    assert reading.find_lines(np.full((*shape, 3), 7, np.uint8)) == []


@pytest.mark.usefixtures("extra")
def test_small_letters_in_a_large_image_are_found_where_they_are() -> None:
    large = np.zeros((1500, 1700), np.uint8)
    large[1380 : 1380 + ROWS // 2, 1300 : 1300 + COLUMNS] = frames("QUILLARA ZYX", height=12)[0][: ROWS // 2]
    lines = reading.find_lines(large)
    assert any(1385 <= line.box.top <= 1410 and 1300 <= line.box.left <= 1325 for line in lines)


@pytest.mark.parametrize(("score", "kept"), [(reading.SURE, True), (reading.SURE - 0.01, False)])
def test_what_may_be_text_or_not_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: float, kept: bool
) -> None:
    """A detector that is sure, or not, of one place of the first frame as long as something stands there."""

    def find(frame: np.ndarray) -> list[reading.Line]:
        return [reading.Line(Box(10, 12, 30, 90), score)] if frame[20, 40] != frame.min() else []

    monkeypatch.setattr(pixels, "reader", lambda: find)
    array = frames("", "")
    array[0, 20, 40] = 99
    source = ultrasound(tmp_path, array)
    if kept:
        assert (cleaned(tmp_path, source).pixel_array[:, 5:35, 7:95] == frames("").min()).all()
    else:
        refusal(tmp_path, source)


def test_text_that_is_still_found_after_blanking_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([[reading.Line(Box(10, 12, 30, 90), 0.9)], [reading.Line(Box(10, 85, 30, 120), 0.4)]])
    monkeypatch.setattr(pixels, "reader", lambda: lambda _: next(found))
    refusal(tmp_path, ultrasound(tmp_path, frames("")))
