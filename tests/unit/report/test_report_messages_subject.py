"""Numbers that images lack: an issuer without a patient's number is not told, an order gives the accession number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from results import write_all, write_series
from segloop.errors import PrivacyError
from segloop.report.messages import Order, ResultStatus, fhir_bundle, oru_r01, verify_bundle, verify_oru
from segloop.report.messages import fhir as fhir_module
from segloop.report.messages import oru as oru_module
from segloop.report.messages.hl7 import parse

KEY = "ab" * 32
PDF = b"%PDF-"


@pytest.mark.parametrize("number", ["", None, "   "])
def test_an_issuer_without_a_number_is_in_no_message_and_stops_none(tmp_path: Path, number: str | None) -> None:
    series = write_series(tmp_path / "in", shape=(3, 16, 16), changes={"PatientID": number})
    findings = write_all(series, tmp_path / "out").findings
    message = oru_r01(findings, series, b"%PDF-", "key", status=ResultStatus.PRELIMINARY)
    patient = parse(message).first("PID")
    assert (patient.raw(3), patient.get(5)) == ("", "Doe")
    verify_oru(message, series)
    verify_bundle(fhir_bundle(findings, series, b"%PDF-", "key", status=ResultStatus.PRELIMINARY), series)
    for wrong in (b"|1||^^^HOSPITAL^PI|", b"|1||PID-1^^^HOSPITAL^PI|"):
        assert b"|1||||Doe" in message
        with pytest.raises(PrivacyError, match="PID-3"):
            verify_oru(message.replace(b"|1||||", wrong + b"|"), series)


def test_the_order_gives_the_accession_number_that_the_images_lack_and_no_other(tmp_path: Path) -> None:
    order = Order("PL1", accession="ACC|7")
    made, bare = (
        write_all(write_series(tmp_path / name, shape=(3, 16, 16), changes={"AccessionNumber": number}), tmp_path / out)
        for name, number, out in (("stated", "A^9|1", "out-of-stated"), ("bare", "", "out-of-bare"))
    )
    for one, expected in ((bare, "ACC|7"), (made, "A^9|1")):
        findings, series = one.findings, one.series
        early = oru_r01(findings, series, PDF, KEY, order=order)
        late = oru_module.ordered(oru_r01(findings, series, PDF, KEY), order)
        for content in (early, late):
            assert parse(content).first("OBR").get(18) == expected
            verify_oru(content, series, order)
        early = fhir_bundle(findings, series, PDF, KEY, order=order)
        late = fhir_module.ordered(fhir_bundle(findings, series, PDF, KEY), order)
        for content in (early, late):
            (study,) = [r for r in resources_of(content) if r["resourceType"] == "ImagingStudy"]
            assert [known["value"] for known in study["identifier"][1:]] == [expected]
            verify_bundle(content, series, order)
    with pytest.raises(PrivacyError):
        verify_oru(oru_r01(bare.findings, bare.series, PDF, KEY, order=order), bare.series)


def resources_of(content: bytes) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in json.loads(content)["entry"]]
