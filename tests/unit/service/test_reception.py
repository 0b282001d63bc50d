import io
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.uid import EncapsulatedPDFStorage, ImplicitVRLittleEndian, RLELossless

import service_kit as kit
from segloop.service.quarantine import Quarantine
from segloop.service.reception import CONFLICT, MISMATCH, SUCCESS, TWO_PATIENTS, UNREADABLE, Answer, Reception
from segloop.service.rejected import Rejected
from segloop.store import Spool, Tokens


class Desk:
    """A reception and what it did."""

    def __init__(self, root: Path) -> None:
        self.spool, self.returned = Spool(root / "spool"), Spool(root / "returned")
        self.quarantine = Quarantine(root / "quarantine")
        self.arrived: list[str] = []
        self.tokens = Tokens(b"k" * 32)
        self.rejected = Rejected(root / "rejected", self.tokens)
        self.reception = Reception(
            self.spool, self.returned, self.quarantine, self.tokens, self.arrived.append, self.rejected
        )

    def take(self, dataset: Dataset, cut: int = 0) -> Answer:
        content = encoded(dataset)
        return self.reception.accept(content[: len(content) - cut], dataset.SOPClassUID, dataset.SOPInstanceUID)

    def codes(self) -> list[str]:
        return [reason.code for reason in self.quarantine.reasons()]


def encoded(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_an_instance_is_on_disk_when_success_is_answered(desk: Desk) -> None:
    assert desk.take(kit.slice_of(1)) == Answer(SUCCESS)
    (study,) = desk.spool.studies()
    assert desk.arrived == [study]
    (name,) = desk.spool.files(study)
    assert (desk.spool.folder(study) / name).read_bytes() == encoded(kit.slice_of(1))
    assert kit.STUDY_UID not in study + name


def test_the_same_instance_again_is_success_and_nothing_new(desk: Desk) -> None:
    desk.take(kit.slice_of(1))
    assert desk.take(kit.slice_of(1)).status == SUCCESS
    assert len(desk.arrived) == 1
    assert desk.codes() == []


def test_the_same_instance_in_another_transfer_syntax_is_the_same(desk: Desk) -> None:
    desk.take(kit.slice_of(1))
    again = kit.slice_of(1)
    again.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert desk.take(again).status == SUCCESS
    assert desk.codes() == []


def test_other_bytes_under_a_known_uid_are_quarantined_and_the_first_kept(desk: Desk) -> None:
    desk.take(kit.slice_of(1))
    assert desk.take(kit.slice_of(1, SeriesDescription="other")).status == CONFLICT
    assert desk.codes() == ["input.duplicate"]
    assert len(desk.arrived) == 1


def test_a_study_uid_under_two_patients_is_quarantined(desk: Desk) -> None:
    desk.take(kit.slice_of(1))
    answer = desk.take(kit.slice_of(2, PatientID="SOMEBODY-ELSE"))
    assert answer.status == TWO_PATIENTS
    assert "SOMEBODY" not in answer.comment
    assert desk.codes() == ["input.two_patients"]
    assert len(desk.spool.files(desk.spool.studies()[0])) == 1


def test_patients_without_an_id_are_told_apart_by_name_and_birth_date(desk: Desk) -> None:
    desk.take(kit.slice_of(1, PatientID=""))
    assert desk.take(kit.slice_of(2, PatientID="")).status == SUCCESS
    assert desk.take(kit.slice_of(3, PatientID="", PatientName="Other")).status == TWO_PATIENTS


def test_another_patient_is_noticed_after_a_restart(desk: Desk, tmp_path: Path) -> None:
    desk.take(kit.slice_of(1))
    assert Desk(tmp_path).take(kit.slice_of(2, PatientID="SOMEBODY-ELSE")).status == TWO_PATIENTS


@pytest.mark.parametrize("cut", [1, 60, 127, 128, 200, 500])
def test_a_truncated_instance_is_refused_and_quarantined(desk: Desk, cut: int) -> None:
    assert desk.take(kit.slice_of(1), cut).status in (UNREADABLE, MISMATCH)
    assert desk.codes() == ["input.unreadable"]
    assert desk.spool.studies() == ()


@pytest.mark.parametrize("cut", [9, 40])
def test_a_truncated_compressed_instance_is_refused(desk: Desk, cut: int) -> None:
    compressed = kit.slice_of(1)
    compressed.compress(RLELossless)
    assert desk.take(compressed).status == SUCCESS
    other = kit.slice_of(2)
    other.compress(RLELossless)
    assert desk.take(other, cut).status == UNREADABLE


def test_garbage_is_refused(desk: Desk) -> None:
    answer = desk.reception.accept(b"nonsense" * 100, "1.2.840.10008.5.1.4.1.1.4", "1.2.3")
    assert answer.status == UNREADABLE


def test_refusing_the_same_thing_again_keeps_it_once(desk: Desk) -> None:
    for _ in range(3):
        desk.take(kit.slice_of(1), 60)
    assert len(desk.codes()) == 1


def test_a_dataset_other_than_its_request_names_is_refused(desk: Desk) -> None:
    content = encoded(kit.slice_of(1))
    assert desk.reception.accept(content, kit.slice_of(1).SOPClassUID, "1.2.3").status == MISMATCH


def test_an_instance_without_a_study_is_refused(desk: Desk) -> None:
    assert desk.take(kit.slice_of(1, StudyInstanceUID="")).status == UNREADABLE


def test_own_results_come_back_without_starting_anything(desk: Desk) -> None:
    own = kit.slice_of(1, Manufacturer="segloop", SOPClassUID=EncapsulatedPDFStorage)
    assert desk.take(own).status == SUCCESS
    assert desk.take(own).status == SUCCESS
    assert desk.arrived == []
    assert desk.spool.studies() == ()
    assert len(desk.returned.studies()) == 1


def test_a_rejection_note_marks_what_it_names_before_success_and_has_the_study_looked_at_again(desk: Desk) -> None:
    desk.take(kit.slice_of(1))
    assert desk.take(kit.rejected_slices(1, 2)).status == SUCCESS
    (study,) = desk.spool.studies()
    assert desk.arrived == [study, study]
    assert len(desk.spool.files(study)) == 1, "the note itself is no image of the study"
    assert desk.rejected.holds(study, f"{kit.STUDY_UID}.1.1")
    assert not desk.rejected.holds(study, f"{kit.STUDY_UID}.1.3")
    assert set(desk.spool.files(study)) < desk.rejected.files(study)
    assert desk.codes() == []


def test_other_key_objects_are_kept_and_start_nothing(desk: Desk) -> None:
    assert desk.take(kit.rejected_slices(1, title="113000")).status == SUCCESS
    assert desk.arrived == []
    assert desk.spool.studies() == ()
    assert len(desk.returned.studies()) == 1
    assert desk.rejected.of(desk.returned.studies()[0]) == frozenset()


def test_a_rejection_note_about_another_patients_study_withdraws_nothing(desk: Desk) -> None:
    desk.take(kit.slice_of(1))
    note = kit.rejected_slices(1)
    note.PatientID = "SOMEBODY-ELSE"
    assert desk.take(note).status == TWO_PATIENTS
    assert not desk.rejected.holds(desk.spool.studies()[0], f"{kit.STUDY_UID}.1.1")


def test_a_rejection_note_that_names_nothing_is_not_swallowed(desk: Desk) -> None:
    assert desk.take(kit.rejected_slices()).status == UNREADABLE
    assert desk.codes() == ["input.unreadable"]
