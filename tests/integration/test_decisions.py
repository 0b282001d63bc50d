"""What becomes of a result after its draft, through the whole service: signed, corrected, rejected, replaced."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from dbos import DBOS
from pydicom import Dataset, dcmread

import service_kit as kit
from his_kit import FhirServer, His
from segloop import audit
from segloop.cli import main
from segloop.io.dicom import Rejection, read_rejection
from segloop.report.messages.hl7 import parse
from segloop.service.archive import Archive
from segloop.service.running import Service
from segloop.store import DecisionState, DeliveryState, JobRecord, JobState, Standing

WHO = "Li^Wei=李^伟"
REJECTS = "Wang^Fang=王^芳"
HEADER = {"X-Segloop": "test"}
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


class Hospital:
    """A service and everything it delivers to."""

    def __init__(self, root: Path) -> None:
        self.root, self.his, self.fhir, self.archive = root, His("AA"), FhirServer(200), Archive(root / "archive")
        goals = [
            {"name": "pacs", "kind": "dicom", "aet": "ARCHIVE", "port": self.archive.port},
            {"name": "his", "kind": "hl7", "port": self.his.port},
            {"name": "fhir", "kind": "fhir", "url": f"{self.fhir.url}/fhir"},
            {"name": "signed-only", "kind": "folder", "folder": str(root / "signed-only")},
        ]
        goals[-1] |= {"gate": "approved", "seg": "labelmap"}
        quick = {"retry_seconds": 0.1, "timeout_seconds": 5.0}
        self.settings = kit.settings(root, destination=[{**quick, **goal} for goal in goals])
        self.service: Service = kit.service(self.settings, kit.REAL)

    def stop(self) -> None:
        self.service.stop()
        self.archive.stop()
        self.his.stop()
        self.fhir.stop()

    def restart(self) -> None:
        self.service.stop()
        self.service = kit.service(self.settings, kit.REAL)

    def send(self, files: list[Path]) -> None:
        kit.send_to(self.service.ports.dicom, files)

    def done(self, number: int = 1) -> JobRecord:
        def found() -> list[JobRecord]:
            jobs = self.service.store.jobs()
            return [job for job in jobs if job.number == number and job.state == JobState.DONE]

        kit.wait(lambda: bool(found()), 120)
        return found()[0]

    def ask(self, key: str, action: str, **body: str) -> int:
        url = f"{self.service.page}api/v1/jobs/{key}/{action}"
        return httpx.post(url, json=body, headers=HEADER, timeout=30).status_code

    def carried_out(self, key: str, number: int) -> None:
        def state() -> DecisionState | None:
            found = [one for one in self.service.store.decisions(key) if one.number == number]
            return found[0].state if found else None

        kit.wait(lambda: state() not in (None, DecisionState.QUEUED), 120)
        assert state() == DecisionState.DONE, self.service.store.decisions(key)

    def objects(self) -> dict[str, Dataset]:
        found = [dcmread(path, stop_before_pixels=True) for path in self.archive.files()]
        return {str(one.SOPInstanceUID): one for one in found}

    def notes(self) -> list[Rejection]:
        read = [read_rejection(path) for path in self.archive.files()]
        return [one for one in read if one is not None]

    def statuses(self) -> list[str]:
        return [parse(message).first("OBR").get(25) for message in self.his.received]

    def sealed(self) -> set[str]:
        """What the destination for signed results holds."""
        return {
            path.relative_to(self.root / "signed-only").as_posix() for path in self.root.rglob("signed-only/**/*.dcm")
        }

    def events(self, action: str) -> list[audit.Event]:
        return [one for one in audit.events(self.settings.data_dir / "audit.jsonl") if one.action == action]


def over(key: str) -> None:
    """Wait until a job's own workflow has ended, with all that follows its last state."""

    def ended() -> bool:
        status = DBOS.get_workflow_status(key)
        return status is not None and status.status == "SUCCESS"

    kit.wait(ended, 120)


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    running = Hospital(tmp_path)
    yield running
    running.stop()


def test_signed_corrected_and_rejected(hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = hospital.service.store
    hospital.send(kit.study(tmp_path / "in", 4))
    key = hospital.done().key
    drafts = set(hospital.objects())
    assert hospital.statuses() == ["P"]
    assert hospital.sealed() == set()
    assert {one.destination: one.state for one in store.deliveries(key)}["signed-only"] == DeliveryState.WAITING
    config = tmp_path / "segloop.toml"
    config.write_text(f'data_dir = "{hospital.settings.data_dir}"\n', "utf-8")

    assert hospital.ask(key, "sign", observer="", organisation="H") == 422
    words = ["jobs", "sign", key[:12], "--observer", WHO, "--organisation", "H", "--config", str(config)]
    assert main(words) == 0
    hospital.carried_out(key, 1)
    assert hospital.ask(key, "sign", observer=WHO, organisation="H") == 202
    assert len(store.decisions(key)) == 1, "the same words again decide nothing new"
    signed = everybody_has_the_signed_form(hospital, key, drafts)

    assert hospital.ask(key, "sign", observer=WHO, organisation="H", note="Once more.") == 202
    hospital.carried_out(key, 2)
    assert store.standing(key) == Standing.CORRECTED
    assert hospital.statuses() == ["P", "F", "C"]
    assert signed in [set(one.sop_instance_uids) for one in hospital.notes()]

    capsys.readouterr()
    assert main(["jobs", "show", key, "--config", str(config), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["standing"], [one["state"] for one in shown["decisions"]]) == ("corrected", ["done", "done"])
    assert main(["jobs", "list", "--config", str(config), "--json"]) == 0
    assert [one["standing"] for one in json.loads(capsys.readouterr().out)["jobs"]] == ["corrected"]
    assert main(["jobs", "reject", key, "--observer", WHO, "--config", str(config)]) == 2
    assert "--reason" in capsys.readouterr().err
    assert hospital.ask(key, "reject", observer="Wang\\Fang", reason="No name that DICOM allows.") == 422
    assert hospital.ask(key, "reject", observer=REJECTS, reason="The left side is the right one.") == 202
    hospital.carried_out(key, 3)
    nothing_is_left_in_use(hospital, key)
    the_trail_knows_who_and_the_ledger_does_not(hospital, key)

    for path in hospital.settings.data_dir.glob("segloop.sqlite*"):
        path.unlink()
    hospital.restart()
    assert hospital.service.store.standing(key) == Standing.REJECTED, "a ledger that was lost knows it again"
    assert {one.state for one in hospital.service.store.decisions(key)} == {DecisionState.DONE}
    assert hospital.service.store.holdings(key) == ()


def everybody_has_the_signed_form(hospital: Hospital, key: str, drafts: set[str]) -> set[str]:
    """Also that the archive hears that the drafts are not to be used; returns the signed objects."""
    assert hospital.service.store.standing(key) == Standing.SIGNED
    assert hospital.statuses() == ["P", "F"]
    (note,) = hospital.notes()
    assert note.sop_instance_uids == drafts
    signed = set(hospital.objects()) - drafts - {note.sop_instance_uid}
    assert len(signed) == len(drafts) == 5
    (report,) = [one for uid, one in hospital.objects().items() if uid in signed and one.Modality == "SR"]
    assert report.VerificationFlag == "VERIFIED"
    assert {name.split("/")[1] for name in hospital.sealed()} == {"signed"}
    (mask,) = (hospital.root / "signed-only").rglob("seg.dcm")
    assert dcmread(mask).SOPClassUID == LABEL_MAP
    (archived,) = [one for uid, one in hospital.objects().items() if uid in signed and one.Modality == "SEG"]
    assert archived.SOPClassUID != LABEL_MAP
    assert hospital.fhir.statuses("DiagnosticReport") == ["preliminary", "final"]
    served = httpx.get(f"{hospital.service.page}api/v1/jobs/{key}/signed/1/files/sr.dcm")
    assert served.content == (hospital.settings.data_dir / "jobs" / key / "out/signed/1/sr.dcm").read_bytes()
    return signed


def nothing_is_left_in_use(hospital: Hospital, key: str) -> None:
    store = hospital.service.store
    assert store.standing(key) == Standing.REJECTED
    withdrawn = set().union(*(one.sop_instance_uids for one in hospital.notes()))
    assert withdrawn == set(hospital.objects()) - {one.sop_instance_uid for one in hospital.notes()}
    rejected = {one.sop_instance_uid for one in hospital.notes() if one.code == "113037"}
    people = [i for uid in rejected for i in hospital.objects()[uid].ContentSequence if i.ValueType == "PNAME"]
    assert {str(one.PersonName) for one in people} == {REJECTS}, "who rejects, and not who signed before"
    last = parse(hospital.his.received[-1])
    assert {one.get(11) for one in last.all("OBX")} == {"W"}
    assert len({parse(one).control_id for one in hospital.his.received}) == 4
    assert hospital.fhir.statuses("DiagnosticReport")[-1] == "entered-in-error"
    assert any("withdrawn" in name for name in hospital.sealed())
    assert hospital.ask(key, "sign", observer=WHO, organisation="H") == 409
    assert {one.state for one in store.deliveries(key)} == {DeliveryState.WITHDRAWN}


def the_trail_knows_who_and_the_ledger_does_not(hospital: Hospital, key: str) -> None:
    signed = [(one.actor, one.detail["job"]) for one in hospital.events("result.signed")]
    assert signed == [(WHO, key)] * 2
    assert [one.actor for one in hospital.events("result.rejected")] == [REJECTS]
    hospital.service.stop()
    for path in [*hospital.settings.data_dir.glob("*.sqlite*"), hospital.settings.data_dir / "audit.jsonl"]:
        content = path.read_bytes()
        assert not [planted for planted in (*kit.PLANTED, b"left side", b"Once more") if planted in content]
        assert path.name == "audit.jsonl" or not [one for one in "李王" if one.encode() in content]


@pytest.mark.long
def test_a_newer_version_replaces_a_draft_at_once_and_a_signed_result_once_it_is_signed(
    hospital: Hospital, tmp_path: Path
) -> None:
    store = hospital.service.store
    hospital.send(kit.study(tmp_path / "in", 4))
    first = hospital.done(1).key
    drafts = set(hospital.objects())
    hospital.send(kit.write(tmp_path / "late", kit.slice_of(5)))
    second = hospital.done(2).key
    kit.wait(lambda: store.standing(first) == Standing.WITHDRAWN, 60)
    hospital.carried_out(first, 1)
    (note,) = hospital.notes()
    assert note.sop_instance_uids == drafts
    newer = [one for uid, one in hospital.objects().items() if uid not in drafts and one.Modality == "SR"]
    (report,) = newer
    (study,) = report.PredecessorDocumentsSequence
    named = {one.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for one in s.ReferencedSOPSequence}
    assert named <= drafts
    assert named
    # The HIS has the newer draft under the same order numbers; a withdrawal behind it would take that back.
    assert [{one.get(11) for one in parse(m).all("OBX")} for m in hospital.his.received] == [{"P"}, {"P"}]
    assert hospital.ask(first, "sign", observer=WHO, organisation="H") == 409

    assert hospital.ask(second, "sign", observer=WHO, organisation="H") == 202
    hospital.carried_out(second, 1)
    before = len(hospital.notes())
    hospital.send(kit.write(tmp_path / "later", kit.slice_of(6)))
    third = hospital.done(3).key
    over(third)
    assert store.standing(second) == Standing.SIGNED, "a draft does not take back what a person signed"
    assert len(hospital.notes()) == before
    assert hospital.ask(third, "sign", observer=WHO, organisation="H") == 202
    hospital.carried_out(third, 1)
    kit.wait(lambda: store.standing(second) == Standing.WITHDRAWN, 60)
    hospital.carried_out(second, 2)
    assert len(hospital.notes()) == before + 2


@pytest.mark.long
def test_rejected_images_and_results_are_used_no_more(hospital: Hospital, tmp_path: Path) -> None:
    store = hospital.service.store
    hospital.send(kit.study(tmp_path / "in", 5))
    first = hospital.done(1).key
    drafts = set(hospital.objects())
    hospital.send(kit.write(tmp_path / "note", kit.rejected_slices(5)))
    second = hospital.done(2).key
    kit.wait(lambda: store.standing(first) == Standing.WITHDRAWN, 60)
    hospital.carried_out(first, 1)
    assert drafts in [set(one.sop_instance_uids) for one in hospital.notes()]
    selection = json.loads((hospital.settings.data_dir / "jobs" / second / "out/selection.json").read_bytes())
    assert len(selection["files"]) == 4
    assert [event.detail["why"] for event in hospital.events("result.withdrawn")] == ["images rejected"]

    # A PACS withdraws our own newer result: it is marked, and cannot be signed.
    report = next(one for uid, one in hospital.objects().items() if uid not in drafts and one.Modality == "SR")
    foreign = kit.rejection({str(report.SOPInstanceUID): str(report.SOPClassUID)}, "113037")
    hospital.send(kit.write(tmp_path / "foreign", foreign))
    kit.wait(lambda: store.standing(second) == Standing.WITHDRAWN, 60)
    hospital.carried_out(second, 1)
    assert hospital.ask(second, "sign", observer=WHO, organisation="H") == 409
    assert {one.get(11) for one in parse(hospital.his.received[-1]).all("OBX")} == {"W"}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    running: list[Service] = []

    def begin(*goals: dict[str, object]) -> Service:
        quick = {"retry_seconds": 0.1, "timeout_seconds": 2.0}
        running.append(kit.service(kit.settings(tmp_path, destination=[{**quick, **g} for g in goals]), kit.REAL))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


@pytest.mark.long
def test_a_draft_that_is_still_on_its_way_does_not_follow_the_signed_result(
    tmp_path: Path, start: Callable[..., Service]
) -> None:
    his = His("AE")
    try:
        service = start({"name": "his", "kind": "hl7", "port": his.port})
        kit.send_to(service.ports.dicom, kit.study(tmp_path / "in", 4))
        kit.wait(lambda: len(his.received) >= 2, 120)
        (job,) = service.store.jobs()
        url = f"{service.page}api/v1/jobs/{job.key}/sign"
        answer = httpx.post(url, json={"observer": WHO, "organisation": "H"}, headers=HEADER, timeout=30)
        assert answer.status_code == 202
        kit.wait(lambda: parse(his.received[-1]).first("OBR").get(25) == "F", 120)
        his.behaviours = ["AA"]
        kit.wait(lambda: service.store.decisions(job.key)[0].state == DecisionState.DONE, 120)
        over(job.key)  # the draft's own tries as well
        statuses = [parse(message).first("OBR").get(25) for message in his.received]
        assert statuses == sorted(statuses, reverse=True), "a draft was sent behind the signed result"
        assert [parse(one).first("OBR").get(25) for one in his.taken.values()] == ["F"]
    finally:
        his.stop()
