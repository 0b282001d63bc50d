"""How much burned-in text `--pixels clean` hides with the extra `segloop[ocr]`, and what it refuses: a trial.

    python benchmarks/accuracy/burned_in_text.py

One line of made-up text is drawn into each of 96 images: four real backgrounds, letters of 8 to 32 pixels, Latin and
Chinese, of all, half or a quarter of the image's range of grey. A line is hidden when 98 % of its pixels were blanked,
and left when more of it remains in a copy that was not refused. Writes `benchmarks/results/burned-in-text.json`.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from segloop.errors import PrivacyError
from segloop.io.deid.pixels import clear_pixels
from segloop.io.deid.profile import Profile
from segloop.io.deid.reading import reader_name

ROOT = Path(__file__).resolve().parent.parent.parent
ZOO = ROOT.parent / "shared" / "data" / "dicom-zoo"
BACKGROUNDS = {
    "chest radiograph": "pixels/CR-MONO1-10-chest.dcm",
    "CT localizer": "pixels/GH342_CT_localizer.dcm",
    "echocardiogram": "pixels/US-PAL-8-10x-echo.dcm",
    "CT section as a capture": "transfer-syntax/wg04_CT2_UNC.dcm",
}
WORDS = {
    "Latin": ("NotoSans-Regular.ttf", "DOE JANE 1970-01-02"),
    "Chinese": ("NotoSansCJKsc-Regular.otf", "王小东 男 56岁"),
}
HEIGHTS, CONTRASTS = (8, 12, 20, 32), (1.0, 0.5, 0.25)
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def main() -> None:
    """Draw, clean, count, and write the result file."""
    if not reader_name():
        raise SystemExit("text detection is not installed: pip install 'segloop[ocr]'")
    dice, fates, plain = np.random.default_rng(0), Counter[tuple[str, str]](), Counter[str]()
    for name in BACKGROUNDS.values():
        pixels = dcmread(ZOO / name).pixel_array
        pixels = pixels[0] if pixels.ndim == 3 else pixels
        plain[_fate(pixels, np.zeros(pixels.shape, bool))] += 1
        for height, script, contrast in itertools.product(HEIGHTS, WORDS, CONTRASTS):
            drawn, mask = _drawn(pixels, height, script, contrast, dice)
            fates[f"{script}, {contrast:.0%} of the range", _fate(drawn, mask)] += 1
    groups = sorted({group for group, _ in fates}, key=lambda g: (g.split(",")[0], -len(g), g), reverse=True)
    total = Counter[str]()
    for (_, fate), count in fates.items():
        total[fate] += count
    whole = sum(total.values())
    document = {
        "name": "burned-in-text",
        "command": "python benchmarks/accuracy/burned_in_text.py",
        "detector": reader_name(),
        "images": whole,
        "fates": dict(total),
        "by_kind": {group: {fate: fates[group, fate] for fate in ("hidden", "refused", "left")} for group in groups},
        "without_text": dict(plain),
        "rows": [
            {
                "what": f"burned-in text on images that no rule knows, of {whole}: hidden, refused, left in the copy",
                "what_zh": f"规则未覆盖的图像中的烧录文字，共 {whole} 幅：已遮盖、被拒绝、残留",
                "value": ", ".join(str(total[fate]) for fate in ("hidden", "refused", "left")),
                "bound": "",
            }
        ],
    }
    path = ROOT / "benchmarks" / "results" / "burned-in-text.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _drawn(
    pixels: np.ndarray, height: int, script: str, contrast: float, dice: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The image with a line of text at a place of chance, and where the text is."""
    font_name, words = WORDS[script]
    font = ImageFont.truetype(str(files("segloop.report").joinpath("fonts", font_name)), height)
    rows, columns = pixels.shape
    picture = Image.new("L", (columns, rows), 0)
    draw = ImageDraw.Draw(picture)
    left, top = dice.integers(2, max(3, columns - draw.textlength(words, font=font) - 4)), dice.integers(2, rows - 60)
    draw.text((left, top), words, 255, font=font)
    share = np.asarray(picture) / 255
    low, high = float(pixels.min()), float(pixels.max())
    around = float(np.median(pixels[share > 0.5]))
    grey = around + contrast * (high - low) * (1 if around < (low + high) / 2 else -1)
    drawn = pixels * (1 - share) + np.clip(grey, low, high) * share
    return np.rint(drawn).astype(pixels.dtype), share > 0.5


def _fate(pixels: np.ndarray, mask: np.ndarray) -> str:
    """What becomes of an image: `refused`, `hidden`, `left`, or `kept` for one without text that stays as it is."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.Modality, dataset.PhotometricInterpretation = CAPTURE, "OT", "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, int(pixels.dtype.kind == "i")
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    try:
        clear_pixels(dataset, Profile.of(pixels="clean"))
    except PrivacyError:
        return "refused"
    after = dataset.pixel_array
    if not mask.any():
        return "kept" if (after == pixels).all() else "blanked"
    return "hidden" if (after[mask] == pixels.min()).mean() >= 0.98 else "left"


if __name__ == "__main__":
    main()
