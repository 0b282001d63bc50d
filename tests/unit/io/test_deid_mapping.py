"""The encrypted mapping table: nobody reads or alters it without the key, and nothing noted in it is lost."""

from __future__ import annotations

import multiprocessing
import stat
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread

import mapping_writer
import service_kit as kit
from segloop.errors import InputError, PrivacyError
from segloop.io import deid
from segloop.io.deid import mapping as mapping_of
from segloop.io.deid.sealed import alone, seal, unseal

KEY, OTHER = b"k" * 32, b"x" * 32


def noted(folder: Path, **changes: object) -> Path:
    """A table after one study of two slices."""
    table = folder / "table"
    sources = kit.study(folder / "in", 2, **changes)
    deid.deidentify(sources, folder / "out", KEY, mapping=deid.MappingTable(table, KEY))
    return table


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises((PrivacyError, InputError)) as caught:
        work()
    return caught.value.code


def test_a_table_leads_from_every_new_name_to_the_old_one(tmp_path: Path) -> None:
    links = deid.read_links(noted(tmp_path, IssuerOfPatientID="HOSPITAL"), KEY)
    for source in sorted((tmp_path / "in").iterdir()):
        before = dcmread(source)
        copy = dcmread(next((tmp_path / "out").rglob(f"{deid.new_uid(before.SOPInstanceUID, KEY)}.dcm")))
        assert links.instances[copy.SOPInstanceUID] == (before.SOPInstanceUID, copy.SeriesInstanceUID)
        assert links.series[copy.SeriesInstanceUID] == (before.SeriesInstanceUID, copy.StudyInstanceUID)
        study, patient = links.studies[copy.StudyInstanceUID], links.patients[copy.PatientID]
        assert (study.study.uid, study.study.accession_number) == (before.StudyInstanceUID, kit.ACCESSION)
        assert study.alias == copy.PatientID
        who = patient.patient
        assert (who.name, who.id, who.issuer, who.birth_date, who.sex) == (
            kit.NAME, kit.PATIENT_ID, "HOSPITAL", "19631129", "F",
        )  # fmt: skip
        assert patient.frames == {copy.FrameOfReferenceUID: before.FrameOfReferenceUID}


def test_nothing_of_it_can_be_read_in_its_bytes(tmp_path: Path) -> None:
    table = noted(tmp_path)
    content = table.read_bytes()
    copies = [dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    new = [uid.encode() for copy in copies for uid in (copy.SOPInstanceUID, copy.StudyInstanceUID, copy.PatientID)]
    assert len(copies) == 2
    assert not [token for token in (*kit.PLANTED, *new, b"patients", b"studies") if token in content]
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    again = noted(tmp_path / "again").read_bytes()
    assert content[:18] == again[:18]
    assert content[18:50] != again[18:50], "a salt was used twice"
    assert content[-32:] != again[-32:]


def test_another_key_opens_nothing_and_writes_nothing(tmp_path: Path) -> None:
    table = noted(tmp_path)
    before = table.read_bytes()
    assert code_of(lambda: deid.read_links(table, OTHER)) == "mapping.key"
    assert code_of(lambda: deid.MappingTable(table, OTHER)) == "mapping.key"
    assert table.read_bytes() == before
    assert code_of(lambda: deid.read_links(tmp_path / "none", KEY)) == "input.unreadable"


def test_every_byte_counts(tmp_path: Path) -> None:
    sealed = seal(b"Zyxplanted", KEY)
    assert unseal(sealed, KEY) == b"Zyxplanted"
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        assert code_of(lambda altered=altered: unseal(bytes(altered), KEY)) in ("mapping.damaged", "mapping.key")
    for length in range(len(sealed)):
        assert code_of(lambda length=length: unseal(sealed[:length], KEY)) in ("mapping.damaged", "mapping.key")
    assert code_of(lambda: unseal(sealed + b"\0", KEY)) == "mapping.damaged"


def test_a_table_of_another_kind_is_not_guessed_at(tmp_path: Path) -> None:
    for content in (b"no compressed bytes", zlib.compress(b'{"schema": 2}'), zlib.compress(b'{"Zyxplanted": 1}')):
        path = tmp_path / "table"
        path.write_bytes(seal(content, KEY))
        with pytest.raises(PrivacyError) as caught:
            deid.read_links(path, KEY)
        assert caught.value.code == "mapping.damaged"
        assert "Zyxplanted" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_second_run_adds_and_keeps(tmp_path: Path) -> None:
    table = noted(tmp_path)
    more = kit.study(tmp_path / "more", 1, f"{kit.STUDY_UID}.7", PatientName="Zyxplanted^Renamed")
    deid.deidentify(more, tmp_path / "out", KEY, mapping=deid.MappingTable(table, KEY))
    links = deid.read_links(table, KEY)
    assert (len(links.patients), len(links.studies), len(links.instances)) == (1, 2, 3)
    assert next(iter(links.patients.values())).patient.name == "Zyxplanted^Renamed"
    assert len(next(iter(links.patients.values())).frames) == 2


def test_no_copy_has_its_name_before_the_table_knows_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk refuses the table: then there is no copy, named or unnamed."""
    sources = kit.study(tmp_path / "in", 3)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mapping_of, "replace_whole", full)
    with pytest.raises(OSError, match="No space"):
        deid.deidentify(sources, tmp_path / "out", KEY, mapping=deid.MappingTable(tmp_path / "table", KEY))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_kill_while_the_table_is_replaced_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = noted(tmp_path)
    before = table.read_bytes()

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    more = deid.MappingTable(table, KEY)
    more.note(mapping_of.Original.of(kit.slice_of(9, "1.2.3")), kit.slice_of(9, "1.2.9", PatientID="alias"))
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        more.save()
    assert table.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "table", "table.lock"]


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    go, table = context.Event(), tmp_path / "table"
    workers = [context.Process(target=mapping_writer.write, args=(table, number, KEY, go)) for number in range(2)]
    for worker in workers:
        worker.start()
    go.set()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    links = deid.read_links(table, KEY)
    assert sorted(s.study.uid for s in links.studies.values()) == ["1.2.3.0", "1.2.3.1"]
    assert len(links.instances) == 6


def test_a_lock_that_is_held_is_waited_for_and_then_told(tmp_path: Path) -> None:
    with alone(tmp_path / "table"):
        assert code_of(lambda: alone(tmp_path / "table", 0.1).__enter__()) == "mapping.busy"
    with alone(tmp_path / "table", 0.1):
        pass


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PatientID": "SOMEBODY-ELSE"}, "input.two_patients"),
        ({"StudyInstanceUID": f"{kit.STUDY_UID}.5"}, "input.duplicate"),
        ({"SOPInstanceUID": f"{kit.STUDY_UID}.1.1", "SeriesInstanceUID": f"{kit.STUDY_UID}.8"}, "input.duplicate"),
    ],
)
def test_what_could_not_find_back_gets_no_copy(tmp_path: Path, changes: dict[str, object], code: str) -> None:
    table = noted(tmp_path)
    (source,) = kit.write(tmp_path / "more", kit.slice_of(7, **changes))
    result = deid.deidentify([source], tmp_path / "other", KEY, mapping=deid.MappingTable(table, KEY))
    assert [refused.code for refused in result.refused] == [code]
    assert not list((tmp_path / "other").rglob("*.*"))
    assert len(deid.read_links(table, KEY).instances) == 2


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), key=st.binary(min_size=16, max_size=40))
def test_what_is_sealed_comes_back_and_only_with_its_key(content: bytes, key: bytes) -> None:
    sealed = seal(content, key)
    assert unseal(sealed, key) == content
    assert code_of(lambda: unseal(sealed, key + b"!")) == "mapping.key"


def test_tables_are_read_as_one_unless_they_contradict_each_other(tmp_path: Path) -> None:
    one = deid.read_links(noted(tmp_path / "a", IssuerOfPatientID="HOSPITAL"), KEY)
    other = deid.read_links(noted(tmp_path / "b", PatientID="OTHER", study_uid="1.2.3"), KEY)
    both = deid.merged([one, other, one])
    for part in ("patients", "studies", "series", "instances"):
        assert getattr(both, part) == {**getattr(one, part), **getattr(other, part)}
    assert deid.merged([]) == deid.Links()
    ((uid, study),) = one.studies.items()
    for change, code in (
        ({"studies": {uid: study.model_copy(update={"alias": "x"})}}, "input.two_patients"),
        ({"series": {next(iter(one.series)): ("1.2", uid)}}, "input.duplicate"),
        ({"instances": {next(iter(one.instances)): ("1.2", "1.3")}}, "input.duplicate"),
    ):
        wrong = one.model_copy(update=change)
        assert code_of(lambda wrong=wrong: deid.merged([one, wrong])) == code
