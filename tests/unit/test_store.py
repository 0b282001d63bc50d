import sqlite3
import stat
from pathlib import Path

import pytest

from segloop.errors import ServiceError
from segloop.store import (
    DecisionKind,
    DecisionRecord,
    DecisionState,
    DeliveryState,
    HoldingRecord,
    JobRecord,
    JobState,
    Spool,
    Standing,
    Store,
    StudyRecord,
    StudyState,
    Tokens,
    delivery,
    now,
    write_whole,
)


def job(key: str, number: int = 1, study: str = "s", model: str = "m", state: JobState = JobState.QUEUED) -> JobRecord:
    return JobRecord(
        key=key,
        study=study,
        version=f"v{number}",
        number=number,
        model=model,
        state=state,
        created=now(),
        updated=now(),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "ledger.sqlite")


def test_a_newer_version_supersedes_what_has_ended(store: Store) -> None:
    store.add_job(job("a", 1))
    store.set_job("a", JobState.DONE)
    store.add_job(job("other", 1, model="n"))
    store.add_job(job("b", 2))
    states = {j.key: j.state for j in store.jobs("s")}
    assert states == {"a": JobState.SUPERSEDED, "b": JobState.QUEUED, "other": JobState.QUEUED}
    assert store.is_superseded("a")
    assert not store.is_superseded("b")
    assert not store.is_superseded("other")


def test_a_job_that_ends_after_a_newer_one_began_is_superseded(store: Store) -> None:
    store.add_job(job("a", 1))
    store.set_job("a", JobState.RUNNING, step="infer")
    store.add_job(job("b", 2))
    assert store.find_job("a").state == JobState.RUNNING  # type: ignore[union-attr]
    store.set_job("a", JobState.DONE)
    assert store.find_job("a").state == JobState.SUPERSEDED  # type: ignore[union-attr]


def test_adding_a_known_job_changes_nothing(store: Store) -> None:
    store.add_job(job("a"))
    store.set_job("a", JobState.RUNNING, step="infer")
    store.add_job(job("a", number=7))
    found = store.find_job("a")
    assert found is not None
    assert (found.state, found.step, found.number) == (JobState.RUNNING, "infer", 1)


def test_numbers_deliveries_and_counts(store: Store) -> None:
    assert store.next_number("s") == 1
    record = StudyRecord(study="s", version="v1", number=1, files=4, received=now(), state=StudyState.PROCESSED)
    store.add_study(record)
    store.add_study(record)
    assert store.next_number("s") == 2
    assert store.find_study("s", "v1") == record
    assert store.find_study("s", "v2") is None
    store.add_delivery(delivery("a", "pacs", DeliveryState.FAILED, code="peer.unavailable"))
    store.add_delivery(delivery("a", "pacs", DeliveryState.DONE, files=4))
    (only,) = store.deliveries("a")
    assert (only.state, only.files, only.code) == (DeliveryState.DONE, 4, "")
    counts = {"studies": {"processed": 1}, "jobs": {}, "deliveries": {"done": 1}, "decisions": {}}
    assert store.counts() == counts


def test_rebuild_replaces_everything_and_works_out_what_is_superseded(store: Store) -> None:
    store.add_job(job("stale"))
    store.rebuild(
        [StudyRecord(study="s", version="v1", number=1, files=4, received=now(), state=StudyState.PROCESSED)],
        [job("a", 1, state=JobState.DONE), job("b", 2, state=JobState.DONE)],
        [delivery("a", "pacs", DeliveryState.DONE)],
    )
    assert {j.key: j.state for j in store.jobs()} == {"a": JobState.SUPERSEDED, "b": JobState.DONE}
    assert len(store.studies()) == 1
    assert len(store.deliveries()) == 1


def test_a_ledger_outlives_its_process(tmp_path: Path) -> None:
    first = Store(tmp_path / "l.sqlite")
    first.add_job(job("a"))
    first.close()
    assert Store(tmp_path / "l.sqlite").find_job("a") is not None


def test_the_spool_keeps_an_instance_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert spool.add("s", "i", b"one").state == "new"
    assert spool.add("s", "i", b"one").state == "same"
    other = spool.add("s", "i", b"two")
    assert other.state == "other"
    assert other.path.read_bytes() == b"one"
    assert spool.files("s") == ("i.dcm",)
    assert spool.studies() == ("s",)


def test_a_version_changes_with_each_instance_and_its_bytes_and_survives_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.add("s", "a", b"1")
    one = spool.version("s", spool.files("s"))
    spool.add("s", "b", b"2")
    two = spool.version("s", spool.files("s"))
    assert one != two
    again = Spool(tmp_path / "spool")
    assert again.version("s", again.files("s")) == two
    assert again.version("s", ["a.dcm"]) == one


def test_what_a_kill_left_half_written_is_swept(tmp_path: Path) -> None:
    (tmp_path / "spool" / "s").mkdir(parents=True)
    (tmp_path / "spool" / "s" / ".abc.tmp").write_bytes(b"half")
    spool = Spool(tmp_path / "spool")
    assert spool.studies() == ()
    assert not list((tmp_path / "spool" / "s").iterdir())


def test_the_key_is_made_once_and_is_for_the_owner_only(tmp_path: Path) -> None:
    tokens = Tokens.load(tmp_path)
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert Tokens.load(tmp_path) == tokens
    assert tokens.study("1.2.3") == Tokens.load(tmp_path).study("1.2.3")
    assert tokens.study("1.2.3") != tokens.instance("1.2.3")
    assert tokens.study("1.2.3") != Tokens.load(tmp_path / "elsewhere").study("1.2.3")
    assert tokens.key.hex() not in repr(tokens)


def test_a_key_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_bytes(b"short")
    with pytest.raises(ServiceError) as caught:
        Tokens.load(tmp_path)
    assert caught.value.code == "setup.missing"


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(ServiceError):
        write_whole(b"x", tmp_path / "target")
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_the_last_word_about_a_result_counts_and_what_failed_does_not(store: Store) -> None:
    def decide(number: int, kind: DecisionKind) -> None:
        queued = DecisionState.QUEUED
        store.add_decision(DecisionRecord(job="k", number=number, kind=kind, state=queued, decided=now()))

    seen = [store.standing("k")]
    for number in (1, 2, 3):
        decide(number, DecisionKind.SIGN)
        seen.append(store.standing("k"))
    assert seen == [Standing.DRAFT, Standing.SIGNED, Standing.CORRECTED, Standing.CORRECTED]
    assert store.is_outdated("k", 2)
    store.set_decision("k", 3, DecisionState.FAILED, "input.changed")
    assert not store.is_outdated("k", 2)
    decide(3, DecisionKind.SIGN)
    assert store.decisions("k")[2].state == DecisionState.FAILED, "a decision that is known is not put back"
    decide(4, DecisionKind.WITHDRAW)
    assert store.standing("k") == Standing.WITHDRAWN
    decide(5, DecisionKind.REJECT)
    assert store.standing("k") == Standing.REJECTED
    assert store.counts()["decisions"] == {"queued": 4, "failed": 1}


def test_what_a_destination_was_told_not_to_use_is_no_longer_held(store: Store) -> None:
    held = [HoldingRecord(job="k", edition=edition, destination="pacs") for edition in (0, 1)]
    for one in held:
        store.add_holding(one)
        store.add_holding(one)
    assert store.holdings("k") == tuple(held)
    store.add_holding(held[0].model_copy(update={"withdrawn": True}))
    assert store.holdings("k") == (held[1],)
    store.drop_holding(held[1])
    assert store.holdings("k") == ()


def test_a_ledger_of_an_earlier_version_learns_whose_jobs_are_whose(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE jobs (key TEXT PRIMARY KEY, study TEXT, version TEXT, number INTEGER, model TEXT, "
            "state TEXT, step TEXT, code TEXT, created TEXT, updated TEXT)"
        )
        old.execute("INSERT INTO jobs VALUES ('k', 's', 'v', 1, 'm', 'done', '', '', '2026', '2026')")
    for _ in range(2):
        migrated = Store(path)
        assert [(one.key, one.patient) for one in migrated.jobs()] == [("k", None)]
        migrated.close()
    migrated = Store(path)
    assert [one.key for one in migrated.jobs_without_patient()] == ["k"]
    migrated.add_job(job("new").model_copy(update={"patient": "p"}))
    migrated.set_patient("k", "")
    assert migrated.jobs_without_patient() == ()
    assert [one.key for one in migrated.jobs_of_patient("p")] == ["new"]
    assert migrated.jobs_of_patient("") == (), "who is not known is nobody's namesake"
    migrated.close()


def test_a_patients_token_needs_the_key_and_something_stated(tmp_path: Path) -> None:
    tokens, others = Tokens.load(tmp_path / "a"), Tokens.load(tmp_path / "b")
    stated = ("HOSPITAL", "PID-1", "19700102", "F")
    assert tokens.patient(stated) == tokens.patient(stated) != others.patient(stated)
    assert tokens.patient(stated) != tokens.patient(("HOSPITAL", "PID-1", "19700102", "M"))
    assert tokens.patient(()) == ""
    assert tokens.patient(stated) != tokens.token("patient", *stated)
