from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from results import CREATED, MODEL, SPECS, Made, mask_for, write_all, write_series
from segloop.measure import measure_labels
from segloop.report import collect, key_images, person_name, render_pdf
from segloop.volume import Labels

NAMES = {
    "chinese": ("Wang^XiaoDong=王^小东", "王小东"),
    "traditional": ("Chen^Long=陳^龍", "陳龍"),
    "japanese": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田太郎"),
    "korean": ("Hong^Gildong=洪^吉洞=홍^길동", "洪吉洞"),
    "hangul": ("홍^길동", "홍길동"),
    "accents": ("Müller-Şahin^Zoë", "Müller-Şahin, Zoë"),
    "polish": ("Łuczyński^Żółć", "Łuczyński, Żółć"),
    "ukrainian": ("Їжак^Євген", "Їжак, Євген"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("pdf")
    return write_all(write_series(folder / "source", shape=(5, 12, 14)), folder / "out")


def _render(folder: Path, name: str, **changes: object) -> bytes:
    series = write_series(
        folder, shape=(5, 12, 14), changes={"SpecificCharacterSet": "ISO_IR 192", "PatientName": name, **changes}
    )
    return _page(series)


def _page(series: object, language: str = "en", paper: str = "a4", empty: bool = False) -> bytes:
    from segloop.io.dicom import read_series

    volume = read_series(series)  # type: ignore[arg-type]
    mask = mask_for(volume)
    if empty:
        mask = Labels(np.zeros_like(mask.array), volume.geometry, mask.names)
    findings = collect(mask, measure_labels(mask, volume, SPECS), SPECS, MODEL, CREATED)
    return render_pdf(findings, series, key_images(volume, mask, SPECS), language, paper)  # type: ignore[arg-type]


def _run(tool: Path, pdf: bytes, folder: Path, *options: str) -> str:
    path = folder / "page.pdf"
    path.write_bytes(pdf)
    done = subprocess.run(
        [tool, *options, path, *(["-"] if tool.name == "pdftotext" else [])], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.mark.parametrize("name", [n for n, _ in NAMES.values()], ids=list(NAMES))
def test_names_are_written_as_on_paper(name: str) -> None:
    assert next(shown for given, shown in NAMES.values() if given == name) in person_name(name)


@pytest.mark.peer
@pytest.mark.long
def test_every_name_is_drawn_with_its_own_glyphs_and_an_embedded_font(
    tmp_path: Path, require_peer: Callable[[str], Path]
) -> None:
    pdffonts, pdftotext, pdftoppm = (require_peer(n) for n in ("pdffonts", "pdftotext", "pdftoppm"))
    pictures: dict[str, np.ndarray] = {}
    for script, (name, shown) in {**NAMES, "tofu": ("\U0001f9e0" * 3, "□□□")}.items():
        pdf = _render(tmp_path / script, name)
        assert shown in _run(pdftotext, pdf, tmp_path)
        table = _run(pdffonts, pdf, tmp_path).splitlines()[2:]
        assert table
        assert all(line.split()[-5:-2] == ["yes", "yes", "yes"] for line in table), table
        page = subprocess.run(
            [pdftoppm, "-r", "144", "-png", "-f", "1", tmp_path / "page.pdf"], check=False, capture_output=True
        )
        whole = np.asarray(Image.open(io.BytesIO(page.stdout)).convert("L"))
        # The field right of "Name" in the patient block.
        pictures[script] = whole[222:246, 262:560]
    for script, picture in pictures.items():
        assert (picture < 128).sum() > 50, f"nothing is drawn for {script}"
        for other, second in pictures.items():
            assert other == script or (picture != second).mean() > 0.01, f"{script} looks like {other}"


@pytest.mark.peer
def test_text_from_the_study_is_printed_and_never_run(tmp_path: Path, require_peer: Callable[[str], Path]) -> None:
    evil = '#panic("x") $x^2$ *b* `r` @r <l> // " = ]'
    pdf = _render(tmp_path / "evil", "Doe^Jane", StudyDescription=evil)
    text = _run(require_peer("pdftotext"), pdf, tmp_path)
    assert "".join(evil.split()) in "".join(text.split())


@pytest.mark.peer
@pytest.mark.parametrize(("paper", "size"), [("a4", "595.276 x 841.89"), ("letter", "612 x 792")])
def test_paper_sizes(made: Made, tmp_path: Path, require_peer: Callable[[str], Path], paper: str, size: str) -> None:
    assert size in _run(require_peer("pdfinfo"), _page(made.series, paper=paper), tmp_path)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            ("For research use only", "NOT SIGNED", "Lesion 2", "Doe, Jane", "PID-1 (HOSPITAL)", "ACC-9", MODEL.digest),
        ),
        ("zh-CN", ("仅供研究使用", "未签署", "病灶 2", "最大径", "Doe, Jane", "PID-1", "女", MODEL.digest)),
    ],
)
def test_the_page_says_whose_by_what_and_that_it_is_a_draft(
    made: Made, tmp_path: Path, require_peer: Callable[[str], Path], language: str, words: tuple[str, ...]
) -> None:
    text = _run(require_peer("pdftotext"), _page(made.series, language), tmp_path, "-layout")
    assert [word for word in words if word not in text] == []


@pytest.mark.peer
def test_an_empty_mask_gives_a_page_that_says_not_found(
    made: Made, tmp_path: Path, require_peer: Callable[[str], Path]
) -> None:
    text = _run(require_peer("pdftotext"), _page(made.series, empty=True), tmp_path)
    assert text.count("not found") == len(SPECS)
    assert "Nothing was segmented" in text


def test_the_same_findings_give_the_same_bytes_and_pdf_a(made: Made) -> None:
    first = _page(made.series)
    assert first == _page(made.series)
    assert b"<pdfaid:part>2</pdfaid:part>" in first
    assert b"<pdfaid:conformance>B</pdfaid:conformance>" in first


def test_no_identity_stands_in_an_error(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    import segloop.report.pdf as module
    from segloop.errors import SegloopError

    broken = b"#panic(sys.inputs.page)"
    monkeypatch.setattr(module, "_resource", lambda name: broken if name.endswith(".typ") else b"20-7E")
    module._coverage.cache_clear()
    with pytest.raises(SegloopError) as caught:
        _page(made.series)
    module._coverage.cache_clear()
    assert "Doe" not in f"{caught.value!r} {caught.value.__cause__}"
