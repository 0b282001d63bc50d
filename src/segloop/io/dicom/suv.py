"""PET activity to standardised uptake value."""

from __future__ import annotations

from datetime import datetime, timedelta

import pydicom
from pydicom import Dataset

from segloop.errors import InputError
from segloop.io.dicom.header import text
from segloop.io.dicom.refs import SeriesRef

_LEAST_DOSE_BQ = 1e5
"""Below it a dose was written in another unit than becquerel."""
_TIMES = ["SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime"]
_GE_SCAN = (0x0009, 0x100D)
_PHILIPS_FACTOR = (0x7053, 0x1000)


def suv_factor(series: SeriesRef) -> float:
    """What stored PET values are multiplied by to become SUV by body weight, in g/ml.

    Activity (BQML) is divided by the injected dose, decayed to the moment the images are corrected to, per gram of body
    weight. A series already in SUV by body weight gives 1; Philips' counts (CNTS) use the factor the scanner states.

    Raises:
        InputError: `input.suv` when the headers lack or contradict what that needs, naming the attribute.

    Source: QIBA FDG-PET/CT profile, SUV vendor-neutral pseudo-code.
    """
    header = series.header()
    units = text(header, "Units") or _frame_unit(header)
    if units == "GML":
        kind = text(header, "SUVType") or "BW"
        if kind != "BW":
            raise _lacking(series, "SUVType", kind, "BW, by body weight")
        return 1.0
    if units == "CNTS":
        return _positive(series, header[_PHILIPS_FACTOR].value if _PHILIPS_FACTOR in header else None, "SUV factor")
    if units != "BQML":
        raise _lacking(series, "Units", units, "BQML, GML or CNTS")
    corrections = {str(c) for c in header.get("CorrectedImage") or ()}
    if corrections and not {"ATTN", "DECY"} <= corrections:
        raise _lacking(series, "CorrectedImage", sorted(corrections), "ATTN and DECY")
    weight = _positive(series, header.get("PatientWeight"), "PatientWeight")
    items = header.get("RadiopharmaceuticalInformationSequence") or [Dataset()]
    dose = _positive(series, items[0].get("RadionuclideTotalDose"), "RadionuclideTotalDose")
    if dose < _LEAST_DOSE_BQ:
        raise _lacking(series, "RadionuclideTotalDose", dose, f"becquerel, at least {_LEAST_DOSE_BQ:g}")
    half_life = _positive(series, items[0].get("RadionuclideHalfLife"), "RadionuclideHalfLife")
    seconds = _seconds_of_decay(series, header, items[0])
    return float(weight * 1000 / (dose * 2 ** (-seconds / half_life)))


def _seconds_of_decay(series: SeriesRef, header: Dataset, drug: Dataset) -> float:
    """From injection to the moment that the images are decay corrected to."""
    correction = text(header, "DecayCorrection")
    if correction == "ADMIN":
        return 0.0
    reference = _moment(text(header, "DecayCorrectionDateTime"))
    if reference is None and correction != "START":
        raise _lacking(series, "DecayCorrection", correction, "START or ADMIN")
    reference = reference or _start(series, header)
    stated = _moment(text(drug, "RadiopharmaceuticalStartDateTime"))
    injected = stated or _moment(reference.strftime("%Y%m%d") + text(drug, "RadiopharmaceuticalStartTime"))
    if injected is None or (stated is None and not text(drug, "RadiopharmaceuticalStartTime")):
        raise _lacking(series, "RadiopharmaceuticalStartDateTime", None, "when the dose was given")
    if stated is None and injected > reference:
        injected -= timedelta(days=1)
    seconds = (reference - injected).total_seconds()
    if not 0 <= seconds < 86400:
        raise _lacking(series, "RadiopharmaceuticalStartDateTime", "another", "less than a day before the scan")
    return seconds


def _start(series: SeriesRef, header: Dataset) -> datetime:
    """When the scan began: the series' time, unless that is later than its first acquisition (post-processed)."""
    acquired = []
    for file in series.files:
        times = pydicom.dcmread(file.path, stop_before_pixels=True, specific_tags=_TIMES)
        moment = _moment(text(times, "AcquisitionDate") + text(times, "AcquisitionTime"))
        if moment is not None:
            acquired.append(moment)
    begun = _moment(text(header, "SeriesDate") + text(header, "SeriesTime"))
    if begun is not None and (not acquired or begun <= min(acquired)):
        return begun
    vendor = _moment(str(header[_GE_SCAN].value)) if _GE_SCAN in header else None
    if vendor is not None:
        return vendor
    if not acquired:
        raise _lacking(series, "SeriesTime", None, "when the scan began")
    return min(acquired)


def _moment(stated: str) -> datetime | None:
    """A DICOM date and time, without its fraction and offset; None for anything shorter than minutes."""
    digits = stated.split(".", maxsplit=1)[0].split("+", maxsplit=1)[0].split("-", maxsplit=1)[0].replace(":", "")
    try:
        return datetime.strptime(digits[:14].ljust(14, "0"), "%Y%m%d%H%M%S") if len(digits) >= 12 else None
    except ValueError:
        return None


def _frame_unit(header: Dataset) -> str:
    """The unit of an enhanced image's rescaled values."""
    for group in header.get("SharedFunctionalGroupsSequence") or header.get("PerFrameFunctionalGroupsSequence") or ():
        for item in group.get("PixelValueTransformationSequence") or ():
            return text(item, "RescaleType")
    return ""


def _positive(series: SeriesRef, value: object, name: str) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise _lacking(series, name, None, "a number above 0")
    return number


def _lacking(series: SeriesRef, name: str, found: object, expected: str) -> InputError:
    stated = "absent or malformed" if found is None else found
    return InputError(
        f"{series.title} gives no standardised uptake value: {name} is {stated}, expected {expected}.",
        code="input.suv",
        found=found,
        expected=expected,
        hint="Export the series with its original headers, or use a model that takes values as stored.",
    )
