"""The last look at what the results say: read again from their files and compared with mask, findings and source.

`verify_against_source` asks whose results they are; this asks whether they are the results. It shares no code with the
writers but the tables of codes and the grid of the source, so that a fault of the one is seen by the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from segloop.errors import GeometryMismatch, InputError, ModelError
from segloop.io.dicom.header import quiet
from segloop.io.dicom.refs import SeriesRef
from segloop.report.checking.headers import Fault, header_faults, said
from segloop.report.checking.segmentation import segmentation_faults
from segloop.report.checking.structured import report_faults
from segloop.report.dicom.attestation import is_report
from segloop.report.dicom.seg import SEGMENTATION
from segloop.report.findings import Findings
from segloop.volume import Labels

__all__ = ["verify_content"]


def verify_content(paths: Sequence[Path], labels: Labels, series: SeriesRef, findings: Findings) -> None:
    """Return when the DICOM results say what mask and findings say; else raise.

    Of a SEG every pixel of every frame is compared, with the place of the frame, the image that it names, and its
    segment; of a structured report every group, code, number, unit and sentence; of every object its dates, the model's
    digest, its state (draft or signed) and its predecessors.

    Args:
        paths: The objects of one result.
        labels: The mask, on the grid that the source was read on.
        series: The source.
        findings: What they are to say.

    Raises:
        GeometryMismatch: `geometry.mismatch`: something lies elsewhere than in the mask.
        ModelError: `model.mismatch`: something else is said, by another model, or by somebody else. Both name file and
            attributes, never a value.
        InputError: A file cannot be read as DICOM.
    """
    with quiet():
        objects = {path.name: _read(path) for path in paths}
        seg = next((d for d in objects.values() if said(d, "SOPClassUID") in SEGMENTATION.values()), None)
        faults = {name: list(_faults(dataset, seg, labels, series, findings)) for name, dataset in objects.items()}
    wrong = {name: sorted({fault.attribute for fault in found}) for name, found in faults.items() if found}
    if not wrong:
        return
    told = "; ".join(f"{name}: {', '.join(attributes)}" for name, attributes in wrong.items())
    hint = "Process the study again; if it happens again, do not send by hand, and report it."
    if any(fault.space for found in faults.values() for fault in found):
        raise GeometryMismatch(
            f"Results lie elsewhere than the mask they were made from and are not sent ({told}).",
            found=wrong,
            expected="the place and the pixels of the mask",
            hint=hint,
        )
    raise ModelError(
        f"Results say something else than what was found and are not sent ({told}).",
        code="model.mismatch",
        found=wrong,
        expected="labels, measurements, model and signature of the findings",
        hint=hint,
    )


def _faults(
    dataset: Dataset, seg: Dataset | None, labels: Labels, series: SeriesRef, findings: Findings
) -> list[Fault]:
    found = list(header_faults(dataset, series, findings))
    sop_class = said(dataset, "SOPClassUID")
    if sop_class in SEGMENTATION.values():
        found += segmentation_faults(dataset, labels, series, findings)
    elif is_report(sop_class):
        found += report_faults(dataset, seg, labels, series, findings)
    return found


def _read(path: Path) -> Dataset:
    try:
        return pydicom.dcmread(path)
    except (OSError, InvalidDicomError, EOFError, ValueError) as fault:
        raise InputError(f"{path.name} cannot be read as DICOM: {type(fault).__name__}.") from fault
