"""What a training leaves in TensorBoard's logs and on its page, read back with TensorBoard's own reader."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from segloop.train import FitResult, fit
from segloop.train.gallery import SHEET
from training_kit import plan, write_dataset

STEPS = 10


@dataclass(frozen=True)
class Finished:
    out: Path
    result: FitResult


class BrokenOffError(Exception):
    """Ends a command as a kill would."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Four epochs, broken off after the third, gone on with from the checkpoint before."""
    dataset, out = write_dataset(tmp_path_factory.mktemp("balls")), tmp_path_factory.mktemp("run")

    def killed(epoch: int, *_: object) -> None:
        if epoch == 3:
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        fit(plan(), dataset, out, fold=0, progress=killed)
    return Finished(out, fit(plan(), dataset, out, fold=0, resume=True))


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def curve(accumulator: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, float(make_ndarray(event.tensor_proto))) for event in accumulator.Tensors(tag)]


def test_curves_go_on_over_a_resume_without_doubled_or_lost_steps(finished: Finished) -> None:
    train, held = read(finished.out / "logs" / "train"), read(finished.out / "logs" / "held-out")
    losses = curve(train, "loss")
    steps = [step for step, _ in losses]
    assert steps == sorted(set(steps))
    assert (steps[:2], steps[-1]) == ([STEPS, 2 * STEPS], 4 * STEPS)
    assert losses[-1][1] < losses[0][1]
    assert [step for step, _ in curve(train, "learning_rate")] == [step for step, _ in losses]
    dice = dict(curve(held, "dice/ball"))
    assert set(dice) <= {step for step, _ in losses}
    assert dict(curve(held, "dice/mean")) == dice
    assert set(dict(curve(held, "loss"))) == set(dice)


def test_weights_are_histograms_of_every_layer_that_count_all_weights(finished: Finished) -> None:
    train = read(finished.out / "logs" / "train")
    tags = [tag for tag in train.Tags()["tensors"] if tag.startswith("weights/")]
    assert "weights/down0_0_conv/kernel" in tags
    assert len(tags) > 10
    buckets = make_ndarray(train.Tensors("weights/down0_0_conv/kernel")[0].tensor_proto)
    assert buckets.shape == (30, 3)
    assert buckets[:, 2].sum() == 3 * 3 * 3 * 4


def test_each_layer_has_its_gradient_norm(finished: Finished) -> None:
    gradients = read(finished.out / "logs" / "gradients")
    first, norm = curve(gradients, "gradients/down0_0_conv")[0]
    assert first == STEPS
    assert 0 < norm < np.inf
    layers = [dict(curve(gradients, tag))[STEPS] for tag in gradients.Tags()["tensors"] if tag.startswith("gradients/")]
    assert dict(curve(gradients, "gradient_norm"))[STEPS] == pytest.approx(np.sqrt(np.square(layers).sum()), rel=1e-4)
    assert finished.result.notices == ()


def test_overlays_and_augmented_samples_are_pictures(finished: Finished) -> None:
    overlay = make_ndarray(read(finished.out / "logs" / "held-out").Tensors("overlay/1")[0].tensor_proto)
    sheet = read(finished.out / "logs" / "train").Tensors("augmentation")
    assert [event.step for event in sheet] == [0]
    for width, height, png in (overlay, make_ndarray(sheet[0].tensor_proto)):
        assert Image.open(io.BytesIO(png)).size == (int(width), int(height))
    drawn = np.asarray(Image.open(io.BytesIO(overlay[2])).convert("RGB")).reshape(-1, 3)
    assert (drawn == (86, 180, 233)).all(1).any()


def test_logs_stay_small(finished: Finished) -> None:
    size = sum(path.stat().st_size for path in (finished.out / "logs").rglob("*") if path.is_file())
    assert size < 1_000_000


def test_the_page_is_complete_in_itself(finished: Finished) -> None:
    page = (finished.out / "report.html").read_text("utf-8")
    assert not re.search(r"https?://", page)
    for heading in ("Results", "Training", "Held-out cases", "Augmentation", "How it was made"):
        assert f">{heading}</h2>" in page
    assert f"{finished.result.dice['ball']:.3f}" in page
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 2  # one held-out case, one sheet
    sizes = [Image.open(io.BytesIO(base64.b64decode(data))).size for data in pictures]
    assert Image.open(finished.out / SHEET).size in sizes
