"""From a trained network to what a run leaves: bundle, report, and the record of how it came about. On TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import keras

import segloop
from segloop.data.dataset import Dataset
from segloop.infer.bundle import Bundle
from segloop.infer.export import export_bundle
from segloop.nets.unet import build_unet, deploy
from segloop.plan import Provenance
from segloop.train.card import model_card
from segloop.train.judging import Batches, average_into, patch_dice
from segloop.train.precision import machine, version_of
from segloop.train.report.training import write_report
from segloop.train.running import Run
from segloop.train.selftest import selftest_images
from segloop.train.transfer import Origin


@dataclass(frozen=True, slots=True)
class Record:
    """What a bundle says about its training, beside what the run knows.

    Args:
        dataset: Where the cases are from.
        training: Ids that were trained on.
        held_out: Ids that were not.
        version: Of the model.
        command: The command line, without paths.
        origin: Where the first weights came from; None when they were drawn.
        coarse: First network of a cascade.
    """

    dataset: Dataset
    training: Sequence[str]
    held_out: Sequence[str]
    version: str
    command: str
    origin: Origin | None = None
    coarse: Bundle | None = None


def write_results(
    run: Run, model: keras.Model, judge: keras.Model, held: Batches, record: Record, out: Path
) -> tuple[Path, Path, dict[str, float]]:
    """Write `out/bundle` and `out/report.html`.

    Args:
        run: When its last step is done.
        model: The network in training.
        judge: The deployed network in the precision of training; gets the averaged weights.
        held: Held-out patches; may be empty.
        record: What the bundle says.
        out: Folder of the run.

    Returns:
        Both paths, and Dice by label name on the held-out patches.

    Raises:
        ServiceError: `disk.full`.
        ModelError: `bundle.corrupt` when a weight is beyond float16.
    """
    plan, version = run.plan, record.version
    average_into(judge, model)
    dice = run.dice if run.validated == run.step else patch_dice(judge, held, plan) if held else {}
    provenance = _provenance(run, record)
    exact = deploy(build_unet(plan.network, seed=run.state.seed))
    average_into(exact, model)
    held_out, total = len(record.held_out), len(record.dataset.cases)
    export_bundle(
        out / "bundle",
        plan,
        exact,
        provenance=provenance,
        card=model_card(plan, provenance, version, dice, held_out, total),
        version=version,
        selftest=selftest_images(plan, exact, judge, coarse=record.coarse),
        metrics={f"patch_dice_{name}": value for name, value in dice.items()},
        coarse=record.coarse,
    )
    return out / "bundle", write_report(run, judge, held, dice, provenance, version, out), dice


def _provenance(run: Run, record: Record) -> Provenance:
    """Where the weights come from; the machine is the one that did the last steps, wherever the bundle is written."""
    origin, dataset = record.origin, record.dataset
    done_on = run.state.machine or machine(run.plan.training.precision)
    images = {case_id: dataset.digest(dataset.case(case_id)) for case_id in record.training}
    return Provenance(
        dataset=dataset.name,
        licence=origin.licence_with(dataset.licence) if origin else dataset.licence,
        training_images=(origin.training_images if origin else {}) | images,
        training_voxels=(origin.training_voxels if origin else {}) | run.state.voxels,
        fold=run.state.fold,
        folds=None if run.state.fold is None else run.plan.training.folds,
        seed=run.state.seed,
        steps=run.step,
        seconds=round(run.elapsed_s(), 1),
        command=record.command,
        init=origin.words if origin else "",
        segloop=segloop.__version__,
        lock=done_on.lock,
        backend=done_on.backend,
        tensorflow=version_of("tensorflow"),
        keras=keras.__version__,
        instruction_set=done_on.instruction_set,
        precision=done_on.precision,
        threads=done_on.threads,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
