"""What models say of cases they were not trained on: the only predictions that anything may be chosen from.

Each is kept as a file: the probabilities around the structures, as the production `Segmenter` gives them on the image's
own grid, with the expert's labels there and the hashes of image and model. Whoever opens the files gives the models as
well, and a case that its model was trained on is refused.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Integer

from segloop.data.dataset import Case, Dataset
from segloop.errors import InputError
from segloop.infer.bundle import Bundle
from segloop.infer.engine import Segmenter
from segloop.plan import Plan
from segloop.prep import Decision
from segloop.store import READABLE, write_whole
from segloop.train.evaluation import training_cases
from segloop.volume import Geometry, Labels, Vector

# Where nothing but background is at least this probable, and the expert drew nothing either, is left out.
_CERTAIN = 0.99
_MARGIN = 3
_KEPT_BYTES = 2**30


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """One case as a model saw it that was not trained on it.

    Args:
        case: Its id.
        fold: That held it out.
        image: SHA-256 (hex) of the image, as `Dataset.digest` gives it.
        model: Digest of the bundle.
        probabilities: float32, one channel first for each output of the network, with the bundle's own temperature and
            without its bias, before clean-up.
        reference: The expert's labels.
        geometry: The part of the image's grid that all structures lie in.
    """

    case: str
    fold: int
    image: str
    model: str
    probabilities: Float[np.ndarray, "k z y x"]
    reference: Integer[np.ndarray, "z y x"]
    geometry: Geometry


class Predictions:
    """Held-out cases of several folds, one at a time; all of them stay in memory while they fit into 1 GiB.

    Args:
        plan: The recipe all models share.
        folds: Each fold's bundle, and the folder its held-out cases were kept in.

    Raises:
        InputError: `bundle.training_case` when a model was trained on a case of its own; `input.unreadable` when a file
            is damaged or was made by another model.
    """

    def __init__(self, plan: Plan, folds: Iterable[tuple[Bundle, Path]]) -> None:
        self.plan = plan
        self._files = [(bundle, file) for bundle, folder in folds for file in sorted(folder.glob("*.npz"))]
        self._kept: dict[Path, HeldOut] = {}
        self._room = _KEPT_BYTES

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[HeldOut]:
        for bundle, file in self._files:
            if file in self._kept:
                yield self._kept[file]
                continue
            found = _read(file, bundle)
            size = found.probabilities.nbytes + found.reference.nbytes
            if size <= self._room:
                self._room -= size
                self._kept[file] = found
            yield found


def keep_prediction(segmenter: Segmenter, dataset: Dataset, case: Case, fold: int, file: Path) -> None:
    """Segment a held-out case with the production `Segmenter` and keep what was found in `file`.

    Raises:
        InputError: `bundle.training_case` when the model was trained on the case.
    """
    if training_cases(segmenter.bundle, dataset, [case]):
        raise _trained_on(case.id, segmenter.bundle)
    volume, reference = dataset.read(case)
    prediction = segmenter(volume, keep_probabilities=True)
    assert prediction.probabilities is not None  # they were asked for
    box = _around(prediction.probabilities, reference.array, regions=bool(segmenter.plan.regions))
    found = HeldOut(
        case.id,
        fold,
        dataset.digest(case),
        segmenter.bundle.digest,
        np.moveaxis(prediction.probabilities[box], -1, 0),
        reference.array[box],
        _cropped(reference.geometry, box),
    )
    write(found, file)


def decided(found: HeldOut, decision: Decision, names: Mapping[int, str]) -> Labels:
    """The label map that a decision makes of a held-out case, before clean-up."""
    return Labels(decision.labels(found.probabilities), found.geometry, names)


def recalibrated(found: HeldOut, plan: Plan, temperature: float) -> HeldOut:
    """The same case with the probabilities that another temperature than the Plan's gives.

    Exact where the network's grid is the image's; else close, since probabilities were interpolated in between.
    """
    own = Decision.of(plan)
    if temperature == own.temperature:
        return found
    scores = own.scores(found.probabilities)
    return replace(found, probabilities=replace(own, temperature=temperature).probabilities(scores))


def _around(
    probabilities: Float[np.ndarray, "z y x k"], reference: Integer[np.ndarray, "z y x"], *, regions: bool
) -> tuple[slice, slice, slice]:
    """The box in which anything is possible, a little wider; the middle voxel when nothing is anywhere."""
    possible = (probabilities > 1 - _CERTAIN).any(-1) if regions else probabilities[..., 0] < _CERTAIN
    possible |= reference > 0
    ends = []
    for axis, size in enumerate(possible.shape):
        used = np.flatnonzero(possible.any(axis=tuple(a for a in range(3) if a != axis)))
        low, high = (int(used[0]), int(used[-1])) if used.size else (size // 2, size // 2)
        ends.append(slice(max(0, low - _MARGIN), high + _MARGIN + 1))
    return (ends[0], ends[1], ends[2])


def _cropped(geometry: Geometry, box: Sequence[slice]) -> Geometry:
    z, y, x = (part.indices(n)[1] - part.start for part, n in zip(box, geometry.shape, strict=True))
    ox, oy, oz = geometry.to_lps(np.array([part.start for part in box], float)).tolist()
    return replace(geometry, shape=(z, y, x), origin_mm=(ox, oy, oz))


def write(found: HeldOut, file: Path) -> None:
    """Keep a held-out case; probabilities in half precision."""
    grid = found.geometry
    facts = {
        "case": found.case,
        "fold": found.fold,
        "image": found.image,
        "model": found.model,
        "spacing_mm": grid.spacing_mm,
        "origin_mm": grid.origin_mm,
        "direction": grid.direction,
    }
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        probabilities=found.probabilities.astype(np.float16),
        reference=found.reference,
        facts=np.frombuffer(json.dumps(facts).encode(), np.uint8),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(buffer.getvalue(), file, READABLE)


def _read(file: Path, bundle: Bundle) -> HeldOut:
    try:
        with np.load(file, allow_pickle=False) as archive:
            facts = json.loads(archive["facts"].tobytes())
            probabilities = archive["probabilities"].astype(np.float32)
            reference = archive["reference"]
            z, y, x = reference.shape
            rows: list[Vector] = [(row[0], row[1], row[2]) for row in facts["direction"]]
            geometry = Geometry(
                (z, y, x), tuple(facts["spacing_mm"]), tuple(facts["origin_mm"]), (rows[0], rows[1], rows[2])
            )
            found = HeldOut(
                facts["case"], facts["fold"], facts["image"], facts["model"], probabilities, reference, geometry
            )
    except (OSError, ValueError, KeyError, BadZipFile) as fault:
        raise _unreadable(file, type(fault).__name__) from fault
    if found.model != bundle.digest:
        raise _unreadable(file, f"made by {found.model[:19]}, not by {bundle.digest[:19]}")
    if found.image in bundle.manifest.provenance.training_images.values():
        raise _trained_on(found.case, bundle)
    return found


def _trained_on(case: str, bundle: Bundle) -> InputError:
    return InputError(
        f"Case {case} was used to train {bundle.manifest.name} {bundle.manifest.version}; nothing may be chosen from "
        "what a model says of its own training cases.",
        code="bundle.training_case",
        found=case,
        expected="a case the model has not seen",
        hint="Predict every case with the fold that held it out.",
    )


def _unreadable(file: Path, why: str) -> InputError:
    return InputError(
        f"The held-out prediction {file.name} cannot be used ({why}).",
        found=why,
        hint="Remove the fold's held-out folder; the next run predicts its cases again.",
    )
