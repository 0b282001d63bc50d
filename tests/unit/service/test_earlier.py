"""Which of a node's own results a study is set beside: those of the same patient that stand, and no other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from follow_kit import LARGE, SMALL, keep
from results import SPECS, write_series
from segloop.report import Findings, Signature, whose_series
from segloop.report.prior import read_priors
from segloop.service.earlier import Earlier
from segloop.service.ticket import Basis, Ticket
from segloop.settings import PriorSettings
from segloop.store import DecisionKind, DecisionRecord, DecisionState, JobRecord, JobState, Spool, Store, Tokens, now
from segloop.study import InferenceRecord, StudyTask, file_digest, read_record, write_record

DATES = {"a": "20240101", "b": "20250101", "c": "20260101"}
OTHERS = {"PatientID": "PID-2", "IssuerOfPatientID": "ELSEWHERE", "PatientBirthDate": "19700103", "PatientSex": "M"}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One result per date, of one patient."""
    root = tmp_path_factory.mktemp("kept")
    for name, day in DATES.items():
        keep(root / name, day, LARGE)
    return root


class Node:
    """A ledger and the jobs it knows."""

    def __init__(self, root: Path, kept: Path) -> None:
        self.root, self.kept = root, kept
        self.store, self.tokens = Store(root / "ledger.sqlite"), Tokens(b"k" * 32)
        self.series = write_series(root / "now", changes={"StudyDate": "20260601"})
        self.whose = whose_series(self.series)

    def earlier(self, **settings: object) -> Earlier:
        spool = Spool(self.root / "spool")
        return Earlier(PriorSettings.model_validate(settings), self.store, self.tokens, spool, self.root / "jobs")

    def add(
        self,
        name: str,
        study: str = "",
        number: int = 1,
        model: str = "m",
        source: Path | None = None,
        known: bool = True,
    ) -> Path:
        """A job with one of the kept results, whose patient is known to the ledger."""
        out = self.root / "jobs" / name / "out"
        shutil.copytree(source or self.kept / name, out)
        record = InferenceRecord(
            runtime="",
            precision="",
            choice="",
            seconds={},
            warnings=(),
            peak_rss_mb=1.0,
            labels_digest=file_digest(out / "labels.nii.gz"),
        )
        write_record(record, out / "inference.json")
        self.store.add_job(
            JobRecord(
                key=name,
                study=study or f"study-{name}",
                version=f"{name}-{number}",
                number=number,
                model=model,
                state=JobState.DONE,
                created=now(),
                updated=now(),
                patient=self.tokens.patient(self.whose.patient) if known else None,
            )
        )
        return out

    def decide(self, name: str, kind: DecisionKind, number: int = 1) -> None:
        state = DecisionState.DONE
        self.store.add_decision(DecisionRecord(job=name, number=number, kind=kind, state=state, decided=now()))

    def sign(self, name: str, number: int = 1, corrects: str | None = None) -> None:
        """As `segloop.signing` leaves it, with the draft's own report in it."""
        out = self.root / "jobs" / name / "out"
        folder = out / "signed" / str(number)
        folder.mkdir(parents=True)
        for file in ("sr.dcm", "seg.dcm"):
            shutil.copy(out / file, folder / file)
        moment = datetime(2026, 11, 22, tzinfo=UTC)
        signature = Signature(observer="Li^Wei", organisation="H", signed_at=moment, corrects=corrects)
        found = read_record(Findings, out / "findings.json").model_copy(update={"signature": signature})
        write_record(found, folder / "findings.json")
        text = (out / "result.json").read_text("utf-8")[:-1] + f', "signature": {signature.model_dump_json()}}}'
        (folder / "result.json").write_text(text, "utf-8")
        (folder / "signature.json").write_text("{}", "utf-8")
        self.decide(name, DecisionKind.SIGN, number)

    def found(self, **settings: object) -> list[str]:
        beside = self.earlier(**settings).beside(self.series, "study-now", "m", SPECS)
        looked = settings.get("enabled", True)
        assert beside.patient == (self.tokens.patient(self.whose.patient) if looked else None)
        return [one.basis.job for one in beside.found]


@pytest.fixture
def node(tmp_path: Path, kept: Path) -> Iterator[Node]:
    made = Node(tmp_path, kept)
    yield made
    made.store.close()


def test_earlier_results_are_found_from_the_oldest_to_the_newest(node: Node) -> None:
    for name in ("c", "a", "b"):
        node.add(name)
    assert node.found() == ["a", "b", "c"]


def test_the_settings_limit_what_is_found(node: Node) -> None:
    for name in DATES:
        node.add(name)
    assert node.found(most=2) == ["a", "c"], "the first one, which sums are counted from, and the newest"
    assert node.found(most=1) == ["c"]
    assert node.found(days=600) == ["b", "c"]
    assert node.found(days=1) == []
    assert node.found(signed_only=True) == []
    assert node.found(enabled=False) == []


def test_neither_another_model_nor_the_same_study_counts(node: Node) -> None:
    node.add("a", study="study-now")
    node.add("b", model="other")
    assert node.found() == []


@pytest.mark.parametrize("kind", [DecisionKind.REJECT, DecisionKind.WITHDRAW])
def test_what_was_rejected_or_withdrawn_does_not_count(node: Node, kind: DecisionKind) -> None:
    node.add("a")
    assert node.found() == ["a"]
    node.decide("a", kind)
    assert node.found() == []


@pytest.mark.parametrize("day", ["20240101", "20231231", ""])
def test_only_an_earlier_date_counts(node: Node, tmp_path: Path, day: str) -> None:
    node.add("a")
    node.series = write_series(tmp_path / "then", changes={"StudyDate": day})
    assert node.found() == []


def test_a_newer_draft_of_a_study_takes_an_older_ones_place_but_not_what_was_signed(node: Node) -> None:
    node.add("a", study="s", number=1)
    node.add("newer", study="s", number=2, source=node.kept / "a")
    assert node.found() == ["newer"]
    node.sign("a")
    assert node.found() == ["a"], "a machine does not take back a physician's word"
    assert node.found(signed_only=True) == ["a"]
    node.sign("newer")
    assert node.found() == ["newer"]


def test_the_newest_signed_form_stands_for_its_draft_and_says_so(node: Node) -> None:
    states, keys = [], []
    node.add("a")
    for number in range(3):
        if number:
            node.sign("a", number, "1.2.3" if number > 1 else None)
        (one,) = node.earlier().beside(node.series, "study-now", "m", SPECS).found
        read = read_priors([one.folder], node.series, SPECS)
        states.append(read.usable[0].state)
        keys.append(one.key)
    assert states == ["draft", "signed", "corrected"]
    assert len(set(keys)) == 3, "each form makes another result of the study beside it"


@pytest.mark.parametrize("keyword", sorted(OTHERS))
def test_a_token_that_stands_for_another_patient_leads_to_nobody(node: Node, tmp_path: Path, keyword: str) -> None:
    stranger = keep(tmp_path / "x", "20250101", LARGE, **{keyword: OTHERS[keyword]})
    # The ledger says that it is the same patient; the headers say whose it is.
    out = node.add("x", source=stranger.folder)
    assert node.store.jobs_of_patient(node.tokens.patient(node.whose.patient))
    assert node.earlier().candidates(node.whose, "study-now", "m") == (), "it is not even planned"
    assert read_priors([out], node.series, SPECS).usable == (), "and if it were, it would not be read"
    assert node.found() == []


@pytest.mark.parametrize("keyword", sorted(OTHERS))
def test_a_patient_who_is_not_stated_completely_has_no_token_and_no_earlier_results(
    node: Node, tmp_path: Path, keyword: str
) -> None:
    keep(tmp_path / "x", "20250101", LARGE, **{keyword: ""})
    node.add("x", source=tmp_path / "x")
    node.store.set_patient("x", "")
    node.series = write_series(tmp_path / "then", changes={"StudyDate": "20260601", keyword: ""})
    beside = node.earlier().beside(node.series, "study-now", "m", SPECS)
    assert (beside.patient, beside.found) == ("", ())


@pytest.mark.parametrize("name", ["sr.dcm", "labels.nii.gz", "findings.json", "result.json", "inference.json"])
def test_a_result_whose_files_were_pruned_is_left_out_and_the_others_stay(node: Node, name: str) -> None:
    node.add("b")
    (node.add("a") / name).unlink()
    assert node.found() == ["b"]


def test_a_result_that_is_damaged_is_left_out(node: Node, tmp_path: Path) -> None:
    keep(tmp_path / "x", "20240101", SMALL)
    shutil.copy(tmp_path / "x" / "labels.nii.gz", node.add("a") / "labels.nii.gz")
    assert node.found() == []


def ticket(node: Node, *priors: str) -> Ticket:
    """The ticket of job `c`, planned a second ago beside some others."""
    basis = []
    for name in priors:
        mask = file_digest(node.root / "jobs" / name / "out" / "labels.nii.gz")
        basis.append(Basis(job=name, study=f"study-{name}", mask=mask))
    return Ticket(
        key="c" * 64,
        study="study-c",
        version="v",
        number=1,
        model="m",
        task=StudyTask(source=node.root, out=node.root, model="m"),
        destinations=(),
        created=now(),
        patient="p",
        priors=tuple(basis),
    )


def test_a_result_is_outdated_by_what_came_after_it_was_planned_and_by_what_fell(node: Node) -> None:
    images = [path.read_bytes() for path in sorted((node.kept / "c-images").glob("*.dcm"))]
    earlier, spool = node.earlier(), Spool(node.root / "spool")
    spool.add("study-c", "i", images[0])
    node.add("c")
    job = node.store.find_job("c")
    assert job is not None
    out = node.add("a")
    alone, beside = ticket(node), ticket(node, "a")
    os.utime(out / "result.json", (0, 0))
    assert not earlier.late(job, alone), "what was there when it was planned was left out for a reason"
    os.utime(out / "result.json")
    later = datetime.now(UTC).timestamp() + 5
    os.utime(out / "result.json", (later, later))
    assert earlier.late(job, alone)
    assert not earlier.late(job, beside)
    assert not earlier.late(job, alone.model_copy(update={"patient": None})), "made before this was known"
    assert not node.earlier(renew=False).late(job, alone)
    node.decide("a", DecisionKind.WITHDRAW)
    assert not earlier.late(job, alone)
    assert earlier.late(job, beside)
    assert [one.job for one in earlier.gone(job, beside)] == ["a"]
    node.add("again", study="study-a", number=2, source=node.kept / "a")
    assert earlier.gone(job, beside) == (), "the same mask stands there again"
    assert not earlier.late(job, beside)


def test_an_earlier_study_that_is_still_coming_is_waited_for(node: Node) -> None:
    spool = Spool(node.root / "spool")
    for name in DATES:
        first = next((node.kept / f"{name}-images").glob("*.dcm"))
        spool.add(f"study-{name}", "i", first.read_bytes())
    earlier = node.earlier()
    assert earlier.is_awaited("study-b", ["study-a", "study-c"])
    assert not earlier.is_awaited("study-a", ["study-b", "study-c"])
    assert not earlier.is_awaited("study-b", ["study-b", "study-c"])
    assert not node.earlier(enabled=False).is_awaited("study-b", ["study-a"])
    out = node.add("a")
    node.store.set_job("a", JobState.RUNNING, step="infer")
    assert not earlier.is_awaited("study-b", []), "its result is there, and is on its way to destinations"
    (out / "result.json").unlink()
    assert earlier.is_awaited("study-b", [])
    node.store.set_job("a", JobState.FAILED, code="input.empty")
    assert not earlier.is_awaited("study-b", [])


def test_jobs_of_an_earlier_version_of_the_program_get_their_patients(node: Node) -> None:
    for name in ("a", "b"):
        node.add(name, known=False)
    assert node.found() == []
    node.earlier().fill()
    assert node.found() == ["a", "b"]
    assert node.store.jobs_without_patient() == ()
    assert "PID-1" not in repr(node.whose)
