"""`segloop train` from other weights: the network it takes, what it says, and what the bundle keeps of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

import tiny_models
import training_kit
from segloop.cli import main
from segloop.cli.verbs.train import ENCODERS
from segloop.infer import Bundle
from segloop.plan import Encoder
from segloop.train.transfer import TransferReport


def test_the_encoders_offered_are_those_of_the_plan() -> None:
    assert get_args(Encoder) == ENCODERS


def test_a_training_starts_from_a_bundle_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training_kit.write_dataset(tmp_path / "data", cases=3)
    run, source = tmp_path / "run", tiny_models.bundle()
    command = ["train", str(tmp_path / "data"), "-o", str(run), "--init", str(source.path), "--epochs", "1"]
    assert main([*command, "--set", "training.steps_per_epoch=2", "--set", "training.batch=1"]) == 0
    told = capsys.readouterr().out
    assert "tiny 1.0" in told
    assert "no label in common" in told
    bundle = Bundle(run / "bundle")
    # Without --plan the network is the source's, so that all of it fits; classes and channels are the data's.
    assert bundle.plan.network == source.plan.network.model_copy(update={"classes": 2})
    assert any("tiny 1.0" in reason for reason in bundle.plan.reasons)
    provenance = bundle.manifest.provenance
    assert provenance.init == f"tiny 1.0 {source.digest}"
    assert provenance.licence == "not stated; weights began from tiny 1.0: not stated"
    assert set(provenance.training_images) == {"tiny/a", "c0", "c1", "c2"}
    assert provenance.init in bundle.card
    assert f"--init {source.path.name}" in provenance.command
    assert str(tmp_path) not in bundle.card
    report = TransferReport.model_validate_json((run / "transfer.json").read_text("utf-8"))
    assert 0.9 < report.share < 1
    started, ended = source.weights()["down1_0_conv/kernel"], bundle.weights()["down1_0_conv/kernel"]
    # Two steps at the full rate lead only so far from where training began; other weights would be far away.
    assert 0 < abs(ended - started).max() < 0.05

    assert main([*command, "--json"]) == 2
    (tmp_path / "cascade" / "coarse").mkdir(parents=True)
    refused = json.loads(capsys.readouterr().out)["error"]
    assert "--resume" in refused["hint"]
    assert Bundle(run / "bundle").digest == bundle.digest
    assert main([word.replace(str(run), str(tmp_path / "cascade")) for word in command]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        (["--encoder", "resnet50"], "usage", 2),
        (["--encoder-weights", "imagenet"], "plan.invalid", 3),
        (["--set", "training.frozen_fraction=0.2"], "plan.invalid", 3),
        (["--init", "no-such-model"], "model.unknown", 4),
        (["--encoder", "resnet50", "--encoder-weights", "absent.h5"], "input.unreadable", 2),
    ],
)
def test_a_start_that_cannot_be_is_refused_before_training(
    arguments: list[str], code: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training_kit.write_dataset(tmp_path / "data", cases=3)
    assert main(["train", str(tmp_path / "data"), "-o", str(tmp_path / "run"), *arguments, "--json"]) == status
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
    assert not (tmp_path / "run" / "bundle").exists()


@pytest.mark.parametrize("verb", ["train", "cross-validate"])
def test_no_epochs_are_not_the_plans(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training_kit.write_dataset(tmp_path / "data", cases=1)
    assert main([verb, str(tmp_path / "data"), "-o", str(tmp_path / "run"), "--epochs", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
