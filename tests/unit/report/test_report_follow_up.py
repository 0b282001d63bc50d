"""The printed follow-up: dates, models, changes, lesions and sums, in both languages, and who signed."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from follow_kit import LARGE, OTHER_MODEL, SMALL, THIRD, Kept, keep
from results import CREATED, SPECS
from segloop.measure import VolumeInterval
from segloop.report import Signature, concepts, key_images, render_pdf
from segloop.report.comparison import MOST_DATES, comparison, local_name
from segloop.report.messages import fhir_bundle, oru_r01
from segloop.report.messages.hl7 import parse
from segloop.report.words import WORDS, Language

RULES = (VolumeInterval(label=4, centre=0.0, lower=-0.02, upper=0.02, seen_ml=(0.01, 50.0), cases=40),)
LONGER = np.s_[3:8, 22:36, 22:36]
SIGNED = Signature(observer="Zhang^Wei=张^伟", organisation="示范医院", signed_at=CREATED)


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """One lesion grown, one gone, one new, after a comparable result and one of another model."""
    root = tmp_path_factory.mktemp("follow")
    keep(root / "a", "20250901", SMALL, LARGE, model=OTHER_MODEL)
    keep(root / "b", "20260101", SMALL, LARGE, intervals=RULES)
    return keep(root / "c", "20260401", LONGER, THIRD, priors=(root / "a", root / "b"), intervals=RULES)


def _pdf(kept: Kept, language: Language = "en", paper: str = "a4", **changes: object) -> bytes:
    findings = kept.findings.model_copy(update=changes)
    images = key_images(kept.volume, kept.labels, SPECS)
    return render_pdf(findings, kept.series, images, language, paper)  # type: ignore[arg-type]


def _text(tool: Path, pdf: bytes) -> str:
    """Cell by cell: by lines, a word that goes on in the next line would be cut by what stands beside it."""
    done = subprocess.run([tool, "-raw", "-", "-"], input=pdf, capture_output=True, check=True)
    return " ".join(done.stdout.decode().split())


def test_each_row_has_the_values_of_every_date_and_what_changed(later: Kept) -> None:
    told = comparison(later.findings, "en", WORDS["en"])
    assert [(head.main, head.below) for head in told.heads] == [
        ("2025-09-01", "hippocampus-mr 2.0, unsigned draft, other model, not comparable"),
        ("2026-01-01", "hippocampus-mr 1.0, unsigned draft"),
        ("2026-04-01", "this result"),
    ]
    rows = {row[0].main: [cell.main for cell in row[1:]] for row in (*told.structures, *told.lesions)}
    # 5 × 12 × 12 + 3 × 6 × 6 voxels of 2 mm³, then 5 × 14 × 14 + 3 × 12 × 12.
    assert rows["Lesion"][:3] == ["1.66 ml", "1.66 ml", "2.82 ml"]
    assert rows["Lesion"][3].startswith("+70.5 % (+")
    assert rows["Lesion 1"][:3] == ["15.6 × 15.6", "15.6 × 15.6", "18.4 × 18.4"]
    assert rows["Lesion 1"][3].startswith("+36.1 %* (")
    assert rows["Lesion 2"] == ["7.1 × 7.1", "7.1 × 7.1", "–", "no longer seen"]
    assert rows["Lesion 3"] == ["–", "–", "15.6 × 15.6", "new"]
    (lesion_one,) = [row for row in told.lesions if row[0].main == "Lesion 1"]
    assert lesion_one[0].below == "target lesion"
    assert "larger · doubles in 202 days" in lesion_one[-1].below
    assert told.sums[1] == "Sum of their diameters: 2026-01-01: 15.6 mm → 2026-04-01: 18.4 mm."
    assert "+18.2 %" in told.sums[2]
    assert "new lesions: 1" in told.sums[2]
    assert "PD (progressive disease)" in told.sums[2]
    assert "no diagnosis" in told.sums[3]


@pytest.mark.parametrize(
    ("state", "word", "word_zh"), [("signed", "signed", "已签署"), ("corrected", "corrected", "更正")]
)
def test_each_column_says_who_stood_behind_it(later: Kept, state: str, word: str, word_zh: str) -> None:
    priors = tuple(one.model_copy(update={"state": state}) for one in later.findings.follow_up.priors)
    known = later.findings.follow_up.model_copy(update={"priors": priors})
    findings = later.findings.model_copy(update={"follow_up": known})
    for language, wanted in (("en", word), ("zh-CN", word_zh)):
        heads = comparison(findings, language, WORDS[language]).heads[:-1]
        assert all(wanted in head.below for head in heads)
        assert not [head for head in heads if "draft" in head.below or "草稿" in head.below]


def test_the_same_stands_in_the_messages(later: Kept) -> None:
    said = concepts.reservations(later.findings)
    assert any(
        text.startswith("Compared with 2025-09-01 (hippocampus-mr 2.0, unsigned draft, other model") for text in said
    )
    assert "Lesion 2: no longer seen." in said
    assert any("PD (progressive disease)" in text for text in said)


def test_messages_call_a_lesion_by_the_name_on_the_page(later: Kept) -> None:
    lines = parse(oru_r01(later.findings, later.series, b"%PDF", "ab" * 32)).all("OBX")
    named = {line.get(4): line.get(3, 5) for line in lines if line.get(2) == "NM" and line.get(3, 2) == "Volume"}
    assert {"4": "Lesion volume", "4.1": "Lesion 1 volume", "4.2": "Lesion 3 volume"}.items() <= named.items()
    bundle = json.loads(fhir_bundle(later.findings, later.series, b"%PDF", "ab" * 32))
    notes = [note["text"] for entry in bundle["entry"] for note in entry["resource"].get("note", ())]
    assert {"Lesion 1", "Lesion 3"} <= set(notes)


def test_many_dates_are_cut_to_the_first_and_the_last_and_counted(later: Kept) -> None:
    follow_up = later.findings.follow_up
    several = tuple(
        follow_up.priors[1].model_copy(update={"key": str(month), "study_date": date(2026, month, 1)})
        for month in range(1, 4)
    )
    lesions = tuple(one.model_copy(update={"seen": (1,) * 6}) for one in follow_up.lesions)
    sums = follow_up.sums.model_copy(update={"sums_mm": (1.0,) * 6})
    long = follow_up.model_copy(
        update={"priors": (*follow_up.priors, *several), "lesions": lesions, "sums": sums, "reference": 4}
    )
    told = comparison(later.findings.model_copy(update={"follow_up": long}), "en", WORDS["en"])
    assert [head.main for head in told.heads] == ["2025-09-01", "2026-02-01", "2026-03-01", "2026-04-01"]
    assert len(told.heads) == MOST_DATES + 1
    assert "Further earlier results, not printed here: 2." in told.notes
    # The date that changes are counted from is never left out.
    early = later.findings.model_copy(update={"follow_up": long.model_copy(update={"reference": 1})})
    heads = comparison(early, "en", WORDS["en"]).heads
    assert [head.main for head in heads] == ["2025-09-01", "2026-01-01", "2026-03-01", "2026-04-01"]


def test_a_first_result_states_its_sum_and_no_comparison(tmp_path: Path) -> None:
    told = comparison(keep(tmp_path / "a", "20260101", LARGE).findings, "en", WORDS["en"])
    assert (told.heads, told.structures, told.lesions) == ((), (), ())
    assert told.sums[1] == "Sum of their diameters: 2026-01-01: 15.6 mm."


def test_lesions_are_named_in_the_pages_language() -> None:
    assert local_name("Lesion 12", SPECS[2], "zh-CN") == "病灶 12"
    assert local_name("Lesion 12", SPECS[2], "en") == "Lesion 12"
    assert local_name("Target A", SPECS[2], "zh-CN") == "Target A"


def test_both_languages_have_every_phrase() -> None:
    english, chinese = WORDS["en"], WORDS["zh-CN"]
    for name in english.__dataclass_fields__:
        one, other = getattr(english, name), getattr(chinese, name)
        if isinstance(one, tuple):
            assert [key for key, _ in one] == [key for key, _ in other], name
            continue
        assert one, name
        assert other, name
        holes = [{part.split("}")[0] for part in text.split("{")[1:]} for text in (one, other)]
        assert holes[0] == holes[1], name


@pytest.mark.peer
@pytest.mark.parametrize("paper", ["a4", "letter"])
@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            ("Comparison with earlier results", "other model", "no longer seen", "Sum of diameters", "NOT SIGNED"),
        ),
        ("zh-CN", ("与既往结果比较", "其他模型", "不再可见", "新发", "倍增时间", "疾病进展", "未签署", "病灶 3")),
    ],
)
def test_the_page_shows_the_comparison(
    later: Kept, require_peer: Callable[[str], Path], language: Language, paper: str, words: tuple[str, ...]
) -> None:
    text = _text(require_peer("pdftotext"), _pdf(later, language, paper))
    assert [word for word in words if "".join(word.split()) not in "".join(text.split())] == []


@pytest.mark.peer
def test_a_refused_prior_is_told_in_words_and_names_no_one(
    later: Kept, tmp_path: Path, require_peer: Callable[[str], Path]
) -> None:
    refused = _pdf(later, warnings=("prior_other_patient: PatientID, PatientSex", "prior_not_earlier"))
    text = _text(require_peer("pdftotext"), refused)
    assert "because it is of another patient. Different: patient ID, sex." in text
    assert "its images are not of an earlier date" in text
    assert "prior_" not in text


@pytest.mark.peer
def test_a_signed_page_names_who_signed_and_is_no_draft(later: Kept, require_peer: Callable[[str], Path]) -> None:
    tool = require_peer("pdftotext")
    text = _text(tool, _pdf(later, signature=SIGNED))
    words = ("SIGNED", "张伟 (Zhang, Wei)", "示范医院", "2026-11-22 09:30 (UTC+08:00)")
    assert [word for word in words if word not in text] == []
    assert "NOT SIGNED" not in text
    assert "has not been reviewed" not in text
    correction = SIGNED.model_copy(update={"corrects": "1.2.3"})
    assert "SIGNED · CORRECTION" in _text(tool, _pdf(later, signature=correction))
    assert "已签署 · 更正报告" in _text(tool, _pdf(later, "zh-CN", signature=correction))
    draft = _text(tool, _pdf(later))
    # In the box, and in the head of the second page.
    assert draft.count("NOT SIGNED") == 2


@pytest.mark.peer
def test_a_draft_says_so_across_every_page_and_a_signed_page_is_clear(
    later: Kept, tmp_path: Path, require_peer: Callable[[str], Path]
) -> None:
    shaded = {}
    for name, signature in (("draft", None), ("signed", SIGNED)):
        (tmp_path / "page.pdf").write_bytes(_pdf(later, signature=signature))
        command = [require_peer("pdftoppm"), "-r", "40", "-png", tmp_path / "page.pdf", tmp_path / name]
        subprocess.run(command, check=True)
        pages = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(tmp_path.glob(f"{name}-*.png"))]
        shaded[name] = [int((page == (238, 241, 244)).all(axis=2).sum()) for page in pages]
    assert len(shaded["draft"]) == 2
    assert min(shaded["draft"]) > 500
    assert max(shaded["signed"]) == 0


@pytest.mark.peer
def test_chinese_states_are_drawn_with_their_own_glyphs_and_embedded_fonts(
    later: Kept, tmp_path: Path, require_peer: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pdffonts, pdftoppm = require_peer("pdffonts"), require_peer("pdftoppm")
    pictures = {}
    plain = WORDS["zh-CN"]
    for name, word in (("signed", plain.signed), ("tofu", "□□□"), ("other", "己簽暑")):
        monkeypatch.setitem(WORDS, "zh-CN", replace(plain, signed=word))
        (tmp_path / "page.pdf").write_bytes(_pdf(later, "zh-CN", signature=SIGNED))
        command = [pdftoppm, "-r", "144", "-png", "-l", "1", tmp_path / "page.pdf"]
        page = subprocess.run(command, capture_output=True, check=True)
        # The box in the upper right corner.
        pictures[name] = np.asarray(Image.open(io.BytesIO(page.stdout)).convert("L"))[100:150, 980:1100]
    assert (pictures["signed"] < 140).sum() > 100
    assert (pictures["signed"] != pictures["tofu"]).mean() > 0.03
    assert (pictures["signed"] != pictures["other"]).mean() > 0.01
    fonts = subprocess.run([pdffonts, tmp_path / "page.pdf"], capture_output=True, check=True).stdout.decode()
    lines = fonts.splitlines()[2:]
    assert lines
    assert all(line.split()[-5:-2] == ["yes", "yes", "yes"] for line in lines), lines
