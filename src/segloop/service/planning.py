"""Which models a study goes to, and why not the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segloop.errors import InputError
from segloop.infer import Bundle
from segloop.io import dicom
from segloop.plan import Frozen
from segloop.registry import Registry, Stage
from segloop.service.earlier import Beside
from segloop.service.ticket import Basis
from segloop.settings import Destination, Settings, When
from segloop.study import ObjectForm, StudyTask, study_key

_DOES_NOT_CONCERN = frozenset({"input.not_applicable", "input.ambiguous_series"})


class Match(Frozen):
    """A model that applies to a study.

    Attributes:
        key: Study key: changes with any slice of the chosen series, the model and the settings, and with nothing else.
        name: Name of the model.
        task: What the workflow's steps get.
        destinations: Names of the destinations.
        patient: Token of the patient; None where nobody looked.
        priors: What the task's priors are.
    """

    key: str
    name: str
    task: StudyTask
    destinations: tuple[str, ...]
    patient: str | None = None
    priors: tuple[Basis, ...] = ()


class Refusal(Frozen):
    """A model that does not apply, and why. The text may quote series descriptions."""

    model: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Route:
    """What a study is to be done with.

    Attributes:
        matches: Models that apply.
        refusals: Models that do not.
        fault: Why the study needs a person; None when there is a match, or when no model simply applies.
    """

    matches: tuple[Match, ...]
    refusals: tuple[Refusal, ...]
    fault: InputError | None


def alone(series: dicom.SeriesRef, model: str, bundle: Bundle) -> Beside:
    """A study that is set beside nothing."""
    return Beside()


def route(
    source: Path,
    files: Sequence[str],
    settings: Settings,
    jobs: Path,
    revision: str = "",
    beside: Callable[[dicom.SeriesRef, str, Bundle], Beside] = alone,
) -> Route:
    """The models for a study.

    Args:
        source: Folder of the study's instances.
        files: Names below `source` that make up this version of the study.
        settings: Rules, models, report.
        jobs: Folder below which each job gets one.
        revision: Tells results from those of earlier versions that were withdrawn.
        beside: What the result of a series is to be set beside, for a model as the rule names it and its bundle.

    Raises:
        InputError: The study cannot be read, holds two patients, or holds no image.
        ModelError: A model that a rule names is unknown or damaged.
    """
    registry = Registry(settings.models.registry)
    with dicom.opened(source, files) as found:
        series = dicom.scan_files(found, uneven=settings.study.uneven_slices)
        matches: list[Match] = []
        refusals: list[Refusal] = []
        faults: list[InputError] = []
        for model, destinations in _candidates(series, registry, settings):
            bundle = registry.load(model)
            name = bundle.manifest.name
            try:
                chosen = dicom.select(series, bundle.plan.inputs).chosen
                chosen.require_linkable()
            except InputError as fault:
                refusals.append(Refusal(model=name, code=fault.code, message=str(fault)))
                if settings.rule or fault.code not in _DOES_NOT_CONCERN:
                    faults.append(fault)
                continue
            others = beside(chosen, model, bundle)
            task = StudyTask(
                source=source,
                out=jobs,
                model=model,
                series_uid=chosen.series_uid,
                files=tuple(files),
                registry=settings.models.registry,
                runtime=settings.models.runtime,
                language=settings.report.language,
                paper=settings.report.paper,
                uneven_slices=settings.study.uneven_slices,
                priors=tuple(one.key for one in others.found),
                prior_folders=tuple(one.folder for one in others.found),
                revision=revision,
                forms=_forms(settings, destinations),
            )
            key = study_key(dicom.digests(chosen), bundle.digest, task.settings_digest)
            task = task.model_copy(update={"out": jobs / key / "out"})
            matches.append(
                Match(
                    key=key,
                    name=name,
                    task=task,
                    destinations=destinations,
                    patient=others.patient,
                    priors=tuple(one.basis for one in others.found),
                )
            )
    return Route(tuple(matches), tuple(refusals), None if matches or not faults else faults[0])


def form_of(goal: Destination) -> ObjectForm:
    """How a destination wants DICOM objects."""
    return ObjectForm(seg=goal.seg, rtstruct=goal.rtstruct)


def _forms(settings: Settings, destinations: Sequence[str]) -> tuple[ObjectForm, ...]:
    """The forms beside the usual one that destinations want, in the order of the settings."""
    wanted = [form_of(goal) for goal in settings.destination if goal.name in destinations]
    return tuple(form for form in dict.fromkeys(wanted) if form != ObjectForm())


def _candidates(
    series: Sequence[dicom.SeriesRef], registry: Registry, settings: Settings
) -> list[tuple[str, tuple[str, ...]]]:
    everywhere = tuple(goal.name for goal in settings.destination)
    if settings.rule:
        return [
            (rule.model, rule.destinations or everywhere)
            for rule in settings.rule
            if any(_holds(rule.when, one) for one in series)
        ]
    # The version is pinned, so that a promotion in the middle of a job cannot change its model.
    models = [f"{e.name}@{e.version}" for e in registry.list() if Stage.production in e.stages]
    return [(model, everywhere) for model in models]


def _holds(when: When, series: dicom.SeriesRef) -> bool:
    description = series.description.casefold()
    return (not when.modalities or series.modality in when.modalities) and (
        not when.description_contains or any(word.casefold() in description for word in when.description_contains)
    )
