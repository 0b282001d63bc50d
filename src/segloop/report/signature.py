"""Who stands behind a result: nobody yet (a draft), or the person who read and signed it."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from segloop.plan import Frozen

_UID = r"^[0-9.]{1,64}$"


class Reference(Frozen):
    """One object of a study that another one refers to.

    Attributes:
        sop_class_uid: What kind of object it is.
        sop_instance_uid: The object.
        series_uid: Its series.
        study_uid: Its study.
    """

    sop_class_uid: str = Field(pattern=_UID)
    sop_instance_uid: str = Field(pattern=_UID)
    series_uid: str = Field(pattern=_UID)
    study_uid: str = Field(pattern=_UID)


class Signature(Frozen):
    """A person's word for a result.

    Attributes:
        observer: Who signs, as a DICOM person name (`Family^Given`).
        organisation: For which organisation; a DICOM LO.
        signed_at: When, with its time zone.
        corrects: SOP instance UID of the signed report that this one corrects; None for a first signature.
    """

    observer: str = Field(min_length=1, max_length=64 * 3 + 2)
    organisation: str = Field(min_length=1, max_length=64)
    signed_at: AwareDatetime
    corrects: str | None = Field(default=None, pattern=_UID)


class Observer(Frozen):
    """A person who decides about a result without signing it.

    Attributes:
        name: A DICOM person name (`Family^Given`).
        organisation: For which organisation; empty where that is not stated.
    """

    name: str = Field(min_length=1)
    organisation: str = ""
