"""Findings to a page that a physician can read, check and sign: PDF/A through Typst, fonts embedded.

The template gets everything as data (JSON and pictures), never as markup: no name or description can change the page.
"""

from __future__ import annotations

import json
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydicom import Dataset
from pydicom.multival import MultiValue

from segloop.errors import SegloopError
from segloop.io.dicom.header import plain_text
from segloop.io.dicom.refs import RESAMPLED, SHEARED, SeriesRef
from segloop.measure.quantities import Quantity
from segloop.plan import LabelSpec
from segloop.report.comparison import comparison, local_name
from segloop.report.dicom.common import identity
from segloop.report.findings import CUT_OFF, EMPTY_RESULT, NOT_EXPLAINED, Findings, Group
from segloop.report.overlay import KeyImage
from segloop.report.prior import NOT_EARLIER, NOT_PLACED, OTHER_LABELS, OTHER_PATIENT, PATIENT_UNKNOWN
from segloop.report.words import WORDS, Language, Words

Paper = Literal["a4", "letter"]

_REPLACEMENT = "□"


def render_pdf(
    findings: Findings,
    series: SeriesRef,
    images: Sequence[KeyImage],
    language: Language = "en",
    paper: Paper = "a4",
    explained: Explained | None = None,
) -> bytes:
    """The report as PDF/A-2b; equal arguments give equal bytes.

    Args:
        findings: What to say.
        series: Whose images they are; read again here for patient and study.
        images: Of `key_images`.
        language: Of the fixed words and, where the model has Chinese ones, of the label names.
        paper: Page size.
        explained: Where the network looked, shown below the key images.

    Raises:
        SegloopError: Typst refused the page; a bug.
    """
    import typst

    words = WORDS[language]
    page, complete = _printable(_page(findings, series, images, language, paper) | _heat(explained, findings, language))
    if not complete:
        page["notes"].append(words.unprintable)
    with tempfile.TemporaryDirectory(prefix="segloop-report-") as name:
        folder = Path(name)
        template = folder / "report.typ"
        template.write_bytes(_resource("template/report.typ"))
        for image in images:
            (folder / f"{image.plane}.png").write_bytes(image.png())
        for image in explained.images if explained else ():
            (folder / f"heat-{image.plane}.png").write_bytes(image.png())
        try:
            return bytes(
                typst.compile(
                    template,
                    root=folder,
                    font_paths=_fonts(),
                    sys_inputs={"page": json.dumps(page, ensure_ascii=False)},
                    pdf_standards="a-2b",
                    timestamp=findings.created,
                )
            )
        except typst.TypstError as fault:
            # The diagnostic quotes the page, which holds identity.
            raise SegloopError(f"The report page could not be set: {type(fault).__name__}.", code="internal") from None


@dataclass(frozen=True, slots=True)
class Explained:
    """Key images with the Seg-Grad-CAM of a label.

    Args:
        label: Its number.
        images: Of `report.heat.heat_images`.
    """

    label: int
    images: tuple[KeyImage, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table, as printed."""

    name: str
    colour: str
    component: bool
    found: bool
    cells: tuple[str, ...]


def _page(
    findings: Findings, series: SeriesRef, images: Sequence[KeyImage], language: Language, paper: Paper
) -> dict[str, Any]:
    words = WORDS[language]
    study = identity(series)

    def stated(keyword: str) -> str:
        value = study.get(keyword) or ""
        several = value if isinstance(value, MultiValue) else [value]
        return " / ".join(str(part).strip() for part in several) or words.unknown

    issuer = str(study.get("IssuerOfPatientID") or "").strip()
    named = person_name(str(study.get("PatientName") or "")) or words.unknown
    model = findings.model
    run = f"{model.runtime} {model.precision}".strip()
    texts = {
        EMPTY_RESULT: words.empty_result,
        CUT_OFF: words.cut_off.format(labels=", ".join(_label_name(s, language) for s in _cut(findings))),
        NOT_EXPLAINED: words.not_explained,
        NOT_EARLIER: words.prior_not_earlier,
        OTHER_LABELS: words.prior_other_labels,
        NOT_PLACED: words.prior_not_placed,
        SHEARED: words.slices_sheared,
        RESAMPLED: words.slices_resampled,
    }
    return {
        "language": {"en": "en", "zh-CN": "zh"}[language],
        "region": {"en": "us", "zh-CN": "cn"}[language],
        "paper": {"a4": "a4", "letter": "us-letter"}[paper],
        "words": {key: value for key, value in asdict(words).items() if isinstance(value, str)},
        "research": findings.research_use,
        "state": _state(findings, words),
        "signature": _signature(findings, words),
        "comparison": asdict(comparison(findings, language, words)),
        "header": f"{named} · {stated('PatientID')} · {words.accession} {stated('AccessionNumber')}",
        "patient": [
            (words.name, named),
            (words.patient_id, stated("PatientID") + (f" ({issuer})" if issuer else "")),
            (words.birth_date, _date(str(study.get("PatientBirthDate") or "")) or words.unknown),
            (words.sex, dict(words.sexes).get(stated("PatientSex"), stated("PatientSex"))),
        ],
        "study": [
            (words.accession, stated("AccessionNumber")),
            (words.study_date, _moment(study) or words.unknown),
            (words.description, stated("StudyDescription")),
            (words.referring, person_name(str(study.get("ReferringPhysicianName") or "")) or words.unknown),
        ],
        "technique": [*_technique(series, words), (words.made, moment_text(findings.created))],
        "model": (words.model, f"{model.name} {model.version}" + (f" · {run}" if run else ""), model.digest),
        "intended_use": model.intended_use,
        "columns": [
            words.structure,
            words.volume,
            words.longest,
            words.perpendicular,
            _intensity_head(findings, words),
        ],
        "rows": [asdict(_row(findings, group, language, words)) for group in findings.groups],
        "ranges": any(m.interval for m in findings.measurements),
        "nothing_found": not findings.present,
        "images": _shown(images, "", words),
        "notes": [texts.get(warning) or _refusal(warning, words) for warning in findings.warnings],
        "software": f"segloop {findings.software}",
    }


def _shown(images: Sequence[KeyImage], prefix: str, words: Words) -> list[tuple[str, str, float]]:
    """File, caption and share of the width of each image."""
    planes = dict(words.planes)
    return [
        (
            f"{prefix}{i.plane}.png",
            words.slice.format(plane=planes[i.plane], number=i.number, count=i.count),
            _share(i, images),
        )
        for i in images
    ]


def _heat(explained: Explained | None, findings: Findings, language: Language) -> dict[str, Any]:
    words = WORDS[language]
    if explained is None:
        return {"heat": [], "heat_title": ""}
    spec = next(spec for spec in findings.labels if spec.value == explained.label)
    name = _label_name(spec, language)
    return {"heat": _shown(explained.images, "heat-", words), "heat_title": words.explained.format(label=name)}


def _label_name(spec: LabelSpec, language: Language) -> str:
    return spec.name_zh if language == "zh-CN" and spec.name_zh else spec.name


def _cut(findings: Findings) -> list[LabelSpec]:
    return [spec for spec in findings.labels if spec.value in findings.cut_off]


def person_name(name: str) -> str:
    """A DICOM person name as it is written on paper: ideographic first, romanised in brackets.

    >>> person_name("Wang^XiaoDong=王^小东")
    '王小东 (Wang, XiaoDong)'
    >>> person_name("Doe^Jane^^Dr")
    'Dr Doe, Jane'
    """
    alphabetic, ideographic, *_ = [*name.split("="), "", ""]
    latin, native = _group_name(alphabetic), _group_name(ideographic)
    return f"{native} ({latin})" if native and latin else native or latin


def _group_name(group: str) -> str:
    family, given, middle, prefix, suffix = [part.strip() for part in [*group.split("^"), "", "", "", "", ""][:5]]
    if any(ord(c) > 0x2E7F for c in family + given):
        return prefix + family + given + middle + suffix
    first = " ".join(part for part in (given, middle) if part)
    return " ".join(part for part in (prefix, ", ".join(part for part in (family, first) if part), suffix) if part)


def _state(findings: Findings, words: Words) -> str:
    if findings.signature is None:
        return words.draft
    return words.signed if findings.signature.corrects is None else words.corrected


def _signature(findings: Findings, words: Words) -> list[tuple[str, str]]:
    """Who signed, for whom and when, each with its caption; empty for a draft."""
    signature = findings.signature
    if signature is None:
        return []
    who = person_name(signature.observer) or words.unknown
    when = moment_text(signature.signed_at)
    return [(who, words.reviewer), (signature.organisation, words.organisation), (when, words.date)]


def _refusal(warning: str, words: Words) -> str:
    """Why an earlier result was refused, with the attributes in the page's language; any other warning as it stands."""
    phrases = {OTHER_PATIENT: words.prior_other_patient, PATIENT_UNKNOWN: words.prior_patient_unknown}
    code, _, keywords = warning.partition(": ")
    if code not in phrases:
        return warning
    fields = dict(words.fields)
    return phrases[code].format(fields=words.comma.join(fields.get(one, one) for one in keywords.split(", ")))


def _row(findings: Findings, group: Group, language: Language, words: Words) -> _Row:
    spec = group.spec
    name = _label_name(spec, language)
    if group.component:
        known = findings.track(spec.value, group.component)
        name = local_name(known.identifier, spec, language) if known else f"{name} {group.component}"
    colour = "#{:02x}{:02x}{:02x}".format(*spec.colour)
    if not group.found:
        return _Row(name, colour, False, False, (words.not_found, "–", "–", "–"))
    mean, sd = group.value(Quantity.MEAN_INTENSITY), group.value(Quantity.SD_INTENSITY)
    intensity = "–" if mean is None else f"{mean.value:.1f}" + (f" ± {sd.value:.1f}" if sd else "")
    cells = (
        _cell(group, Quantity.VOLUME, 2),
        _cell(group, Quantity.LONGEST_DIAMETER, 1),
        _cell(group, Quantity.PERPENDICULAR_DIAMETER, 1),
        intensity,
    )
    return _Row(name, colour, group.component > 0, True, cells)


def _cell(group: Group, quantity: Quantity, decimals: int) -> str:
    found = group.value(quantity)
    if found is None:
        return "–"
    low_high = f" ({found.interval[0]:.{decimals}f}–{found.interval[1]:.{decimals}f})" if found.interval else ""
    return f"{found.value:.{decimals}f}{low_high}"


def _intensity_head(findings: Findings, words: Words) -> str:
    units = {m.unit for m in findings.measurements if m.quantity == Quantity.MEAN_INTENSITY}
    unit = next(iter(units), "")
    return f"{words.intensity} {f'({unit})' if unit else words.intensity_unit}"


def _technique(series: SeriesRef, words: Words) -> list[tuple[str, str]]:
    number = "" if series.series_number is None else f"{series.series_number}: "
    rows = [(words.series, f"{number}{series.description or words.unknown}"), (words.modality, series.modality)]
    if series.geometry is not None:
        grid = series.geometry
        rows.append((words.slices, " × ".join(map(str, grid.shape))))
        spacing = (grid.spacing_mm[2], grid.spacing_mm[1], grid.spacing_mm[0])
        rows.append((words.spacing, " × ".join(f"{s:.3g}" for s in spacing) + " mm"))
        plane = {"S": 0, "I": 0, "A": 1, "P": 1, "L": 2, "R": 2}[grid.axis_codes[0]]
        rows.append((words.orientation, words.planes[plane][1]))
    header = series.header()
    agent = plain_text(str(header.get("ContrastBolusAgent") or "")).strip()
    thick = series.slice_thickness_mm
    rows += [
        (words.thickness, words.unknown if thick is None else f"{thick:.3g} mm"),
        (words.contrast, (agent or words.contrast_stated) if series.contrast else words.contrast_none),
        (words.acquired, _acquired(header) or words.unknown),
    ]
    return rows


def _acquired(header: Dataset) -> str:
    """When the images were taken, or the series begun where they do not say; empty where neither is stated."""
    whole = str(header.get("AcquisitionDateTime") or "")
    day = str(header.get("AcquisitionDate") or "") or whole[:8] or str(header.get("SeriesDate") or "")
    return _date(day)


def _share(image: KeyImage, images: Sequence[KeyImage]) -> float:
    """Part of the page's width, so that all images have one scale and a picture alone is not blown up."""
    total = max(sum(i.pixels.shape[1] for i in images), 2.7 * max(i.pixels.shape[0] for i in images))
    return round(float(image.pixels.shape[1] / total), 4)


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdigit() else text


def _moment(study: Any) -> str:
    time = str(study.get("StudyTime") or "")
    clock = f"{time[:2]}:{time[2:4]}" if time[:4].isdigit() and len(time) >= 4 else ""
    return f"{_date(str(study.get('StudyDate') or ''))} {clock}".strip()


def moment_text(moment: datetime) -> str:
    """Date and time with the offset from UTC."""
    offset = moment.strftime("%z")
    return f"{moment:%Y-%m-%d %H:%M} (UTC{offset[:3]}:{offset[3:5]})"


def _printable(value: Any) -> tuple[Any, bool]:
    """The page with every character that the font lacks replaced, and whether there was none."""
    if isinstance(value, str):
        shown = "".join(c if _has_glyph(ord(c)) else _REPLACEMENT for c in value)
        return shown, shown == value
    if isinstance(value, dict):
        parts = {key: _printable(part) for key, part in value.items()}
        return {key: part for key, (part, _) in parts.items()}, all(whole for _, whole in parts.values())
    if isinstance(value, list | tuple):
        items = [_printable(part) for part in value]
        return [part for part, _ in items], all(whole for _, whole in items)
    return value, True


def _has_glyph(code: int) -> bool:
    starts, ends = _coverage()
    place = bisect_right(starts, code) - 1
    return place >= 0 and code <= ends[place]


@cache
def _coverage() -> tuple[tuple[int, ...], tuple[int, ...]]:
    ranges = [line.split("-") for line in _resource("fonts/coverage.txt").decode("ascii").split()]
    return tuple(int(r[0], 16) for r in ranges), tuple(int(r[-1], 16) for r in ranges)


@cache
def _fonts() -> Any:
    import typst

    folder = resources.files("segloop.report").joinpath("fonts")
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(folder)])


def _resource(name: str) -> bytes:
    return resources.files("segloop.report").joinpath(name).read_bytes()
