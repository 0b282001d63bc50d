"""Which one series a model is meant for, and why not the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from segloop.errors import InputError
from segloop.io.dicom.refs import SeriesRef
from segloop.io.rules import Stated, matches
from segloop.plan import SeriesRule


class Refused(NamedTuple):
    """A series that was not taken, and why."""

    series: SeriesRef
    reasons: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Title and reasons in one line."""
        return f"{self.series.title}: {'; '.join(reason.rstrip('.') for reason in self.reasons)}."


@dataclass(frozen=True, slots=True)
class Selection:
    """One series taken, all others refused with reasons."""

    chosen: SeriesRef
    refused: tuple[Refused, ...]


def select(found: Sequence[SeriesRef], rule: SeriesRule, series_uid: str | None = None) -> Selection:
    """Exactly one series that fits a rule.

    Args:
        found: From `scan`.
        rule: The Plan's rule.
        series_uid: Take this series; it must fit as well.

    Raises:
        InputError: `input.not_applicable` with a reason for every series; `input.ambiguous_series` with the list of
            candidates; the fault's own code (such as `geometry.missing_slices`) when the one series that might have
            fitted is faulty.
    """
    judged = [Refused(series, _reasons(series, rule)) for series in found]
    if series_uid is not None:
        asked = [entry for entry in judged if entry.series.series_uid == series_uid]
        if not asked:
            raise InputError(
                f"No series has the UID {series_uid}.",
                code="input.not_applicable",
                found=[entry.series.series_uid for entry in judged],
                expected=series_uid,
                hint="One of: " + "; ".join(f"{e.series.series_uid} ({e.series.title})" for e in judged),
            )
        asked[0].series.require_readable()
        if asked[0].reasons:
            raise _none_fits(asked)
        others = tuple(
            Refused(e.series, e.reasons or ("another series was asked for",)) for e in judged if e is not asked[0]
        )
        return Selection(asked[0].series, others)
    fitting = [entry.series for entry in judged if not entry.reasons]
    if len(fitting) > 1:
        raise InputError(
            f"{len(fitting)} series fit the model: "
            + "; ".join(f"{s.title}, UID {s.series_uid}" for s in fitting)
            + ".",
            code="input.ambiguous_series",
            found=[s.series_uid for s in fitting],
            expected=1,
            hint="Choose one with --series UID.",
        )
    if not fitting:
        faulty = [s for s in found if s.faults and s.is_image and not _rule_reasons(s, rule)]
        if len(faulty) == 1:
            faulty[0].require_readable()
        raise _none_fits(judged)
    return Selection(fitting[0], tuple(entry for entry in judged if entry.reasons))


def _reasons(series: SeriesRef, rule: SeriesRule) -> tuple[str, ...]:
    return (*(fault.message for fault in series.faults), *(_rule_reasons(series, rule) if series.is_image else ()))


def _rule_reasons(series: SeriesRef, rule: SeriesRule) -> tuple[str, ...]:
    survey = ("it is a localizer (survey image)",) if series.localizer else ()
    stated = Stated(series.body_part, series.contrast, series.derived, series.slice_thickness_mm)
    return (*survey, *matches(rule, series.geometry, series.modality, series.description, series.channels, stated))


def _none_fits(judged: Sequence[Refused]) -> InputError:
    return InputError(
        "No series fits the model. " + " ".join(entry.sentence[0].upper() + entry.sentence[1:] for entry in judged),
        code="input.not_applicable",
        found=[entry.sentence for entry in judged],
        expected="a series as the model's plan describes it",
        hint="Choose another model, or send the series the model was made for.",
    )
