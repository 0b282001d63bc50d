"""`report.html`: what was put in stands on the page, nothing else is asked for, and it can be read by everyone."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from segloop.plan import Provenance
from segloop.train.checkpoint import Notice, Point
from segloop.train.findings import (
    CalibrationBin,
    CalibrationCurve,
    ExpectedDice,
    Fact,
    LearningCurve,
    LearningPoint,
    Picture,
    ReportPage,
    Suspect,
    ValidationResult,
    VolumePair,
    WorstCase,
    volume_pairs,
)
from segloop.train.pictures import to_small_png
from segloop.train.report import html_page
from segloop.train.report.charts import COLOURS, Chart, Series, ticks
from segloop.train.report.figures import agreement
from segloop.train.scores import CaseScore, LabelScore, ScoredModel, Scores
from training_kit import plan

MADE = Provenance(dataset="balls & <boxes>", steps=40, seconds=90, command="segloop train balls", seed=3)
POINTS = tuple(
    Point(
        step=10 * i,
        loss=1.0 / i,
        dice={"ball": 0.5 + i / 20} if i % 2 else {},
        held_loss=1.2 / i if i % 2 else None,
        learning_rate=1e-3 * (5 - i),
    )
    for i in range(1, 5)
)


def picture(text: str = "a picture") -> Picture:
    pixels = np.zeros((8, 12, 3), np.uint8)
    pixels[2:4] = (86, 180, 233)
    return Picture(png=to_small_png(pixels), text=text)


def scored(dice: list[float | None]) -> Scores:
    cases = [
        CaseScore(
            id=f"c{i}",
            labels={"1": LabelScore(dice=d, hd95_mm=1.5, surface_dice=0.9, volume_ml=10 + i, reference_volume_ml=9.0)},
            seconds=0.1,
        )
        for i, d in enumerate(dice)
    ]
    model = ScoredModel(name="m", version="1", digest="d", runtime="r", precision="p")
    return Scores.of(cases, plan().labels, model=model, dataset="balls", tolerance_mm=1.0)


@pytest.fixture(scope="module")
def page() -> ReportPage:
    learning = LearningCurve(
        points=tuple(
            LearningPoint(cases=n, dice=0.9 - 1 / n, interval=(0.88 - 1 / n, 0.92 - 1 / n)) for n in (5, 10, 20)
        ),
        a=0.9,
        b=1.0,
        c=1.0,
        band=tuple(ExpectedDice(cases=n, dice=0.9 - 1 / n, interval=(0.89 - 1 / n, 0.91 - 1 / n)) for n in (5, 20, 40)),
        more=10,
        gain=0.0167,
        gain_interval=(0.012, 0.021),
    )
    bins = tuple(CalibrationBin(confidence=c, accuracy=c - 0.1, share=0.25) for c in (0.55, 0.7, 0.85, 0.95))
    found = ValidationResult(
        source="out-of-fold",
        scores=scored([0.8, 0.9, None, 0.7]),
        worst=(WorstCase(case="c3", label="ball", dice=0.7, hd95_mm=3.21, picture=picture("the worst")),),
        calibration=CalibrationCurve(
            bins=bins, bins_after=bins, temperature=1.31, ece=0.1, ece_after=0.0123, held_out=True
        ),
        learning=learning,
        suspects=(Suspect(case="c1", label="ball", dice=0.123, reason="the label is shifted", picture=picture()),),
        facts=(Fact(name="Clean-up", value="largest component"),),
    )
    return ReportPage(
        plan=plan(),
        provenance=MADE,
        version="1.2.3",
        points=POINTS,
        notices=(Notice(kind="gradients-vanish", step=10, text="Layers have vanished."),),
        sheet=picture("a sheet"),
        overlays=(picture("held out"),),
        validation=found,
    )


@pytest.fixture(scope="module")
def html(page: ReportPage) -> str:
    return html_page(page)


def headings(html: str) -> list[str]:
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", html)


def rows(html: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    table = html.split(f">{heading}</h2>")[1].partition("</table>")[0]
    return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]


def drawings(html: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def test_every_part_has_its_section_in_the_order_of_what_matters(html: str) -> None:
    assert headings(html) == [
        "Warnings",
        "Results",
        "Worst cases",
        "Volumes",
        "More cases",
        "Labels to look at again",
        "Calibration",
        "Training",
        "Held-out cases",
        "Augmentation",
        "How it was made",
    ]


def test_sections_without_data_are_left_out() -> None:
    bare = html_page(ReportPage(plan=plan(), provenance=MADE, version="1"))
    assert headings(bare) == ["Results", "How it was made"]
    assert "nothing was measured" in bare
    assert "<svg" not in bare


def test_the_table_holds_the_numbers_given(html: str, page: ReportPage) -> None:
    head, ball = rows(html, "Results")
    assert page.validation is not None
    dice = page.validation.scores.labels["1"].dice
    assert dice.ci95 is not None
    assert head[:3] == ["Label", "Dice", "95 % interval"]
    assert ball[:3] == ["ball", "0.800", f"{dice.ci95[0]:.3f} to {dice.ci95[1]:.3f}"]
    assert ball[3] == "1.50"
    assert ball[-1] == "3"
    assert "1 of 4 cases left out" in html
    assert "largest component" in html


def test_bland_altman_gives_bias_and_limits(html: str, page: ReportPage) -> None:
    assert page.validation is not None
    pairs = volume_pairs(page.validation.scores)
    assert [p.measured_ml - p.reference_ml for p in pairs] == [1, 2, 3, 4]
    found = agreement(pairs)
    sd = np.std([1, 2, 3, 4], ddof=1)
    assert found.bias_ml == 2.5
    assert found.limits_ml == pytest.approx((2.5 - 1.96 * sd, 2.5 + 1.96 * sd))
    assert rows(html, "Volumes")[1][:2] == ["ball", "2.500"]
    chart = next(svg for svg in drawings(html) if "Bland-Altman" in (svg.get("aria-label") or ""))
    assert len(chart.findall(".//circle")) == 4


def test_one_case_has_a_bias_and_no_limits() -> None:
    found = agreement([VolumePair(case="a", label="ball", measured_ml=3.0, reference_ml=2.0)])
    assert (found.bias_ml, found.bias_interval, found.limits_ml) == (1.0, None, None)


def test_more_cases_calibration_and_suspects_say_what_was_found(html: str) -> None:
    assert "10 more cases would bring +0.0167 mean Dice (95 % interval 0.0120 to 0.0210)." in html
    assert rows(html, "Calibration")[1:] == [["before", "1", "0.1000"], ["after", "1.31", "0.0123"]]
    assert rows(html, "Labels to look at again")[1] == ["1", "c1", "ball", "0.123", "the label is shifted"]
    assert "c3, ball: Dice 0.700, HD95 3.2 mm." in html


def test_nothing_is_asked_from_outside_and_nothing_from_inside_is_taken_for_markup(html: str) -> None:
    assert not re.search(r"https?://|//[a-z]|@import|url\(|<script|<link", html)
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,)', html) == []
    assert "balls &amp; &lt;boxes&gt;" in html
    assert "<boxes>" not in html
    for data in re.findall(r'src="data:image/png;base64,([^"]+)"', html):
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (12, 8)


def test_a_screen_reader_gets_words_for_everything(html: str) -> None:
    assert html.startswith('<!doctype html>\n<html lang="en">')
    assert all(alt.strip() for alt in re.findall(r'<img alt="([^"]*)"', html))
    charts = drawings(html)
    assert len(charts) == 6  # Bland-Altman, learning curve, reliability, loss, Dice, learning rate
    for svg in charts:
        assert svg.get("role") == "img"
        assert len(svg.get("aria-label") or "") > 20
        assert svg.find("title") is not None
    assert html.count('scope="row"') > 5


def test_curves_have_the_points_given(html: str) -> None:
    loss = next(svg for svg in drawings(html) if (svg.get("aria-label") or "").startswith("Loss."))
    lines = [line.get("points", "").split() for line in loss.findall(".//polyline")]
    assert [len(line) for line in lines] == [4, 2]
    across = [float(point.split(",")[0]) for point in lines[0]]
    down = [float(point.split(",")[1]) for point in lines[0]]
    assert np.diff(across) == pytest.approx(np.diff(across)[0] * np.ones(3), abs=0.11)
    assert down == sorted(down)  # a falling loss runs down the page


def test_lines_are_told_apart_without_colour() -> None:
    series = [Series(f"s{i}", [(0, i), (1, i)]) for i in range(4)]
    svg = Chart("t", "x", "y", series).svg()
    dashes = re.findall(r"<polyline[^>]*?(?:stroke-dasharray=\"([^\"]+)\")?/>", svg)
    assert len(set(dashes)) == 4


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_stand_out_from_white(colour: str) -> None:
    """Contrast of at least 3:1 for graphics, WCAG 2.2, 1.4.11."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    assert 1.05 / (linear @ (0.2126, 0.7152, 0.0722) + 0.05) >= 3


@pytest.mark.parametrize(
    ("low", "high"), [(0.13, 0.88), (0, 12000), (-3, 3), (0.85, 0.851), (5, 5), (0, 0), (1e-7, 2e-3)]
)
def test_ticks_are_few_round_and_take_in_everything(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 12
    assert np.diff(found) == pytest.approx(np.diff(found)[0] * np.ones(len(found) - 1))


def test_records_survive_json(page: ReportPage) -> None:
    again = ReportPage.model_validate_json(page.model_dump_json(by_alias=True))
    assert again == page
    assert html_page(again) == html_page(page)


def test_a_page_of_many_pictures_stays_below_five_megabytes(page: ReportPage) -> None:
    noise = np.repeat(np.random.default_rng(0).integers(0, 256, (396, 724, 1), dtype=np.uint8), 3, axis=2)
    full = Picture(png=to_small_png(noise), text="noise")
    assert page.validation is not None
    worst = tuple(WorstCase(case=str(i), label="ball", dice=0.1, picture=full) for i in range(5))
    suspects = tuple(Suspect(case=str(i), label="ball", dice=0.1, reason="r", picture=full) for i in range(3))
    crowded = page.model_copy(
        update={
            "validation": page.validation.model_copy(update={"worst": worst, "suspects": suspects}),
            "overlays": (full,) * 3,
            "sheet": full,
        }
    )
    assert len(html_page(crowded)) < 5_000_000
