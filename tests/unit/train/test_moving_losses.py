"""The weight of a further term follows the training, also where the loss is compiled and where a run is resumed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from segloop.nets import SegmentationLoss
from segloop.train.checkpoint import State
from segloop.train.compiling import compiled
from segloop.train.loop import Pacing, Run
from segloop.train.schedule import Clock, Schedule
from training_kit import plan


@pytest.mark.parametrize("step", [0, 25, 80])
def test_every_step_tells_the_loss_how_far_the_training_is(step: int) -> None:
    recipe = plan(loss={"extra": "boundary"})
    model = compiled(recipe, 0, "float32")
    # As a resumed run begins: the steps of the checkpoint, and the schedule it had.
    state = State(plan=recipe.digest, seed=0, fold=None, step=step, total=100)
    pacing = Pacing(Run(recipe, state, Clock(), Schedule(100), lambda: 0.0, step=step))
    pacing.set_model(model)
    (loss,) = model.loss
    assert isinstance(loss, SegmentationLoss)
    labels = np.zeros((1, 8, 8, 8), np.uint8)
    labels[:, 2:5, 2:5, 2:5] = 1
    logits = np.zeros((1, 8, 8, 8, 2), np.float32)
    traced = tf.function(lambda: loss(labels, logits))
    before = float(traced())
    pacing.on_train_batch_begin(0)
    assert float(loss.progress) == pytest.approx(step / 100)
    loss_now = float(traced())
    assert (loss_now > before) == (step > 0)
