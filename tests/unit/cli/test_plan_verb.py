from __future__ import annotations

import json
from pathlib import Path

import pytest

from segloop.cli import main
from segloop.plan import Plan
from training_kit import write_dataset


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("balls")).root


def test_every_reason_is_printed_and_stands_in_the_plan(
    balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "plan.json"
    words = ["plan", str(balls), "-o", str(file)]
    assert main([*words, "--device", "gpu", "--memory", "4GiB", "--set", "training.epochs=7"]) == 0
    said, plan = capsys.readouterr().out, Plan.load(file)
    assert [line.removeprefix("- ") for line in said.splitlines()[:-1]] == list(plan.reasons)
    assert plan.network.features[0] == 32
    assert plan.training.epochs == 7
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["digest"] == Plan.load(file).digest
    assert document["reasons"] == list(Plan.load(file).reasons)


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["--memory", "100MiB"], "plan.memory", 3),
        (["--device", "gpu", "--memory", "0.1GB"], "plan.memory", 3),
        (["--variant", "cascade"], "plan.invalid", 3),
        (["--size", "512"], "plan.invalid", 3),
    ],
)
def test_what_cannot_be_planned_is_refused_and_nothing_written(
    balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: str, status: int
) -> None:
    file = tmp_path / "plan.json"
    assert main(["plan", str(balls), "-o", str(file), "--json", *words]) == status
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == code
    assert not file.exists()
    if code == "plan.memory":
        assert error["expected"] > error["found"]
        enough = f"{error['expected'] // 2**20}MiB"
        assert enough in error["hint"]
        device = words[words.index("--device") :][:2] if "--device" in words else []
        assert main(["plan", str(balls), "-o", str(file), "--memory", enough, *device]) == 0
