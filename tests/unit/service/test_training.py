"""Copies kept for training: they name nobody, and lead back to the original for whoever holds the deployment's key."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pydicom import dcmread

import service_kit as kit
from results import write_all
from segloop.cli import main
from segloop.io.dicom import scan
from segloop.report import verify_against_source
from segloop.service.orders import Orders
from segloop.service.outcome import Outcomes
from segloop.service.quarantine import Quarantine
from segloop.service.ticket import Ticket
from segloop.store import Tokens, now
from segloop.study import StudyTask, write_record
from segloop.workflow import RESULT, ModelUsed, StudyResult

OTHER = "1.2.826.0.1.3680043.8.498.77399"


class Node:
    """A deployment whose jobs have been done by others."""

    def __init__(self, root: Path) -> None:
        self.root, self.settings = root, kit.settings(root)
        self.data = self.settings.data_dir
        tokens = Tokens.load(self.data)
        orders = Orders(self.data / "orders", tokens)
        self.outcomes = Outcomes(self.settings, tokens, Quarantine(self.data / "quarantine"), orders)
        (root / "segloop.toml").write_text(f"data_dir = {json.dumps(str(self.data))}\n", encoding="utf-8")

    def keep(self, name: str, study_uid: str = kit.STUDY_UID, **changes: object) -> bool:
        """A study of three slices, and a job that comes to its copy."""
        kit.write(self.root / name, *(kit.slice_of(n, study_uid, **{"Rows": 8, **changes}) for n in (1, 2, 3)))
        out = self.root / f"{name}-out"
        out.mkdir(exist_ok=True)
        result = StudyResult(
            study_uid=study_uid,
            series_uid=f"{study_uid}.1",
            key="k",
            model=ModelUsed(name="paper", version="1.0", digest="sha256:0", runtime="none", precision="none"),
            measurements=(),
            seconds={},
            peak_rss_mb=1.0,
            warnings=(),
            refused=(),
            files={},
        )
        write_record(result, out / RESULT)
        task = StudyTask(source=self.root / name, out=out, model="paper")
        key = (name.encode().hex() * 64)[:64]
        ticket = Ticket(
            key=key, study="s", version="v", number=1, model="paper", task=task, destinations=(), created=now()
        )
        return self.outcomes.keep_copy(ticket)

    def copies(self) -> list[Path]:
        return sorted((self.data / "training").rglob("*.dcm"))

    def reidentify(self, source: Path, *more: str) -> int:
        config = str(self.root / "segloop.toml")
        return main(["reidentify", str(source), "--training", "--config", config, "--json", *more])


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


def test_nothing_of_the_original_can_be_read_in_a_case_or_its_table(node: Node) -> None:
    assert node.keep("a")
    kept = [path for part in ("training", "training-links") for path in (node.data / part).rglob("*")]
    tables = [path for path in kept if path.suffix == ".map"]
    assert len(tables) == 1
    assert len(node.copies()) == 3
    for path in kept:
        content = b"" if path.is_dir() else path.read_bytes()
        assert not [token for token in kit.PLANTED if token in content or token.decode() in str(path)]


def test_a_case_leads_back_to_patient_study_series_and_instance(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert node.keep("a", IssuerOfPatientID="HOSPITAL")
    assert node.keep("b", OTHER, PatientID="PLANTED-2", PatientName="Roe^Richard")
    assert node.reidentify(node.data / "training", "--whose") == 0
    told = {Path(item["file"]).stem: item for item in json.loads(capsys.readouterr().out)["originals"]}
    assert sorted(told) == sorted(path.stem for path in node.copies())
    found = {(i["patient"]["id"], i["patient"]["issuer"], i["study_uid"], i["series_uid"]) for i in told.values()}
    assert found == {
        (kit.PATIENT_ID, "HOSPITAL", kit.STUDY_UID, f"{kit.STUDY_UID}.1"),
        ("PLANTED-2", "", OTHER, f"{OTHER}.1"),
    }
    for path in node.copies():
        original = dcmread(node.root / ("a" if told[path.stem]["study_uid"] == kit.STUDY_UID else "b") / (
            f"{told[path.stem]['sop_instance_uid']}.dcm"
        ))  # fmt: skip
        assert original.PixelData == dcmread(path).PixelData
        assert told[path.stem]["patient"]["name"] == original.PatientName
        assert told[path.stem]["accession_number"] == kit.ACCESSION


def test_cases_of_one_study_that_describe_it_differently_lead_to_one(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.keep("a", StudyDescription="head")
    assert node.keep("b", StudyDescription="head with contrast")
    assert node.reidentify(node.data / "training", "--whose") == 0
    told = json.loads(capsys.readouterr().out)["originals"]
    assert len(told) == 6
    assert {item["study_uid"] for item in told} == {kit.STUDY_UID}


def test_no_patient_id_leads_out_of_the_tables(node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert node.keep("a")
    (table,) = (node.data / "training-links").rglob("*.map")
    kit.write(tmp_path / "in", kit.slice_of(1, PatientID=f"../training-links/{table.parent.name}"))
    assert node.reidentify(tmp_path / "in", "--whose") == 5
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "mapping.unknown"


def test_what_is_drawn_on_a_case_becomes_a_result_of_the_original_study(node: Node, tmp_path: Path) -> None:
    assert node.keep("a")
    made = write_all(scan(node.data / "training")[0], tmp_path / "drawn")
    assert node.reidentify(made.folder, "-o", str(tmp_path / "back")) == 0
    (original,) = scan(node.root / "a")
    back = sorted((tmp_path / "back").iterdir())
    assert len(back) == len(made.objects)
    verify_against_source(back, original)


def test_a_copy_itself_is_not_written_with_its_identity(node: Node, tmp_path: Path) -> None:
    assert node.keep("a")
    assert node.reidentify(node.data / "training", "-o", str(tmp_path / "back")) == 5
    assert not (tmp_path / "back").exists()


def test_another_deployment_cannot_lead_it_back(node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert node.keep("a")
    other = Node(tmp_path / "other")
    assert other.reidentify(node.data / "training", "--whose") == 2
    assert other.keep("a")
    assert other.reidentify(node.data / "training", "--whose") == 5
    shutil.copytree(node.data / "training-links", other.data / "training-links", dirs_exist_ok=True)
    capsys.readouterr()
    assert other.reidentify(node.data / "training", "--whose") == 5
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == "mapping.key"
    assert not [token for token in kit.PLANTED if token.decode() in said.out + said.err]


def test_a_file_between_two_patients_leads_to_nobody(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.keep("a")
    assert node.keep("b", OTHER, PatientID="PLANTED-2", PatientName="Roe^Richard")
    first, *_, last = node.copies()
    one, other = dcmread(first), dcmread(last)
    assert one.PatientID != other.PatientID
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
        mixed = dcmread(first)
        setattr(mixed, keyword, getattr(other, keyword))
        folder = tmp_path / keyword
        folder.mkdir()
        shutil.copy(first, folder / "one.dcm")
        shutil.copy(last, folder / "two.dcm")
        mixed.save_as(folder / "mixed.dcm")
        assert node.reidentify(folder, "--whose") == 5
        document = json.loads(capsys.readouterr().out)
        assert [Path(item["file"]).name for item in document["originals"]] == ["one.dcm", "two.dcm"]
        assert document["error"]["code"] == "identity.mismatch"


def test_a_case_whose_table_cannot_be_written_is_not_kept(node: Node) -> None:
    assert node.keep("a")
    (table,) = (node.data / "training-links").rglob("*.map")
    shutil.rmtree(node.data / "training")
    table.write_bytes(b"damaged")
    assert not node.keep("a")
    assert not [path for path in (node.data / "training").rglob("*") if path.is_file()]


def test_patients_without_an_id_are_not_taken_for_one(node: Node) -> None:
    assert node.keep("a", PatientID="")
    assert node.keep("b", OTHER, PatientID="", PatientName="Roe^Richard")
    copies = [dcmread(path) for path in node.copies()]
    assert len({copy.PatientID for copy in copies}) == 2
    assert {path.name for path in (node.data / "training").iterdir()} == {copy.PatientID for copy in copies}


@pytest.mark.parametrize(
    "more",
    [
        ("--whose",),
        ("--training",),
        ("--training", "--whose", "-o", "back"),
        ("--training", "--whose", "--mapping", "m", "--key-file", "k"),
        ("--mapping", "m", "-o", "back"),
    ],
)
def test_wrong_usage(tmp_path: Path, more: tuple[str, ...]) -> None:
    kit.study(tmp_path / "in", 1)
    assert main(["reidentify", str(tmp_path / "in"), *more]) == 2
