"""The codes and sentences in which results are told, the same in structured reports, HL7 messages and FHIR."""

from __future__ import annotations

from typing import NamedTuple

from segloop.measure.quantities import Measurement, Quantity
from segloop.plan import Code
from segloop.report.comparison import NOTHING, comparison
from segloop.report.dicom.common import RESEARCH_USE
from segloop.report.findings import Findings
from segloop.report.words import WORDS


class Concept(NamedTuple):
    """A coded concept: code, designator of its coding scheme as in DICOM, meaning."""

    value: str
    scheme: str
    meaning: str


PRESENCE = Concept("705057003", "SCT", "Presence")
ABSENT = Concept("2667000", "SCT", "Absent")
EVALUATIONS = Concept("C0034375", "UMLS", "Qualitative Evaluations")
IMAGING_STUDY = Concept("18748-4", "LN", "Diagnostic imaging study")

_PROCEDURES = {
    "CT": Concept("25045-6", "LN", "CT unspecified body region"),
    "MR": Concept("25056-3", "LN", "MRI unspecified body region"),
    "PT": Concept("44136-0", "LN", "PET unspecified body region"),
}
_OTHER_PROCEDURE = Concept("363679005", "SCT", "Imaging procedure")
_INTENSITY = {
    "CT": Concept("112031", "DCM", "Attenuation Coefficient"),
    "MR": Concept("110852", "DCM", "MR signal intensity"),
    "PT": Concept("126401", "DCM", "SUVbw"),
}
_OTHER_INTENSITY = Concept("intensity", "99SEGLOOP", "Pixel intensity")
_NAMES = {
    Quantity.VOLUME: Concept("118565006", "SCT", "Volume"),
    Quantity.LONGEST_DIAMETER: Concept("103339001", "SCT", "Long Axis"),
    Quantity.PERPENDICULAR_DIAMETER: Concept("103340004", "SCT", "Short Axis"),
    Quantity.LONGEST_DIAMETER_3D: Concept("L0JK", "IBSI", "Maximum 3D diameter"),
    Quantity.PERPENDICULAR_DIAMETER_3D: Concept(
        "perpendicular3d", "99SEGLOOPQ", "Width across the maximum 3D diameter"
    ),
    Quantity.SURFACE: Concept("C0JK", "IBSI", "Surface area of mesh"),
}
_DERIVATIONS = {
    Quantity.MEAN_INTENSITY: Concept("373098007", "SCT", "Mean"),
    Quantity.SD_INTENSITY: Concept("386136009", "SCT", "Standard Deviation"),
}
_UNITS = {
    "ml": Concept("ml", "UCUM", "milliliter"),
    "mm": Concept("mm", "UCUM", "millimeter"),
    "mm2": Concept("mm2", "UCUM", "square millimeter"),
    "HU": Concept("[hnsf'U]", "UCUM", "Hounsfield unit"),
    "SUV": Concept("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value body weight"),
    "": Concept("1", "UCUM", "no units"),
}
_DECIMALS = {Quantity.VOLUME: 3} | {quantity: 1 for quantity in Quantity if "diameter" in quantity}


def concept(code: Code) -> Concept:
    """A code of the Plan."""
    return Concept(code.value, code.scheme, code.meaning)


def procedure(modality: str) -> Concept:
    """What kind of examination the images are of."""
    return _PROCEDURES.get(modality, _OTHER_PROCEDURE)


def quantity_concept(quantity: Quantity, modality: str) -> Concept:
    """What was measured. Mean and standard deviation share one concept; `derivation` tells them apart."""
    if quantity in _DERIVATIONS:
        return _INTENSITY.get(modality, _OTHER_INTENSITY)
    return _NAMES[quantity]


def derivation(quantity: Quantity) -> Concept | None:
    """How the number follows from many values; None where it is measured as such."""
    return _DERIVATIONS.get(quantity)


def unit_concept(unit: str) -> Concept:
    """The UCUM code of a measurement's unit."""
    return _UNITS[unit]


def decimals(quantity: Quantity) -> int:
    """Decimal places that are told: a decimal string holds 16 characters, and no mask is known to more digits."""
    return _DECIMALS.get(quantity, 2)


def interval_sentence(measurement: Measurement) -> str | None:
    """What is known of a measurement's error, in words; None where nothing is."""
    if measurement.interval is None:
        return None
    low, high = measurement.interval
    return (
        f"{measurement.name}: {measurement.quantity} expected between {low:.3g} and {high:.3g} {measurement.unit}, as "
        "errors on cases held out of training show."
    )


def reservations(findings: Findings, *, draft: bool = True) -> tuple[str, ...]:
    """What every reader must be told beside the numbers: research use, draft, labels that were not found."""
    said = [RESEARCH_USE] if findings.research_use else []
    if draft:
        said.append(f"Automatic draft by {findings.model.name} {findings.model.version}; not reviewed by a physician.")
    said += [f"{group.spec.name}: not found." for group in findings.groups if not group.found]
    said += [
        f"{spec.name}: reaches the edge of the image; its measurements are lower bounds."
        for spec in findings.labels
        if spec.value in findings.cut_off
    ]
    return (*said, *follow_up_sentences(findings))


def follow_up_sentences(findings: Findings) -> tuple[str, ...]:
    """What earlier results of the same patient add, in English: which they were, what changed, the sums."""
    known = findings.follow_up
    if known is None:
        return ()
    told = comparison(findings, "en", WORDS["en"])
    said = []
    if told.heads:
        said.append("Compared with " + "; ".join(f"{head.main} ({head.below})" for head in told.heads[:-1]) + ".")
    for name, *_, change in (*told.structures, *told.lesions):
        if change.main != NOTHING:
            said.append(f"{name.main}: {', '.join(part for part in (change.main, change.below) if part)}.")
    return (*said, *told.notes, *told.sums)
