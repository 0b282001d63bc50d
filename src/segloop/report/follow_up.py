"""What earlier results of the same patient add to a result: their values, each lesion's way, and the sums.

It holds dates and numbers, and no identity.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field

from segloop.measure.change import VolumeChange
from segloop.measure.lesions import Fate
from segloop.measure.quantities import Measurement, Quantity
from segloop.measure.recist import Response
from segloop.plan import Frozen

State = Literal["draft", "signed", "corrected"]
"""Who stood behind an earlier result when it was compared with: nobody yet, or a person, once or again."""


class Track(Frozen):
    """Under which name a label or one of its parts is known at every date.

    Attributes:
        label: Number in the label map.
        component: 0 for the whole label, 1… for its parts as this result counts them.
        identifier: What people call it, such as `lesion 2`; unique in its result.
        uid: What systems call it.
    """

    label: int = Field(ge=1)
    component: int = Field(ge=0)
    identifier: str = Field(min_length=1, max_length=64)
    uid: str = Field(pattern=r"^[0-9.]{1,64}$")


class Prior(Frozen):
    """An earlier result of the same patient.

    Attributes:
        key: Its study key.
        study_date: When its images were taken.
        model: Name of its model.
        version: Version of its model.
        comparable: Whether the very same model measured it. Values of another one are shown, and not compared.
        state: Who stood behind it.
        measurements: Of the labels that both results have, under the numbers of the later one.
    """

    key: str
    study_date: date
    model: str
    version: str
    comparable: bool
    state: State = "draft"
    measurements: tuple[Measurement, ...]

    def value(self, label: int, component: int, quantity: Quantity) -> Measurement | None:
        """The measurement of one label or part, or None."""
        return find(self.measurements, label, component, quantity)


class LabelChange(Frozen):
    """How the whole of a label changed since the prior that `FollowUp.reference` names.

    Attributes:
        label: Number in the label map.
        change: None where the volume is 0 at one of the dates.
    """

    label: int
    change: VolumeChange | None


class FollowedLesion(Frozen):
    """One lesion at all dates.

    Attributes:
        label: Number in the label map.
        identifier: What it is called at every date.
        uid: Its tracking UID at every date.
        fate: What became of it between the last prior and now.
        seen: Number of its part at each prior and, last, now; None where it was not there.
        appeared: Whether it was not there at first although the image showed the place.
        origin: Identifier of the lesion that it was a part of before that split; empty for others.
        joined: Identifier of the lesion that it merged into; empty for others.
        change: Since the prior that `FollowUp.reference` names; None where there is no one lesion to compare with.
    """

    label: int
    identifier: str
    uid: str
    fate: Fate
    seen: tuple[int | None, ...]
    appeared: bool = False
    origin: str = ""
    joined: str = ""
    change: VolumeChange | None = None


class TargetSums(Frozen):
    """The sum of diameters of RECIST 1.1 at each date.

    Attributes:
        targets: Identifiers of the target lesions.
        sums_mm: At each prior and, last, now; None at one that another model measured or that came before the first
            comparable one.
        response: None where there is nothing to compare with.
    """

    targets: tuple[str, ...]
    sums_mm: tuple[float | None, ...]
    response: Response | None = None


class FollowUp(Frozen):
    """The result among the earlier ones.

    Attributes:
        study_date: When this result's images were taken; None where they do not say.
        priors: From the oldest to the newest; none in a first result.
        reference: Which of them changes are counted from: the newest comparable one; None where there is none.
        placed: How the places of the last prior and this result were brought together: one `frame` of reference, the
            centre of an `organ`, or `not` at all, so that no lesion could be followed. None without priors.
        tracks: Names of labels and parts.
        lesions: Each lesion of any date; none where lesions could not be followed.
        volumes: Change of each whole label.
        sums: None without a lesion large enough to measure.
    """

    study_date: date | None = None
    priors: tuple[Prior, ...] = ()
    reference: int | None = None
    placed: Literal["frame", "organ", "not"] | None = None
    tracks: tuple[Track, ...] = ()
    lesions: tuple[FollowedLesion, ...] = ()
    volumes: tuple[LabelChange, ...] = ()
    sums: TargetSums | None = None

    def track(self, label: int, component: int) -> Track | None:
        """The name of one label or part, or None where it has no other than its number."""
        return next((t for t in self.tracks if (t.label, t.component) == (label, component)), None)


def find(measurements: tuple[Measurement, ...], label: int, component: int, quantity: Quantity) -> Measurement | None:
    """The one measurement of a label or part, or None."""
    wanted = (label, component, quantity)
    return next((m for m in measurements if (m.label, m.component, m.quantity) == wanted), None)
