"""The error tree. Every failure that a user can cause or meet has a stable code and an exit status.

    SegloopError                      1   a bug, unless a subclass below says otherwise
    ├── InputError                    2   the files or the arguments given
    │   └── GeometryMismatch          2   two grids that should be one
    ├── PlanError                     3   a Plan that is invalid or cannot be met
    ├── ModelError                    4   a bundle that is damaged, or a runtime that is not there
    ├── PrivacyError                  5   identity found where none may be
    └── ServiceError                  6   the service, a peer, the disk under them

A message says what was found, what was expected and what to do; `found`, `expected` and `hint` hold the three parts for
machines. The codes are listed in `docs/reference/errors.md`, which a test compares with `CODES`.
"""

from __future__ import annotations

from typing import Any, ClassVar

CODES: dict[str, str] = {
    "internal": "A bug in segloop; please report it with the log.",
    "usage": "The command line or a setting is not understood.",
    "input.unreadable": "A file cannot be read: truncated, damaged, or of an unknown format.",
    "input.not_an_image": "A file can be read but holds no image (a report, a structure set, a directory record).",
    "input.empty": "A folder or archive holds no file that could be used.",
    "input.two_patients": "Files of two patients, or one study UID under two patients, in one input.",
    "input.ambiguous_series": "More than one series fits the model; `--series UID` chooses.",
    "input.not_applicable": "The image is not of the kind the model was made for.",
    "input.duplicate": "A SOP instance UID occurs twice with different bytes, or a part of a concatenation twice.",
    "input.unlinkable": "A series lacks the UIDs by which a result refers to it.",
    "input.changed": "A study or a mask is no longer what a draft was made from.",
    "input.prior": "An earlier result to compare with is not there any more, or its files do not belong together.",
    "input.suv": "A PET series lacks what its standardised uptake values need.",
    "input.no_window": "An image states no window, and the model looks at images as they are displayed.",
    "geometry.missing_slices": "A series has a gap where a slice should be.",
    "geometry.mixed_orientation": "The slices of a series do not share one orientation or one grid.",
    "geometry.nonuniform_spacing": "The distance between slices varies.",
    "geometry.gantry_tilt": "The slices are stacked further aslant than any gantry tilts.",
    "geometry.mismatch": "Two images that should lie on one grid do not.",
    "geometry.frame_of_reference": "Images of a series, or it and its segmentation, lie in different patient spaces.",
    "geometry.off_slices": "A contour lies between the slices of the series, aslant to them, or beyond the image.",
    "geometry.invalid": "Spacing, direction or position is absent, not finite, or sheared.",
    "labels.mismatch": "A label map holds values, or a shape, that do not belong to the dataset or model.",
    "labels.overlap": "Segments or structures overlap, so one label map cannot hold them all.",
    "labels.ambiguous": "Several segmentations refer to one series; which one is meant is not known.",
    "labels.no_series": "The series that a segmentation was drawn on is not there, or several fit.",
    "dataset.invalid": "A dataset folder is not in one of the supported layouts.",
    "dataset.faulty": "The data check found faults on which training would fail, or from which it would learn.",
    "dataset.leak": "A patient, or a copy of an image, would be on both sides of a fold.",
    "plan.invalid": "A Plan holds a value that is not allowed.",
    "plan.memory": "No Plan fits the memory budget.",
    "train.diverged": "The training loss is no longer finite.",
    "train.collapsed": "For long the network has called everything background, or everything foreground.",
    "explain.empty": "A region whose score is to be explained holds no voxel.",
    "explain.unsound": "A model's explanation fails its own check.",
    "bundle.corrupt": "A file of a bundle is missing or has other bytes than its manifest says.",
    "bundle.selftest": "A bundle's own test cases come out differently on this machine.",
    "bundle.too_large": "A bundle takes more bytes than allowed where it is to be stored.",
    "bundle.training_case": "A case to be evaluated was used to train the model.",
    "bundle.ensemble": "Something that works on one network was asked of an ensemble of several.",
    "weights.unavailable": "The weights of an encoder are not on this machine and cannot be fetched.",
    "weights.mismatch": "A weights file is damaged or belongs to another encoder.",
    "model.unknown": "No such model, version or stage.",
    "model.mismatch": "A written result says something else than what it was made from, or a server has another model.",
    "runtime.unavailable": "The runtime asked for is not installed or cannot run this model.",
    "backend.mismatch": "Keras is configured for another backend than the one asked for.",
    "identity.found": "A patient's identity stands where none may be.",
    "identity.mismatch": "A result and its source disagree about patient, study or frame of reference.",
    "identity.document": "A document inside a file cannot be cleaned of identity.",
    "pixels.uncleared": "Text burned into the pixels could not be cleared.",
    "mapping.key": "A mapping table was written with another key.",
    "mapping.damaged": "A mapping table fails its own check: damaged, altered, or of an unknown kind.",
    "mapping.busy": "Another process keeps a mapping table to itself.",
    "mapping.unknown": "A result refers to something that the mapping table does not know.",
    "mapping.copy": "A pseudonymised copy was given where a result about copies was expected.",
    "peer.unavailable": "A DICOM or web peer cannot be reached.",
    "peer.refused": "A peer answered, and refused.",
    "peer.garbled": "A peer's answer is none, or is the answer to something else.",
    "peer.untrusted": "A peer's certificate does not prove that it is who it should be.",
    "not_authorised": "The caller may not do this.",
    "worker.lost": "A process that runs or trains a network ended unexpectedly: a crash, no memory left, a host gone.",
    "job.unknown": "No such job, or not one that can be run again.",
    "job.decided": "A result that was rejected, withdrawn or replaced by a newer version cannot be signed.",
    "disk.full": "No space is left to write.",
    "audit.broken": "The audit trail's hash chain does not verify.",
    "setup.missing": "A part of the installation is absent.",
}


class SegloopError(Exception):
    """Base of every error segloop raises on purpose.

    Args:
        message: One or more sentences: what was found, what was expected, what to do.
        code: One of `CODES`; defaults to the class's own.
        found: What was there.
        expected: What should have been.
        hint: What the reader can do.

    Raises:
        ValueError: `code` is not in `CODES`.
    """

    default_code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1

    def __init__(
        self, message: str, *, code: str | None = None, found: Any = None, expected: Any = None, hint: str | None = None
    ) -> None:
        self.code = code or self.default_code
        if self.code not in CODES:
            raise ValueError(f"an error code from CODES is needed. Received: {self.code!r}")
        self.message, self.found, self.expected, self.hint = message, found, expected, hint
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint and self.hint not in self.message else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive the way back from a worker process with all parts."""
        return _rebuild, (type(self), self.message, self.code, self.found, self.expected, self.hint)

    def as_document(self) -> dict[str, Any]:
        """The machine-readable form that `--json` prints and the service stores."""
        plain = (str, int, float, bool, list, tuple, dict, type(None))
        return {
            "code": self.code,
            "message": self.message,
            "found": self.found if isinstance(self.found, plain) else str(self.found),
            "expected": self.expected if isinstance(self.expected, plain) else str(self.expected),
            "hint": self.hint,
        }


def _rebuild(
    kind: type[SegloopError], message: str, code: str, found: Any, expected: Any, hint: str | None
) -> SegloopError:
    return kind(message, code=code, found=found, expected=expected, hint=hint)


class InputError(SegloopError):
    """The files or arguments given cannot be used as they are."""

    default_code = "input.unreadable"
    exit_status = 2


class GeometryMismatch(InputError):  # noqa: N818 - the name users catch, fixed in the interfaces
    """Two images that should share one grid do not."""

    default_code = "geometry.mismatch"


class PlanError(SegloopError):
    """A Plan is invalid, or none fits the budget."""

    default_code = "plan.invalid"
    exit_status = 3


class ModelError(SegloopError):
    """A bundle is damaged or cannot run here."""

    default_code = "bundle.corrupt"
    exit_status = 4


class PrivacyError(SegloopError):
    """Identity was found where none may be, or two identities disagree."""

    default_code = "identity.found"
    exit_status = 5


class ServiceError(SegloopError):
    """The service, one of its peers, or the disk under them failed."""

    default_code = "peer.unavailable"
    exit_status = 6
