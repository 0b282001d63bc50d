"""HL7 and FHIR messages: what others read in them is what was measured, of whom it was measured, and nothing else."""

from __future__ import annotations

import base64
import json
import string
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from fhir.resources.R4B.bundle import Bundle
from hl7apy.core import Message as OtherMessage
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st

from results import Made, write_all, write_series
from segloop.errors import InputError, PrivacyError
from segloop.measure import Quantity
from segloop.report import Findings, Reference, Signature, concepts
from segloop.report.messages import Order, ResultStatus, fhir_bundle, oru_r01, verify_bundle, verify_oru
from segloop.report.messages import fhir as fhir_module
from segloop.report.messages import oru as oru_module
from segloop.report.messages.hl7 import Message, escape, field, message, parse, segment
from segloop.report.messages.subject import timestamp
from segloop.volume import Labels

KEY = "ab" * 32
PDF_CLASS, SR_CLASS = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.88.34"
PDF = b"%PDF-1.7\r\n|^~\\&\x0b\x1c\r" + bytes(range(256))
HOSTILE = {
    "SpecificCharacterSet": "ISO_IR 192",
    "PatientName": "Wang|Li^Xiao~Dong^^Dr&^Jr=王^小东=ワン^シャオ",
    "PatientID": "P1|2^3&4~5",
    "IssuerOfPatientID": "HOSP&1",
    "AccessionNumber": "A^9|1",
    "StudyDescription": "Head|^~&X",
    "ReferringPhysicianName": "Roe^Richard",
    "TimezoneOffsetFromUTC": "+0800",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("messages")
    return write_all(write_series(folder / "source", shape=(5, 24, 20), changes=HOSTILE), folder / "out")


@pytest.fixture(scope="module")
def oru(made: Made) -> bytes:
    return oru_r01(made.findings, made.series, PDF, KEY)


@pytest.fixture(scope="module")
def read(oru: bytes) -> Message:
    return parse(oru)


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back_and_escapes_cannot_break_out(text: str) -> None:
    line = segment("ZZZ", (1, field(text, "second")), (2, field("a", text)))
    content = message(segment("MSH", (12, "2.5.1"), (18, "UNICODE UTF-8")), line)
    assert not {0x0B, 0x1C, 0x0A} & set(content)
    found = parse(content).first("ZZZ")
    assert [found.get(1), found.get(1, 2), found.get(2), found.get(2, 2)] == [text, "second", "a", text]


# hl7apy escapes the escapes of control characters once more when it is asked for a value.
@given(st.text(alphabet=string.digits + string.ascii_letters + string.punctuation + " é王", min_size=1))
@settings(max_examples=40, deadline=None)
def test_another_reader_sees_as_many_fields_and_the_same_separators(text: str) -> None:
    line = segment("NTE", (1, "1"), (2, "L"), (3, escape(f"<{text}>")), (4, "RE"))
    header = segment("MSH", (9, "ORU^R01^ORU_R01"), (10, "1"), (11, "P"), (12, "2.5.1"))
    other = parse_message(message(header, line).decode(), find_groups=False)
    assert other.nte.nte_4.value == "RE"
    assert other.nte.nte_3.value == escape(f"<{text}>")


def test_separators_and_character_sets_of_others_are_understood() -> None:
    assert parse(b"MSH*%$!@*A\rPID*x%a!F!b!S!c$y").first("PID").get(1, 2) == "a*b%c"
    latin = "MSH|^~\\&|A|B|C|D|||ACK|1|P|2.3||||||8859/1\rMSA|AE|Müller".encode("latin-1")
    assert parse(latin).first("MSA").get(2) == "Müller"
    assert parse(b"MSH|^~\\&|A\r\nMSA|AA|7\r\n").first("MSA").get(2) == "7"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MSH",
        b"MSH|^~\\",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"MSH||||||",
        b"\x00" * 50,
        b"MSH|^~\\&|" + b"|" * 15 + b"NO",
    ],
)
def test_garbage_is_an_input_error(content: bytes) -> None:
    with pytest.raises(InputError):
        parse(content)


def as_signed(made: Made, status: ResultStatus) -> Findings:
    """What was found, with the signature that the status stands for and the report that it takes the place of."""
    if status == ResultStatus.PRELIMINARY:
        return made.findings
    signature = Signature(
        observer="O&Brien|^Ann~^^Dr=王^安",
        organisation="Ward & Sons",
        signed_at=datetime(2026, 11, 23, 8, 5, tzinfo=timezone(timedelta(hours=8))),
        corrects="2.25.7" if status == ResultStatus.CORRECTED else None,
    )
    assert ResultStatus.of(signature) == status
    series, study = "2.25.8", made.series.study_uid
    pdf = Reference(sop_class_uid=PDF_CLASS, sop_instance_uid="2.25.9", series_uid=series, study_uid=study)
    report = Reference(sop_class_uid=SR_CLASS, sop_instance_uid="2.25.10", series_uid=series, study_uid=study)
    return made.findings.model_copy(update={"signature": signature, "predecessors": (report, pdf)})


def test_who_signed_and_when_is_told(made: Made) -> None:
    final = as_signed(made, ResultStatus.FINAL)
    request = parse(oru_r01(final, made.series, PDF, KEY, status=ResultStatus.FINAL)).first("OBR")
    assert request.raw(32) == r"&O\T\Brien\F\&Ann\R\&&&Dr^20261123080500+0800"
    assert request.get(22) == "20261123080500+0800"
    content = fhir_bundle(final, made.series, PDF, KEY, status=ResultStatus.FINAL, edition="cd" * 32)
    (report,) = resources(content, "DiagnosticReport")
    assert [one["display"] for one in report["resultsInterpreter"]] == ["Dr Ann~ O&Brien|", "Ward & Sons"]
    assert report["issued"] == "2026-11-23T08:05:00+08:00"
    (document,) = resources(content, "DocumentReference")
    assert document["authenticator"] == report["resultsInterpreter"][0]
    assert [(one["code"], one["target"]["identifier"]["value"]) for one in document["relatesTo"]] == [
        ("replaces", "urn:oid:2.25.9")
    ]
    (draft,) = resources(fhir_bundle(made.findings, made.series, PDF, KEY), "DocumentReference")
    assert draft["identifier"] == document["identifier"]
    assert draft["masterIdentifier"] != document["masterIdentifier"]
    assert "authenticator" not in draft


@pytest.mark.parametrize("status", list(ResultStatus))
def test_a_withdrawal_is_the_same_message_marked_as_wrong(made: Made, status: ResultStatus, tmp_path: Path) -> None:
    moment = datetime(2026, 11, 24, 7, 0, tzinfo=timezone(timedelta(hours=8)))
    sent = oru_r01(as_signed(made, status), made.series, PDF, KEY, status=status)
    content = oru_module.withdrawn(sent, moment)
    verify_oru(content, made.series)
    report = tmp_path / "report.txt"
    assert other_reader(content).validate(report_file=str(report))
    lines = report.read_text("utf-8").splitlines() if report.exists() else []
    assert [line for line in lines if not line.endswith(("_3", "_6")) or "HL70396" not in line] == []
    before, after = parse(sent), parse(content)
    assert {one.get(11) for one in after.all("OBX")} == {"W"}
    request = after.first("OBR")
    assert (request.get(25), request.get(22), after.header.get(7)) == ("C", *["20261124070000+0800"] * 2)
    assert after.control_id != before.control_id
    assert oru_module.withdrawn(sent, moment) == content
    assert [one.get(5) for one in after.all("OBX")] == [one.get(5) for one in before.all("OBX")]
    assert [one.raw(18) for one in after.all("OBX")] == [one.raw(18) for one in before.all("OBX")]

    bundle = fhir_bundle(as_signed(made, status), made.series, PDF, KEY, status=status)
    wrong = fhir_module.withdrawn(bundle, moment)
    Bundle.model_validate_json(wrong)
    verify_bundle(wrong, made.series)
    for kind in ("DiagnosticReport", "Observation", "DocumentReference"):
        assert {one["status"] for one in resources(wrong, kind)} == {"entered-in-error"}
    for entry in json.loads(wrong)["entry"]:
        kind, request = entry["resource"]["resourceType"], entry["request"]
        assert request["method"] == ("POST" if kind in ("Device", "ImagingStudy") else "PUT"), kind
        if request["method"] == "PUT":
            assert request["url"] == f"{kind}?identifier=urn:dicom:uid|{entry['resource']['identifier'][0]['value']}"


def other_reader(content: bytes) -> OtherMessage:
    """The message as hl7apy reads and validates it."""
    return parse_message(content.decode(), find_groups=True)


@pytest.mark.parametrize("status", list(ResultStatus))
def test_hl7apy_validates_the_message(made: Made, status: ResultStatus, tmp_path: Path) -> None:
    content = oru_r01(as_signed(made, status), made.series, PDF, KEY, status=status, order=Order("PL|1", "FI^2"))
    other = other_reader(content)
    report = tmp_path / "report.txt"
    assert other.validate(report_file=str(report))
    lines = report.read_text("utf-8").splitlines() if report.exists() else []
    # The tables of hl7apy know no SNOMED CT, UCUM or local codes, which table 0396 of the standard has.
    assert [line for line in lines if not line.endswith(("_3", "_6")) or "HL70396" not in line] == []
    patient = other.oru_r01_patient_result.oru_r01_patient
    assert patient.pid.pid_3.pid_3_1.value == escape("P1|2^3&4~5")
    order = other.oru_r01_patient_result.oru_r01_order_observation
    assert order.obr.obr_25.value == status.value
    assert {one.obx.obx_11.value for one in order.oru_r01_observation} == {status.value}
    assert (order.orc.orc_2.orc_2_1.value, order.orc.orc_3.orc_3_1.value) == (escape("PL|1"), escape("FI^2"))


def test_patient_study_and_order_are_the_sources(read: Message, made: Made) -> None:
    patient, request = read.first("PID"), read.first("OBR")
    assert patient.get(3) == HOSTILE["PatientID"]
    assert patient.raw(3).split("^")[3:] == ["HOSP\\T\\1", "PI"]
    assert [patient.get(5, part) for part in range(1, 6)] == ["Wang|Li", "Xiao~Dong", "", "Jr", "Dr&"]
    assert [patient.get(5, 8, n) for n in (1, 2, 3)] == ["A", "I", "P"]
    assert [patient.get(5, 1, 2), patient.get(5, 2, 2)] == ["王", "小东"]
    assert [patient.get(7), patient.get(8)] == ["19700102", "F"]
    assert read.first("PV1").get(8, 2) == "Roe"
    assert [request.get(3), request.get(18), request.get(7)] == ["A^9|1", "A^9|1", "20261120101500+0800"]
    assert request.get(4, 5) == HOSTILE["StudyDescription"]
    assert [one.get(5) for one in read.all("OBX") if one.get(3) == "113014"] == [made.series.study_uid]
    assert [one.name for one in read.segments[:5]] == ["MSH", "PID", "PV1", "ORC", "OBR"]


def test_the_pdf_is_equal_byte_for_byte(read: Message, oru: bytes) -> None:
    (document,) = [one for one in read.all("OBX") if one.get(2) == "ED"]
    assert base64.b64decode(document.get(5, 5), validate=True) == PDF
    observed = other_reader(oru).oru_r01_patient_result.oru_r01_order_observation.oru_r01_observation
    assert base64.b64decode(observed[-1].obx.obx_5.to_er7().split("^")[4]) == PDF


def test_every_measurement_is_a_number_with_unit_and_code_of_its_own_label(read: Message, made: Made) -> None:
    numbers = [one for one in read.all("OBX") if one.get(2) == "NM"]
    assert len(numbers) == len(made.findings.measurements)
    for measured, line in zip(made.findings.measurements, numbers, strict=True):
        assert float(line.get(5)) == pytest.approx(measured.value, abs=0.051)
        local = next(line.get(3, n) for n in (1, 4) if line.get(3, n + 2) == "99SEGLOOP")
        assert local == f"{measured.label}.{measured.component}.{measured.quantity}"
        expected_sub_id = f"{measured.label}.{measured.component}" if measured.component else str(measured.label)
        assert line.get(4) == expected_sub_id
        assert (line.get(6), line.get(6, 3)) == ({"": "1"}.get(measured.unit, measured.unit), "UCUM")
        assert line.get(7) == ""
    volume = numbers[0]
    assert [volume.get(3, n) for n in (1, 2, 3)] == ["118565006", "Volume", "SCT"]
    first_codes = {(one.get(3), one.get(4)) for one in numbers}
    assert len(first_codes) == len(numbers), "a reader of the first code alone takes two measurements for one"


def test_every_quantity_has_a_code_of_its_own_or_says_how_it_was_derived() -> None:
    told = [(concepts.quantity_concept(one, "CT"), concepts.derivation(one)) for one in Quantity]
    assert len(set(told)) == len(told)
    assert [one for one in Quantity if concepts.derivation(one)] == [Quantity.MEAN_INTENSITY, Quantity.SD_INTENSITY]


def test_intervals_reservations_and_drafts_are_told(made: Made, read: Message) -> None:
    notes = [one.get(3) for one in read.all("NTE")]
    assert "For research use only. Not for diagnosis." in notes
    assert any("not reviewed by a physician" in note for note in notes)
    assert any(note.startswith("Anterior: volume expected between") for note in notes)
    signed = parse(oru_r01(made.findings, made.series, PDF, KEY, status=ResultStatus.FINAL))
    assert not any("draft" in one.get(3) for one in signed.all("NTE"))


def test_the_same_result_is_the_same_message_and_another_version_another_one(made: Made, oru: bytes) -> None:
    assert oru_r01(made.findings, made.series, PDF, KEY) == oru
    ids = {parse(oru).control_id}
    ids.add(parse(oru_r01(made.findings, made.series, PDF, "cd" * 32)).control_id)
    ids |= {parse(oru_r01(made.findings, made.series, PDF, KEY, status=s)).control_id for s in ResultStatus}
    assert len(ids) == 4
    assert all(len(one) <= 20 for one in ids)


def test_nothing_found_is_said_so(made: Made, tmp_path: Path) -> None:
    empty = Labels(made.labels.array * 0, made.labels.geometry, made.labels.names)
    none = write_all(made.series, tmp_path, empty)
    read = parse(oru_r01(none.findings, none.series, PDF, KEY))
    found = [one.get(5) for one in read.all("OBX") if one.get(3).endswith(".finding")]
    assert found == ["2667000"] * 3
    assert "Lesion: not found." in [one.get(3) for one in read.all("NTE")]
    bundle = fhir_bundle(none.findings, none.series, PDF, KEY)
    Bundle.model_validate_json(bundle)
    values = [
        r["valueCodeableConcept"]["coding"][0]["code"]
        for r in resources(bundle, "Observation")
        if "valueCodeableConcept" in r
    ]
    assert set(values) == {"2667000"}


def test_a_receiver_is_named_without_changing_the_rest(oru: bytes) -> None:
    sent = oru_module.addressed(oru, "HIS|1", "Ward")
    assert [parse(sent).header.get(n) for n in (5, 6)] == ["HIS|1", "Ward"]
    assert parse(sent).segments[1:] == parse(oru).segments[1:]
    assert parse(sent).control_id == parse(oru).control_id


@pytest.mark.parametrize(
    ("before", "after", "field_name"),
    [
        (b"P1\\F\\2", b"P2\\F\\2", "PID-3"),
        (b"HOSP\\T\\1", b"OTHER", "PID-3.4"),
        ("王".encode(), "李".encode(), "PID-5"),
        (b"19700102", b"19700103", "PID-7"),
        (b"|19700102|F", b"|19700102|M", "PID-8"),
        (b"||||A\\S\\9", b"||||B\\S\\9", "OBR-18"),
        (b"DICOM Study^DCM||2.25.", b"DICOM Study^DCM||2.25.1", "OBX-5"),
        (b"\rPV1", b"\rPID|1||X\rPV1", "number of PID"),
    ],
)
def test_a_message_about_another_patient_is_not_sent(
    made: Made, oru: bytes, before: bytes, after: bytes, field_name: str
) -> None:
    verify_oru(oru, made.series)
    assert before in oru
    with pytest.raises(PrivacyError, match=field_name) as caught:
        verify_oru(oru.replace(before, after), made.series)
    assert caught.value.code == "identity.mismatch"
    assert "Wang" not in str(caught.value.as_document())


def resources(bundle: bytes, kind: str) -> list[dict]:
    return [e["resource"] for e in json.loads(bundle)["entry"] if e["resource"]["resourceType"] == kind]


@pytest.mark.parametrize("status", list(ResultStatus))
def test_fhir_resources_validates_the_bundle(made: Made, status: ResultStatus) -> None:
    content = fhir_bundle(as_signed(made, status), made.series, PDF, KEY, status=status, order=Order("PL|1"))
    Bundle.model_validate_json(content)
    urls = [entry["fullUrl"] for entry in json.loads(content)["entry"]]
    assert len(set(urls)) == len(urls)
    referred = {text.split('"')[0] for text in content.decode().split('"reference": "')[1:]}
    assert referred <= set(urls)
    states = {r["status"] for kind in ("DiagnosticReport", "Observation") for r in resources(content, kind)}
    assert states == {{"P": "preliminary", "F": "final", "C": "corrected"}[status.value]}
    own = [e["request"] for e in json.loads(content)["entry"] if e["resource"]["resourceType"] in ("Observation",)]
    if status == ResultStatus.PRELIMINARY:
        assert all(r["method"] == "POST" and "identifier=urn:dicom:uid|" in r["ifNoneExist"] for r in own)
    else:
        assert all(r["method"] == "PUT" and "?identifier=urn:dicom:uid|" in r["url"] for r in own)


def test_the_bundle_says_whose_it_is_what_was_measured_and_holds_the_pdf(made: Made) -> None:
    content = fhir_bundle(made.findings, made.series, PDF, KEY)
    (report,) = resources(content, "DiagnosticReport")
    assert report["subject"]["identifier"]["value"] == HOSTILE["PatientID"]
    assert report["effectiveDateTime"] == "2026-11-20T10:15:00+08:00"
    assert "research use" in report["conclusion"]
    (study,) = resources(content, "ImagingStudy")
    assert study["identifier"][0] == {"system": "urn:dicom:uid", "value": f"urn:oid:{made.series.study_uid}"}
    (document,) = resources(content, "DocumentReference")
    assert base64.b64decode(document["content"][0]["attachment"]["data"]) == PDF
    numbers = [r for r in resources(content, "Observation") if "valueQuantity" in r]
    assert len(numbers) == len(made.findings.measurements)
    for measured, one in zip(made.findings.measurements, numbers, strict=True):
        assert one["valueQuantity"]["value"] == pytest.approx(measured.value, abs=0.051)
        assert one["valueQuantity"]["system"] == "http://unitsofmeasure.org"
        assert ("component" in one) == (measured.interval is not None)
    groups = [r for r in resources(content, "Observation") if "hasMember" in r]
    assert len(groups) == len(made.findings.groups)
    assert fhir_bundle(made.findings, made.series, PDF, KEY) == content


def test_a_server_that_knows_the_patient_is_asked_for_exactly_that_one(made: Made) -> None:
    content = fhir_module.addressed(fhir_bundle(made.findings, made.series, PDF, KEY), "urn:oid:1.2.3")
    Bundle.model_validate_json(content)
    (report,) = resources(content, "DiagnosticReport")
    assert report["subject"]["reference"] == "Patient?identifier=urn:oid:1.2.3|P1%5C%7C2%5E3%264~5"
    verify_bundle(content, made.series)
    with pytest.raises(PrivacyError, match=r"subject\.reference"):
        verify_bundle(content.replace(b"|P1%5C", b"|P2%5C"), made.series)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("subject", "identifier", "value"), "P-2", "subject"),
        (("subject", "display"), "Roe Jane", r"subject\.display"),
        (("basedOn", 0, "identifier", "value"), "A-2", "accession number"),
    ],
)
def test_a_bundle_about_another_patient_is_not_sent(made: Made, path: tuple, value: str, told: str) -> None:
    content = fhir_bundle(made.findings, made.series, PDF, KEY)
    verify_bundle(content, made.series)
    document = json.loads(content)
    node = next(e["resource"] for e in document["entry"] if e["resource"]["resourceType"] == "DiagnosticReport")
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    with pytest.raises(PrivacyError, match=told) as caught:
        verify_bundle(json.dumps(document).encode(), made.series)
    assert "Wang" not in str(caught.value.as_document())


def test_a_source_without_identity_still_gives_messages(tmp_path: Path) -> None:
    removed = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "AccessionNumber")
    series = write_series(
        tmp_path / "s", shape=(3, 24, 20), changes=dict.fromkeys((*removed, "StudyDate", "StudyTime"))
    )
    made = write_all(series, tmp_path / "out")
    content = oru_r01(made.findings, series, PDF, KEY)
    assert other_reader(content).oru_r01_patient_result is not None
    verify_oru(content, series)
    bundle = fhir_bundle(made.findings, series, PDF, KEY)
    Bundle.model_validate_json(bundle)
    verify_bundle(bundle, series)


@pytest.mark.parametrize("moment", ["", "2026", "20261350", "20261120256100+0800", "rubbish"])
def test_a_moment_that_is_none_is_left_out(moment: str) -> None:
    assert timestamp(moment) == ""
