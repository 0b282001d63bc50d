"""The table of hyper-parameters across runs, as TensorBoard's own plug-in makes it from the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from segloop.plan import Plan
from segloop.train.checkpoint import State
from segloop.train.events import EventFile
from segloop.train.hyperparameters import hyperparameters, session_end, session_start
from training_kit import plan


def log(folder: Path, recipe: Plan, state: State, dice: float) -> None:
    file = EventFile(folder / "logs" / "held-out")
    file.summary(session_start(hyperparameters(recipe, state), folder.name), 0)
    file.scalars({"dice/mean": dice / 2}, 10)
    file.scalars({"dice/mean": dice}, 20)
    file.summary(session_end(), 20)
    file.close()


def table(folder: Path) -> tuple[Any, list[Any]]:
    """The experiment and its rows."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(folder))))
    request, found = RequestContext(), context.hparams_metadata(RequestContext(), "")
    nothing = context.hparams_from_data_provider(request, "", None)
    experiment = context.experiment_from_metadata(request, "", True, found, nothing)
    columns = [api_pb2.ColParams(hparam=info.name) for info in experiment.hparam_infos]
    columns += [api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos]
    asked = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=10,
        col_params=columns,
        allowed_statuses=[api_pb2.STATUS_SUCCESS],
        aggregation_type=api_pb2.AGGREGATION_AVG,
        include_metrics=True,
    )
    return experiment, list(Handler(request, context, "", asked).run().session_groups)


def test_two_runs_are_two_rows_with_what_differs_and_their_last_dice(tmp_path: Path) -> None:
    log(tmp_path / "slow", plan(learning_rate=1e-3), State(plan="p", seed=1, fold=0), 0.8)
    log(tmp_path / "fast", plan(learning_rate=1e-2), State(plan="p", seed=1, fold=0), 0.9)
    experiment, rows = table(tmp_path)
    assert {info.name for info in experiment.hparam_infos if info.differs} == {"training.learning_rate"}
    found = {
        round(row.hparams["training.learning_rate"].number_value, 6): round(row.metric_values[0].value, 4)
        for row in rows
    }
    assert found == {0.001: 0.8, 0.01: 0.9}
    assert sorted(row.name.split()[0] for row in rows) == ["fast", "slow"]


def test_runs_of_one_name_share_a_row_only_when_they_are_the_same(tmp_path: Path) -> None:
    log(tmp_path / "a" / "fold0", plan(learning_rate=1e-3), State(plan="p", seed=1, fold=0), 0.8)
    log(tmp_path / "b" / "fold0", plan(learning_rate=1e-2), State(plan="p", seed=1, fold=0), 0.9)
    log(tmp_path / "c" / "fold0", plan(learning_rate=1e-2), State(plan="p", seed=1, fold=0), 0.7)
    _, rows = table(tmp_path)
    assert sorted(round(row.metric_values[0].value, 4) for row in rows) == [
        0.8,
        0.8,
    ]  # 0.8, and the mean of 0.9 and 0.7
    assert sorted(len(row.sessions) for row in rows) == [1, 2]


def test_values_are_named_as_set_names_them() -> None:
    values = hyperparameters(plan(), State(plan="p", seed=7, fold=None))
    assert values["training.patch"] == "16, 16, 16"
    assert values["network.features"] == "4, 8"
    assert values["network.kernels"] == "3, 3, 3; 3, 3, 3"
    assert (values["training.seed"], values["fold"]) == (7, "all")
    assert values["training.augmentation.noise_probability"] == plan().training.augmentation.noise_probability
