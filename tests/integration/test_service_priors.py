"""A follow-up study sent to the service has the values of the earlier ones, whatever comes first and whatever falls."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread

import service_kit as kit
from segloop import audit
from segloop.measure import Quantity
from segloop.report import FollowUp
from segloop.service.running import Service
from segloop.store import DecisionState, JobRecord, JobState, Standing
from segloop.study import read_record
from segloop.workflow import RESULT, Step, StudyResult

FIRST, SECOND, THIRD = (f"{kit.STUDY_UID}{number}" for number in (1, 2, 3))
HELD = (kit.REAL[0], Step("hold", kit.hold), *kit.REAL[1:])
DATES = {FIRST: "20260102", SECOND: "20260401", THIRD: "20260701"}


class Node:
    """A running service with the means to send dates of one patient to it."""

    def __init__(self, root: Path, steps: tuple[Step, ...], quiet_seconds: float, keep: bool, **priors: object) -> None:
        self.root, self.steps = root, steps
        goal = {"name": "out", "kind": "folder", "folder": str(root / "sent")}
        study, kept = {"quiet_seconds": quiet_seconds}, {"keep": keep}
        self.settings = kit.settings(root, priors=priors, destination=[goal], training=kept, study=study)
        self.service: Service = kit.service(self.settings, steps)

    def restart(self) -> None:
        self.service.stop()
        self.service = kit.service(self.settings, self.steps)

    def send(self, *uids: str, **changes: object) -> None:
        for uid in uids:
            stated = {"IssuerOfPatientID": "HOSPITAL", "StudyDate": DATES[uid], **changes}
            files = kit.study(self.root / f"in-{uid}-{len(stated)}", 4, uid, **stated)
            kit.send_to(self.service.ports.dicom, files)

    def jobs(self, uid: str) -> tuple[JobRecord, ...]:
        """Oldest first."""
        found = self.service.store.jobs()
        mine = [job for job in found if self._of(job) == uid]
        return tuple(sorted(mine, key=lambda job: job.number))

    def done(self, uid: str, number: int = 1) -> JobRecord:
        """The study's job of a version, once it and what follows from it is over."""

        def ended() -> bool:
            jobs = self.jobs(uid)
            return len(jobs) >= number and jobs[number - 1].state not in (JobState.QUEUED, JobState.RUNNING)

        kit.wait(ended, 120)
        job = self.jobs(uid)[number - 1]
        assert job.state in (JobState.DONE, JobState.SUPERSEDED), job
        return job

    def quiet(self) -> None:
        """Wait until nothing is going on."""

        def idle() -> bool:
            states = {job.state for job in self.service.store.jobs()}
            busy = states & {JobState.QUEUED, JobState.RUNNING}
            decided = [one for job in self.service.store.jobs() for one in self.service.store.decisions(job.key)]
            return not busy and all(one.state != DecisionState.QUEUED for one in decided)

        time.sleep(1.0)
        kit.wait(idle, 120)

    def followed(self, job: JobRecord) -> FollowUp:
        found = read_record(StudyResult, self.out(job) / RESULT).follow_up
        assert found is not None
        return found

    def out(self, job: JobRecord) -> Path:
        return self.settings.data_dir / "jobs" / job.key / "out"

    def events(self, action: str) -> list[audit.Event]:
        return [one for one in audit.events(self.settings.data_dir / "audit.jsonl") if one.action == action]

    def _of(self, job: JobRecord) -> str:
        first = next(self.service.settings.data_dir.glob(f"spool/{job.study}/*.dcm"))
        return str(dcmread(first, stop_before_pixels=True).StudyInstanceUID)


Start = Callable[..., Node]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Node] = []

    def begin(
        steps: tuple[Step, ...] = kit.REAL, quiet_seconds: float = 0.3, keep: bool = False, **priors: object
    ) -> Node:
        running.append(Node(tmp_path, steps, quiet_seconds, keep, **priors))
        return running[-1]

    yield begin
    for node in running:
        node.service.stop()


def test_a_later_study_has_the_earlier_values_and_the_ledger_no_identity(start: Start) -> None:
    node = start()
    node.send(FIRST)
    first = node.done(FIRST)
    node.send(SECOND)
    second = node.done(SECOND)
    (prior,) = node.followed(second).priors
    assert (prior.key, prior.state, prior.comparable) == (first.key, "draft", True)
    assert str(prior.study_date) == "2026-01-02"
    assert node.followed(first).priors == ()
    shown = httpx.get(node.service.page, timeout=30).text
    value = prior.value(1, 0, Quantity.VOLUME)
    assert value is not None
    assert f"one: {value.value:.2f} ml ({value.value:.2f} ml, 2026-01-02)" in shown
    assert [one.detail.get("priors") for one in node.events("job.started")] == [None, "1"]
    assert first.patient == second.patient != ""
    node.send(FIRST, SECOND)
    node.restart()
    node.quiet()
    assert [len(node.jobs(uid)) for uid in (FIRST, SECOND)] == [1, 1], "sent again, it is the same job"
    node.service.stop()
    for path in [*node.settings.data_dir.glob("*.sqlite*"), node.settings.data_dir / "audit.jsonl"]:
        content = path.read_bytes()
        assert not [planted for planted in (*kit.PLANTED, b"HOSPITAL") if planted in content], path.name


@pytest.mark.long
def test_studies_that_come_together_are_worked_on_in_the_order_of_their_dates(start: Start) -> None:
    node = start(quiet_seconds=5.0)
    node.send(THIRD, SECOND, FIRST)
    third = node.done(THIRD)
    node.quiet()
    first, second = node.done(FIRST), node.done(SECOND)
    assert [one.key for one in node.followed(third).priors] == [first.key, second.key]
    assert [len(node.jobs(uid)) for uid in DATES] == [1, 1, 1], "nothing was made twice"


@pytest.mark.long
def test_a_draft_is_made_anew_when_an_earlier_study_comes_late_and_when_that_is_rejected(start: Start) -> None:
    node = start(keep=True)
    store = node.service.store
    node.send(SECOND)
    alone = node.done(SECOND)
    assert node.followed(alone).priors == ()
    node.send(FIRST)
    beside = node.done(SECOND, 2)
    first = node.done(FIRST)
    assert [one.key for one in node.followed(beside).priors] == [first.key]
    assert node.service.jobs.ticket(beside.key).task.mask_from == node.out(alone)
    node.quiet()
    assert store.standing(alone.key) == Standing.WITHDRAWN
    assert (node.root / "sent" / alone.key / "withdrawn").exists()
    node.service.jobs.reject(first.key, "Li^Wei", "The left side is the right one.")
    without = node.done(SECOND, 3)
    assert node.followed(without).priors == ()
    node.quiet()
    assert node.service.jobs.ticket(without.key).task.mask_from == node.out(alone)
    assert len(list(node.settings.data_dir.glob("training/**/labels.nii.gz"))) == 2, "one copy for training per study"
    node.service.stop()
    # As a kill leaves it between the start of a job and the note that its version is known.
    with sqlite3.connect(node.settings.data_dir / "segloop.sqlite") as ledger:
        ledger.execute("DELETE FROM studies WHERE version = ?", (without.version,))
    node.restart()
    kit.wait(lambda: node.service.store.find_study(without.study, without.version) is not None, 60)
    node.quiet()
    assert len(node.jobs(SECOND)) == 3
    assert node.service.store.standing(without.key) == Standing.DRAFT


@pytest.mark.long
def test_what_a_person_signed_is_used_in_its_signed_form_and_is_not_made_anew(start: Start) -> None:
    node = start()
    store = node.service.store
    node.send(FIRST)
    first = node.done(FIRST)
    node.service.jobs.sign(first.key, "Li^Wei", "H")
    node.quiet()
    node.send(THIRD)
    third = node.done(THIRD)
    (prior,) = node.followed(third).priors
    assert (prior.key, prior.state) == (first.key, "signed")
    node.service.jobs.sign(third.key, "Li^Wei", "H")
    node.quiet()
    node.send(SECOND)
    node.done(SECOND)
    node.service.jobs.reject(first.key, "Li^Wei", "Another patient's images.")
    node.quiet()
    assert len(node.jobs(THIRD)) == 1
    assert store.standing(third.key) == Standing.SIGNED
    assert [one.detail["prior"] for one in node.events("prior.invalid")] == [first.key], "a person can see it"


def test_nothing_of_another_patient_is_shown_even_if_the_ledger_says_it_is_the_same(start: Start) -> None:
    node = start()
    node.send(FIRST, PatientSex="M")
    first = node.done(FIRST)
    node.send(SECOND)
    second = node.done(SECOND)
    assert first.patient != second.patient
    assert node.followed(second).priors == ()
    # Two patients under one token: the headers still say who is who.
    node.service.store.set_patient(first.key, second.patient or "")
    node.send(THIRD)
    third = node.done(THIRD)
    assert [one.key for one in node.followed(third).priors] == [second.key]
    told = (node.out(third) / "findings.json").read_text("utf-8")
    assert first.key not in told


@pytest.mark.long
def test_a_result_that_vanishes_between_plan_and_reading_costs_a_new_plan_and_nothing_else(start: Start) -> None:
    node = start(HELD)
    (node.settings.data_dir / kit.GO).touch()
    node.send(FIRST)
    first = node.done(FIRST)
    (node.settings.data_dir / kit.GO).unlink()
    node.send(SECOND)
    kit.wait(lambda: any(job.step == "hold" for job in node.jobs(SECOND)), 60)
    (node.out(first) / "labels.nii.gz").unlink()
    (node.settings.data_dir / kit.GO).touch()
    kit.wait(lambda: len(node.jobs(SECOND)) == 2, 120)
    again = node.done(SECOND, 2)
    assert node.followed(again).priors == ()
    lost = node.jobs(SECOND)[0]
    assert (lost.state, lost.code) == (JobState.SUPERSEDED, "input.prior")
    assert [one.detail["code"] for one in node.events("job.failed")] == ["input.prior"]
    kit.wait(lambda: not list((node.settings.data_dir / "quarantine").glob("*/reason.json")), 30)


@pytest.mark.long
def test_it_can_be_switched_off_and_a_lost_ledger_finds_its_patients_again(start: Start) -> None:
    node = start(enabled=False)
    node.send(FIRST, SECOND)
    first, second = node.done(FIRST), node.done(SECOND)
    assert node.followed(second).priors == ()
    node.service.stop()
    for path in node.settings.data_dir.glob("segloop.sqlite*"):
        path.unlink()
    later = start()
    later.send(THIRD)
    third = later.done(THIRD)
    assert [one.key for one in later.followed(third).priors] == [first.key, second.key]
    assert len(later.jobs(SECOND)) == 1, "what was there before is not made anew"
