"""The whole service in this process, with real DICOM over loopback and steps of milliseconds."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread

import service_kit as kit
from segloop import audit, log
from segloop.errors import InputError, ServiceError
from segloop.service.archive import Archive
from segloop.service.running import Service
from segloop.service.serializer import JsonSerializer
from segloop.store import DeliveryState, JobRecord, JobState, StudyState


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    running = Archive(tmp_path / "archive")
    yield running
    running.stop()


class Run:
    """A running service and where its results go."""

    def __init__(self, root: Path, archive: Archive, steps: tuple[kit.Step, ...] = kit.TINY, **changes: object) -> None:
        goal = {"name": "pacs", "kind": "dicom", "aet": "ARCHIVE", "port": archive.port, "retry_seconds": 0.2}
        self.settings = kit.settings(root, **{"destination": [goal], **changes})
        self.root, self.archive, self.steps = root, archive, steps
        self.service: Service = kit.service(self.settings, steps)

    def send(self, files: list[Path]) -> None:
        kit.send_to(self.service.ports.dicom, files)

    def job(self, state: JobState, seconds: float = 60.0) -> JobRecord:
        kit.wait(lambda: any(job.state == state for job in self.service.store.jobs()), seconds)
        return next(job for job in self.service.store.jobs() if job.state == state)

    def study(self, state: StudyState) -> None:
        kit.wait(lambda: any(s.state == state for s in self.service.store.studies()), 60)

    def codes(self) -> set[str]:
        folder = self.settings.data_dir / "quarantine"
        return {json.loads(path.read_text("utf-8"))["code"] for path in folder.glob("*/reason.json")}

    def restart(self) -> None:
        self.service.stop()
        self.service = kit.service(self.settings, self.steps)


@pytest.fixture
def start(archive: Archive) -> Iterator[Callable[..., Run]]:
    """Starts runs that are stopped whatever happens: only one at a time can be."""
    running: list[Run] = []

    def begin(root: Path, steps: tuple[kit.Step, ...] = kit.TINY, **changes: object) -> Run:
        running.append(Run(root, archive, steps, **changes))
        return running[-1]

    yield begin
    for run in running:
        run.service.stop()


@pytest.fixture
def run(tmp_path: Path, start: Callable[..., Run]) -> Run:
    return start(tmp_path)


def test_a_study_goes_through_and_only_its_own_places_know_the_patient(
    tmp_path: Path, archive: Archive, start: Callable[..., Run], capfd: pytest.CaptureFixture[str]
) -> None:
    log.configure("debug", form="json")
    run = start(tmp_path)
    run.send(kit.study(tmp_path / "in", 4))
    job = run.job(JobState.DONE)
    (arrived,) = archive.files()
    result = dcmread(arrived)
    assert (result.PatientName, result.PatientID) == (kit.NAME, kit.PATIENT_ID)
    page = httpx.get(run.service.page)
    assert "Zyxplanted, Quillara" in page.text
    assert "1.25 ml" in page.text
    base = run.service.page.rstrip("/")
    assert httpx.get(f"{base}/api/v1/jobs/{job.key}/files/result.json").json()["files"] == {"capture": "capture.dcm"}
    shown = [httpx.get(base + path).content for path in ("/metrics", "/api/v1/studies", "/api/v1/jobs", "/readyz")]
    data = run.settings.data_dir
    run.service.stop()
    log.configure("warning")
    written = [*data.glob("*.sqlite*"), data / "audit.jsonl", *(data / "training").rglob("*.dcm")]
    texts = [path.read_bytes() for path in written] + shown + [part.encode() for part in capfd.readouterr()]
    assert len(list((data / "training").rglob("*.dcm"))) == 4
    for text in texts:
        assert not [planted for planted in kit.PLANTED if planted in text]
    for path in data.rglob("*"):
        assert not [planted for planted in kit.PLANTED if planted.decode() in path.name]
    assert {event.action for event in audit.AuditLog(data / "audit.jsonl").tail(20)} >= {
        "service.started",
        "study.received",
        "job.started",
        "result.sent",
        "copy.kept",
        "job.finished",
    }


def test_a_late_slice_makes_a_new_version_and_supersedes_the_old_result(run: Run, tmp_path: Path) -> None:
    run.send(kit.study(tmp_path / "in", 4))
    first = run.job(JobState.DONE)
    run.send(kit.write(tmp_path / "late", kit.slice_of(5)))
    kit.wait(lambda: len(run.archive.files()) == 2, 60)
    kit.wait(lambda: {j.state for j in run.service.store.jobs()} == {JobState.DONE, JobState.SUPERSEDED}, 60)
    states = {job.key: (job.state, job.number) for job in run.service.store.jobs()}
    assert states[first.key] == (JobState.SUPERSEDED, 1)
    assert sorted(dcmread(path).PixelData[0] for path in run.archive.files()) == [4, 5]


def test_the_same_study_again_and_results_coming_back_start_nothing(run: Run, tmp_path: Path) -> None:
    files = kit.study(tmp_path / "in", 4)
    run.send(files)
    run.job(JobState.DONE)
    run.send(files)
    run.send(list(run.archive.files()))
    run.restart()
    run.send(kit.study(tmp_path / "other", 4, "1.2.826.0.1.3680043.8.498.2"))
    kit.wait(lambda: len(run.archive.files()) == 2, 60)
    kit.wait(lambda: {j.state for j in run.service.store.jobs()} == {JobState.DONE}, 60)
    assert len(run.service.store.studies()) == 2


@pytest.mark.parametrize(
    ("slices", "code"),
    [
        ([1, 2, 4, 5], "geometry.missing_slices"),
        ([1, 2], "input.not_applicable"),
    ],
)
def test_a_study_that_cannot_be_processed_is_quarantined_and_the_next_goes_on(
    run: Run, tmp_path: Path, slices: list[int], code: str
) -> None:
    run.send(kit.write(tmp_path / "bad", *(kit.slice_of(n, "1.2.826.0.1.3680043.8.498.3") for n in slices)))
    run.study(StudyState.QUARANTINED)
    assert run.codes() == {code}
    run.send(kit.study(tmp_path / "in", 4))
    run.job(JobState.DONE)
    if slices == [1, 2, 4, 5]:
        # The slice that was missing comes late: the study is whole, and a new version of it is processed.
        run.send(kit.write(tmp_path / "late", kit.slice_of(3, "1.2.826.0.1.3680043.8.498.3")))
        kit.wait(lambda: len(run.archive.files()) == 2, 60)


def test_two_patients_under_one_study_are_quarantined(tmp_path: Path, start: Callable[..., Run]) -> None:
    run = start(tmp_path, study={"quiet_seconds": 3.0})
    run.send(kit.study(tmp_path / "in", 4))
    with pytest.raises(ServiceError, match="0xC003"):
        run.send(kit.write(tmp_path / "wrong", kit.slice_of(9, PatientID="SOMEBODY-ELSE")))
    run.study(StudyState.QUARANTINED)
    assert run.codes() == {"input.two_patients"}
    assert run.service.store.jobs() == ()


def test_another_patient_after_the_job_is_noticed_as_well(run: Run, tmp_path: Path) -> None:
    run.send(kit.study(tmp_path / "in", 4))
    run.job(JobState.DONE)
    with pytest.raises(ServiceError, match="0xC003"):
        run.send(kit.write(tmp_path / "wrong", kit.slice_of(9, PatientID="SOMEBODY-ELSE")))
    run.study(StudyState.QUARANTINED)
    assert len(run.archive.files()) == 1


def test_without_rules_a_study_no_model_applies_to_says_why(
    tmp_path: Path, archive: Archive, start: Callable[..., Run]
) -> None:
    run = start(tmp_path, rule=[])
    run.send(kit.study(tmp_path / "in", 4, Modality="US"))
    run.study(StudyState.NO_MODEL)
    run.service.stop()
    (decision,) = (run.settings.data_dir / "decisions").rglob("*.json")
    assert json.loads(decision.read_text("utf-8"))["matches"] == []


def test_a_destination_that_is_down_gets_it_later(run: Run, tmp_path: Path) -> None:
    port = run.archive.port
    run.archive.stop()
    run.send(kit.study(tmp_path / "in", 4))
    kit.wait(lambda: any(d.state == DeliveryState.FAILED for d in run.service.store.deliveries()), 60)
    again = Archive(tmp_path / "archive", port=port)
    run.job(JobState.DONE)
    assert len(again.files()) == 1
    again.stop()


def test_a_destination_that_stays_down_leaves_the_job_undelivered_until_retried(
    tmp_path: Path, archive: Archive, start: Callable[..., Run]
) -> None:
    goal = {"name": "pacs", "kind": "dicom", "port": archive.port, "attempts": 2, "retry_seconds": 0.1}
    port = archive.port
    archive.stop()
    run = start(tmp_path, destination=[goal])
    run.send(kit.study(tmp_path / "in", 4))
    job = run.job(JobState.UNDELIVERED)
    again = Archive(tmp_path / "archive", port=port)
    run.service.jobs.retry(job.key)
    run.job(JobState.DONE)
    assert len(again.files()) == 1
    with pytest.raises(InputError):
        run.service.jobs.retry(job.key)
    run.service.stop()
    again.stop()


def test_a_worker_that_dies_once_costs_a_retry_and_one_that_always_dies_the_job(
    tmp_path: Path, archive: Archive, start: Callable[..., Run]
) -> None:
    run = start(tmp_path / "once", kit.DIES_ONCE)
    run.send(kit.study(tmp_path / "in", 4))
    run.job(JobState.DONE)
    run.service.stop()
    run = start(tmp_path / "always", kit.DIES)
    run.send(kit.study(tmp_path / "in", 4))
    assert run.job(JobState.FAILED).code == "worker.lost"
    assert run.codes() == {"worker.lost"}
    assert run.service.wait_ready(60) is None
    run.service.stop()


def test_results_also_go_to_a_folder(tmp_path: Path, archive: Archive, start: Callable[..., Run]) -> None:
    goal = {"name": "files", "kind": "folder", "folder": str(tmp_path / "files")}
    run = start(tmp_path, destination=[goal])
    run.send(kit.study(tmp_path / "in", 4))
    job = run.job(JobState.DONE)
    run.service.stop()
    assert {p.name for p in (tmp_path / "files" / job.key).iterdir()} == {"capture.dcm", "result.json"}


def test_a_result_that_is_somebody_elses_is_not_sent(
    tmp_path: Path, archive: Archive, start: Callable[..., Run]
) -> None:
    run = start(tmp_path, kit.WRONG_PATIENT)
    run.send(kit.study(tmp_path / "in", 4))
    assert run.job(JobState.FAILED).code == "identity.mismatch"
    run.service.stop()
    assert archive.files() == ()


def test_a_lost_ledger_is_rebuilt(run: Run, tmp_path: Path) -> None:
    run.send(kit.study(tmp_path / "in", 4))
    run.job(JobState.DONE)
    run.send(kit.write(tmp_path / "late", kit.slice_of(5)))
    kit.wait(lambda: {j.state for j in run.service.store.jobs()} == {JobState.DONE, JobState.SUPERSEDED}, 60)
    before = {(j.key, j.state, j.number, j.version) for j in run.service.store.jobs()}
    sent = {(d.job, d.destination, d.state) for d in run.service.store.deliveries()}
    run.service.stop()
    for path in run.settings.data_dir.glob("segloop.sqlite*"):
        path.unlink()
    run.service = kit.service(run.settings)
    assert {(j.key, j.state, j.number, j.version) for j in run.service.store.jobs()} == before
    assert {(d.job, d.destination, d.state) for d in run.service.store.deliveries()} == sent


def test_a_second_service_on_the_same_folder_is_refused(run: Run) -> None:
    with pytest.raises(ServiceError, match="Another segloop service"):
        kit.service(run.settings)


def test_the_database_holds_json_and_no_pickle(run: Run, tmp_path: Path) -> None:
    run.send(kit.study(tmp_path / "in", 4))
    run.job(JobState.DONE)
    run.service.stop()
    content = (run.settings.data_dir / "dbos.sqlite").read_bytes()
    assert JsonSerializer().name().encode() in content
    assert b"py_pickle" not in content
    run.service = kit.service(run.settings)
