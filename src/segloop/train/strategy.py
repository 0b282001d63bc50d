"""Several GPUs, or several hosts, that do each step of one training together, through `tf.distribute`.

The Plan's batch is that of all of them: each replica takes its share of every batch, so a training on two hosts learns
what it would learn on one. Keras' own `fit` cannot be used for this. It does not run under
`MultiWorkerMirroredStrategy` (keras-team/keras, issue 20585), and it adds up one loss per replica, while our losses are
pooled over the batch: a Dice of four patches is not the mean of two Dices of two. So the replicas exchange logits and
labels, each computes the loss of the whole batch, and the mean of their gradients is that of one process. Each process
has plain variables, levelled at the start; the same gradients keep them equal to the last bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from jaxtyping import Float

from segloop.errors import InputError, PlanError, ServiceError
from segloop.train.compiling import total_loss
from segloop.train.team import ALONE, Orders, Team

_HEARTBEAT_MS = 4_000
_JOINING_MS = 300_000
_FINGERPRINT_BYTES = 6


class Workers:
    """The processes of a `tf.distribute` strategy.

    Args:
        strategy: Mirrored over the GPUs of this host, or over workers of several.
        workers: How many processes.
        index: Which one this is; 0 decides and writes.
    """

    def __init__(self, strategy: tf.distribute.Strategy, workers: int, index: int) -> None:
        self.strategy, self.workers, self.index = strategy, workers, index
        self.replicas = int(strategy.num_replicas_in_sync)
        self._sums: dict[int, Callable[[Any], Any]] = {}

    @property
    def chief(self) -> bool:
        """True for the one that decides, validates and writes."""
        return self.index == 0

    def share(self, batch: int) -> tuple[int, int]:
        """This process' patches of each batch, as (first, end)."""
        each = batch // self.workers
        return self.index * each, (self.index + 1) * each

    def agree(self, own: Orders) -> Orders:
        """The first worker's orders; `interrupted` when any worker is."""
        if self.workers == 1:
            return own
        mine = [own.progress, own.learning_rate, float(own.stop)] if self.chief else [0.0, 0.0, 0.0]
        progress, rate, stop, interrupted = self._sum(np.array([*mine, float(own.interrupted)]))
        return Orders(float(progress), float(rate), bool(stop), bool(interrupted))

    def level(self, variables: Sequence[keras.Variable]) -> None:
        """Set variables to what the first worker has."""
        if self.workers == 1:
            return
        values = [np.asarray(variable) for variable in variables]
        flat = np.concatenate([np.ravel(value).astype(np.float32) for value in values])
        flat = self._sum(flat if self.chief else np.zeros_like(flat))
        ends = np.cumsum([value.size for value in values])[:-1]
        for variable, value, part in zip(variables, values, np.split(flat, ends), strict=True):
            variable.assign(part.reshape(value.shape).astype(value.dtype))

    def first(self, number: int) -> int:
        """The number that the first worker has, below 2⁵³."""
        return int(self._sum(np.array([float(number) if self.chief else 0.0]))[0]) if self.workers > 1 else number

    def require_same(self, what: str, digest: str) -> None:
        """Refuse to train on different things.

        Args:
            what: In words, for the message.
            digest: Hexadecimal, of what must be the same for all workers.

        Raises:
            PlanError: `plan.invalid`; on every worker that differs from the first.
        """
        own = int(digest[: 2 * _FINGERPRINT_BYTES], 16)
        if self.first(own) != own:
            raise PlanError(
                f"Worker {self.index} was given another {what} than worker 0.",
                found=digest,
                expected="the same on every worker",
                hint="Give every worker the same command and the same files.",
            )

    def _sum(self, numbers: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Elementwise over the processes."""
        function = self._sums.get(len(numbers))
        if function is None:

            def replica(values: tf.Tensor) -> tf.Tensor:
                context = tf.distribute.get_replica_context()
                # Of several GPUs here one speaks for the process.
                first = tf.equal(context.replica_id_in_sync_group % (self.replicas // self.workers), 0)
                return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(first, values, tf.zeros_like(values)))

            def summed(values: tf.Tensor) -> tf.Tensor:
                return self.strategy.experimental_local_results(self.strategy.run(replica, args=(values,)))[0]

            function = self._sums[len(numbers)] = tf.function(summed, autograph=False)
        with _told_apart():
            return np.asarray(function(tf.constant(numbers)))


class TeamStep:
    """One step after the other, done by all workers together.

    Args:
        model: From `compiled`, levelled.
        feed: This process' share of endless batches (image, (labels,)).
        team: The workers.
    """

    def __init__(self, model: keras.Model, feed: tf.data.Dataset, team: Workers) -> None:
        strategy, local = team.strategy, team.replicas // team.workers
        variables = list(model.trainable_variables)
        batches = iter(feed)
        self._feed = feed  # with the file that its cases may lie in

        def replica(image: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
            context = tf.distribute.get_replica_context()
            each = image.shape[0] // local
            place = context.replica_id_in_sync_group
            first = place % local * each
            image, labels = image[first : first + each], labels[first : first + each]
            with tf.GradientTape() as tape:
                outputs = model(image, training=True)
                outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
                everyone = [_together(output, place, team.replicas) for output in outputs]
                classes = tf.cast(_together(tf.cast(labels, tf.float32), place, team.replicas), tf.uint8)
                loss = total_loss(model, classes, everyone)
            gradients = tape.gradient(loss, [variable.value for variable in variables])
            return loss, context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)

        def do() -> tf.Tensor:
            image, (labels,) = batches.get_next()
            loss, gradients = strategy.run(replica, args=(image, labels))
            local_results = strategy.experimental_local_results
            model.optimizer.apply([local_results(gradient)[0] for gradient in gradients], variables)
            return local_results(loss)[0]

        self._do = tf.function(do, autograph=False)

    def __call__(self) -> Any:
        """See `Step`.

        Raises:
            ServiceError: `worker.lost`.
        """
        with _told_apart():
            return self._do()


def find_team(batch: int) -> Team:
    """Who trains together here: the workers named by `TF_CONFIG`, the GPUs of this machine, or one process alone.

    Must come before TensorFlow has computed anything.

    Args:
        batch: Patches of a step, of all together.

    Raises:
        InputError: `usage` when `TF_CONFIG` cannot be understood.
        PlanError: `plan.invalid` when the batch cannot be shared evenly.
        ServiceError: `worker.lost` when the other workers do not come.
    """
    gpus = tf.config.list_physical_devices("GPU")
    cluster = _cluster()
    if cluster is not None:
        team = _joined(*cluster)
    elif len(gpus) > 1:
        team = Workers(tf.distribute.MirroredStrategy(), 1, 0)
    else:
        return ALONE
    if batch % team.replicas:
        raise PlanError(
            f"A batch of {batch} patches cannot be shared by {team.replicas} processors.",
            found=batch,
            expected=f"a multiple of {team.replicas}",
            hint=f"Train with --set training.batch={-(-batch // team.replicas) * team.replicas}.",
        )
    return team


def _cluster() -> tuple[int, int] | None:
    """Number of workers and the index of this one; None where `TF_CONFIG` names no other."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        document = json.loads(text or "{}")
        workers = document.get("cluster", {}).get("worker", [])
        index = int(document["task"]["index"]) if len(workers) > 1 else 0
        if not 0 <= index < max(1, len(workers)) or (len(workers) > 1 and document["task"]["type"] != "worker"):
            raise ValueError(text)
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise InputError(
            "The environment variable TF_CONFIG cannot be understood.",
            code="usage",
            found=text[:200],
            expected='{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}',
            hint="Mend it, or unset it to train alone.",
        ) from fault
    return (len(workers), index) if len(workers) > 1 else None


def _joined(workers: int, index: int) -> Workers:
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    _shorten_heartbeat(workers)
    with _told_apart():
        strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    return Workers(strategy, workers, index)


def _shorten_heartbeat(workers: int) -> None:
    """Find out about a dead worker in seconds: TensorFlow waits ten for a sign of life, and an hour for the first."""
    # TensorFlow has no public name for this; the strategy leaves a configuration alone that it finds.
    from tensorflow.compiler.xla.tsl.protobuf.coordination_config_pb2 import CoordinatedJob
    from tensorflow.python.eager import context

    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        coordinated_jobs=[CoordinatedJob(name="worker", num_tasks=workers)],
        heartbeat_timeout_in_ms=_HEARTBEAT_MS,
        cluster_register_timeout_in_ms=_JOINING_MS,
    )


def _together(part: tf.Tensor, place: Any, replicas: int) -> tf.Tensor:
    """The parts of all replicas, one after the other along the first axis, differentiable.

    As a sum of parts padded with zeros: gathering has no gradient across hosts.
    """
    each, rest = part.shape[0], len(part.shape) - 1
    padded = tf.pad(part, [[place * each, (replicas - 1 - place) * each], *[[0, 0]] * rest])
    padded = tf.ensure_shape(padded, (replicas * each, *part.shape[1:]))
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, padded)


@contextmanager
def _told_apart() -> Iterator[None]:
    """Turns TensorFlow's error about a peer into ours; others pass."""
    try:
        yield
    except tf.errors.OpError as fault:
        lost = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
        if not isinstance(fault, lost) and "ollective" not in str(fault):
            raise
        raise ServiceError(
            "Another worker of this training is gone; the last good checkpoint is kept.",
            code="worker.lost",
            found=str(fault.message)[:300],
            hint="Start every worker again with --resume.",
        ) from fault
