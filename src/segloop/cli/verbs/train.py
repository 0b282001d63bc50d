"""`segloop train`: a dataset to a bundle, within a time budget where one is given."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.console import Console, minutes
from segloop.cli.deployment import add_registry, registry
from segloop.cli.quiet import load_tensorflow
from segloop.cli.values import count, duration_s, fold, output_folder, setting
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.data import Dataset
    from segloop.infer import Bundle
    from segloop.plan import Plan
    from segloop.train.transfer import TransferReport

ENCODERS = ("resnet50", "efficientnetv2-b0", "efficientnetv2-s", "convnext-tiny")
_FROZEN_FRACTION = 0.1

_UNFINISHED = "trained; the bundle is written by the same command with --resume on TensorFlow (of several: worker 0)"
_TOLD_SHARE, _TOLD_EVERY_S = 0.1, 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of images and label maps")
    parser.add_argument(
        "-o",
        "--output",
        type=output_folder,
        required=True,
        metavar="RUN",
        help="folder for bundle, logs and report; a file `stop` in it ends the training",
    )
    parser.add_argument("--plan", type=Path, metavar="PLAN.json", help="the recipe (default: planned from the dataset)")
    parser.add_argument(
        "--fold", type=fold, default=None, metavar="all|K", help="use every case (default), or hold fold K out"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--time-budget", type=duration_s, metavar="15m", help="from the start of the command to the written bundle"
    )
    length.add_argument("--epochs", type=count, metavar="N", help="number of epochs instead of the Plan's")
    parser.add_argument("--resume", action="store_true", help="go on from RUN's last checkpoint")
    parser.add_argument(
        "--backend",
        choices=("tensorflow", "jax"),
        help="what computes the steps (default: KERAS_BACKEND, else tensorflow); a run of JAX becomes a bundle when it "
        "is resumed on TensorFlow",
    )
    add_start(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of weights, patches and augmentation")
    parser.add_argument("--name", metavar="NAME", help="name of the model (default: the dataset's)")
    parser.add_argument(
        "--model-version", default="0.1.0", metavar="V", help="version written into the bundle (default 0.1.0)"
    )
    parser.add_argument(
        "--set", type=setting, action="append", default=[], metavar="KEY=VALUE", help="change a field of the Plan"
    )


def add_start(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what a training starts from."""
    parser.add_argument("--encoder", choices=ENCODERS, help="a 2-D network around this ImageNet encoder")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--init",
        metavar="BUNDLE",
        help="start from the weights of this model (a bundle's folder, or NAME[@stage|@version]), as far as they fit; "
        "without --plan its network is taken as well",
    )
    start.add_argument(
        "--encoder-weights",
        metavar="imagenet|FILE|URL",
        help="start from these weights of the encoder; a URL that ends in / is a mirror of Keras' files",
    )
    add_registry(parser)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Train and say where the bundle lies."""
    started = time.monotonic()
    _require_fresh(arguments.output, arguments.resume)
    _use_backend(arguments.backend)
    from segloop.data import Dataset
    from segloop.train import fit

    dataset = Dataset.load(arguments.dataset)
    init = registry(arguments).load(arguments.init) if arguments.init is not None else None
    plan = planned(arguments, dataset, init)
    watch = _Watch(console)
    result = fit(
        plan,
        dataset,
        arguments.output,
        fold=arguments.fold,
        time_budget_s=arguments.time_budget,
        started=started,
        epochs=arguments.epochs,
        resume=arguments.resume,
        seed=arguments.seed,
        init=init,
        encoder_weights=arguments.encoder_weights,
        version=arguments.model_version,
        command=_command(arguments),
        progress=watch,
        reading=watch.reading,
        transferred=lambda report: _tell(report, console),
    )
    for notice in result.notices:
        console.say(f"warning  {notice.text}")
    if result.bundle is None:
        console.say(_UNFINISHED)
    else:
        console.say(f"bundle  {result.bundle}")
        console.say(f"report  {result.report}")
    console.say(f"{result.steps} steps in {time.monotonic() - started:.0f} s")
    return {
        "bundle": str(result.bundle) if result.bundle else None,
        "steps": result.steps,
        "seconds": time.monotonic() - started,
        "warnings": [notice.text for notice in result.notices],
    }


def planned(arguments: argparse.Namespace, dataset: Dataset, init: Bundle | None) -> Plan:
    """The recipe: a file's, or planned from the dataset, with the network that the start of the training asks for.

    Raises:
        InputError: `usage` when the network has an ImageNet encoder and no weights are named for it.
        PlanError: `plan.invalid`.
    """
    from segloop.data import Budget, fingerprint, make_plan
    from segloop.plan import Plan, imagenet_network, with_network

    name = arguments.name or dataset.name
    if arguments.plan is not None:
        plan = Plan.load(arguments.plan)
    else:
        facts = fingerprint(dataset)
        wanted = 2 if arguments.encoder else init.plan.network.dims if init else None
        plan = make_plan(facts, Budget(), name=name, dims=None if wanted == 3 and facts.dims == 2 else wanted)
    if arguments.encoder is not None:
        spec = imagenet_network(arguments.encoder, channels=plan.network.channels, classes=plan.network.classes)
        plan = with_network(plan, spec, f"Network with the ImageNet encoder {arguments.encoder}, as asked for.")
        if plan.training.frozen_fraction == 0:
            plan = plan.changed({"training.frozen_fraction": _FROZEN_FRACTION})
    elif init is not None and arguments.plan is None and init.plan.network.dims == plan.network.dims:
        began = f"{init.manifest.name} {init.manifest.version}"
        plan = with_network(plan, init.plan.network, f"Network as in {began}, whose weights the training starts from.")
    plan = plan.changed(dict(arguments.set) | ({"name": name} if arguments.name else {}))
    if plan.network.encoder and not (init or arguments.encoder_weights):
        raise InputError(
            f"The network has the encoder {plan.network.encoder}, whose statistics stay as they come with its weights, "
            "and no weights are named.",
            code="usage",
            found=None,
            expected="--encoder-weights or --init",
            hint="Add --encoder-weights imagenet, a file or a mirror's URL, or --init with a bundle that has it.",
        )
    return plan


def _require_fresh(out: Path, resume: bool) -> None:
    """Refuse to write over what an earlier training left.

    Raises:
        InputError: `usage`.
    """
    # A cascade's first network has a run of its own in `coarse`.
    left = [name for name in ("bundle", "checkpoint", "coarse") if (out / name).exists()]
    if left and not resume:
        raise InputError(
            f"{out.resolve().name} holds a training already ({' and '.join(left)}).",
            code="usage",
            found=left,
            expected="a new or empty folder",
            hint="Add --resume to go on with it, or choose another folder.",
        )


def _tell(report: TransferReport, console: Console) -> None:
    """What a training starts with."""
    console.say(f"start   {report.origin.name}: {report.share:.0%} of the network's numbers")
    console.table(("part", "taken", "adapted", "fresh", "how, or why not"), report.rows())
    for note in report.notes:
        console.say(note)


def _use_backend(name: str | None) -> None:
    """Set Keras' backend, which must happen before Keras is imported, and load TensorFlow where it is the one."""
    if name is not None:
        os.environ["KERAS_BACKEND"] = name
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        load_tensorflow()


def _command(arguments: argparse.Namespace) -> str:
    """The command as a model card shows it: names of folders, not their place on this machine."""
    words = ["segloop", "train", arguments.dataset.name, "-o", arguments.output.name]
    if arguments.plan is not None:
        words += ["--plan", arguments.plan.name]
    words += ["--fold", "all" if arguments.fold is None else str(arguments.fold)]
    if arguments.time_budget is not None:
        words += ["--time-budget", f"{arguments.time_budget:g}s"]
    if arguments.epochs is not None:
        words += ["--epochs", str(arguments.epochs)]
    words += start_words(arguments)
    for key, value in arguments.set:
        words += ["--set", f"{key}={value}"]
    return shlex.join([*words, "--seed", str(arguments.seed)])


def start_words(arguments: argparse.Namespace) -> list[str]:
    """What a training starts from, as a model card shows it."""
    words = []
    if arguments.encoder is not None:
        words += ["--encoder", arguments.encoder]
    if arguments.init is not None:
        words += ["--init", Path(arguments.init).name]
    if arguments.encoder_weights is not None:
        words += [
            "--encoder-weights",
            "mirror" if _is_url(arguments.encoder_weights) else Path(arguments.encoder_weights).name,
        ]
    return words


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


class _Watch:
    """Shows a person how a training goes: a bar on a terminal, elsewhere a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._share, self._told = -1.0, -math.inf

    def reading(self, done: int, total: int) -> None:
        """Cases read."""
        self._console.progress(done, total, "cases read")

    def __call__(self, epoch: int, total: int, dice: dict[str, float], seconds_left: float) -> None:
        mean = f"Dice {sum(dice.values()) / len(dice):.3f}" if dice else ""
        scores = ", ".join(f"{name} {value:.3f}" for name, value in dice.items()) if len(dice) > 1 else ""
        text = f"{mean}: {scores}" if scores else mean
        if self._console.interactive:
            self._console.progress(epoch, total, f"epochs  {text}".rstrip(), seconds_left)
            return
        share, now = epoch / max(total, 1), time.monotonic()
        if share >= self._share + _TOLD_SHARE or now >= self._told + _TOLD_EVERY_S:
            self._share, self._told = share, now
            self._console.say(f"epoch {epoch} of {total}, {minutes(seconds_left)} left  {text}".rstrip())
