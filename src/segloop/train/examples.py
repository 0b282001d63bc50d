"""Dataset to arrays on the training grid."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from segloop.data.dataset import Case, Dataset
from segloop.data.digests import voxels_digest
from segloop.data.feed import Example
from segloop.data.shelf import Shelf
from segloop.errors import InputError, PlanError
from segloop.infer.bundle import Bundle
from segloop.plan import IGNORED, Plan
from segloop.prep.chain import Chain
from segloop.volume import Labels, Volume


def split_ids(plan: Plan, dataset: Dataset, fold: int | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids to train on and ids held out; without a fold every case is trained on.

    Raises:
        PlanError: `plan.invalid` when there is no such fold.
    """
    if fold is None:
        return tuple(case.id for case in dataset.cases), ()
    if not 0 <= fold < plan.training.folds:
        raise PlanError(
            f"There is no fold {fold}; the Plan splits into {plan.training.folds}, counted from 0.",
            found=fold,
            expected=f"0 to {plan.training.folds - 1}",
        )
    return dataset.split(plan.training.folds)[fold]


def cases_digest(dataset: Dataset, training: Sequence[str], held_out: Sequence[str]) -> str:
    """What tells one set of cases from another: ids, image and label files, and who is held out.

    Raises:
        InputError: `input.unreadable` when a file cannot be read; names the case.
    """
    whole = hashlib.sha256()
    for side, ids in (("trained", training), ("held out", held_out)):
        for case_id in sorted(ids):
            case = dataset.case(case_id)
            try:
                whole.update(f"{side}\0{case_id}\0{dataset.digest(case)}\0{dataset.label_digest(case)}\n".encode())
            except OSError as fault:
                raise InputError(f"Case {case_id}: a file cannot be read: {fault.strerror}.", found=case_id) from fault
    return f"sha256:{whole.hexdigest()}"


def seen_by(source: Bundle, dataset: Dataset, ids: Sequence[str]) -> tuple[str, ...]:
    """Which of these cases the weights of a bundle have learnt from, by image file or, where noted, voxels; sorted."""
    provenance = source.manifest.provenance
    images, voxels = set(provenance.training_images.values()), set(provenance.training_voxels.values())

    def seen(case: Case) -> bool:
        with _naming(case.id):
            return dataset.digest(case) in images or (bool(voxels) and dataset.voxels_digest(case) in voxels)

    return tuple(case_id for case_id in sorted(ids) if seen(dataset.case(case_id))) if images else ()


def require_unseen(source: Bundle, dataset: Dataset, held_out: Sequence[str]) -> None:
    """Refuse weights that have learnt from a case which is held out: it would be held out in name only.

    Args:
        source: Whose weights a training is to start from.
        dataset: Its cases.
        held_out: Ids of those that are not to be learnt from.

    Raises:
        InputError: `dataset.leak` with the cases.
    """
    known = seen_by(source, dataset, held_out)
    if known:
        raise InputError(
            f"{source.manifest.name} {source.manifest.version} has learnt from {len(known)} of the {len(held_out)} "
            f"cases that are held out: {', '.join(known[:5])}{' …' if len(known) > 5 else ''}.",
            code="dataset.leak",
            found=list(known[:20]),
            expected="weights that have not seen the cases held out",
            hint="Start from a model of other cases, or train on every case (segloop train --fold all).",
        )


def load_examples(
    plan: Plan,
    dataset: Dataset,
    ids: Sequence[str],
    guides: Callable[[str, Volume], Labels] | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    folder: Path | None = None,
) -> list[Example]:
    """The cases prepared by the Plan's `Chain`, as the network will see them.

    Args:
        plan: The recipe.
        dataset: Where the cases are.
        ids: Which of them.
        guides: What a cascade's coarse network finds in a case, from its id and its image.
        progress: Told how many are read, and of how many.
        folder: Where those that are too many for memory are kept while the process lives; the system's place for
            temporary files if None.

    Raises:
        PlanError: `plan.invalid` when dataset and Plan name different labels.
        InputError: A case cannot be read; names the case.
        ServiceError: `disk.full` when they are too many for memory and there is no room for them.
    """
    known = class_numbers(plan)
    if dataset.ignore_label not in (None, plan.training.ignore_label):
        raise PlanError(
            f"The dataset marks voxels to ignore with {dataset.ignore_label}, the Plan's training.ignore_label is "
            f"{plan.training.ignore_label}.",
            found=plan.training.ignore_label,
            expected=dataset.ignore_label,
            hint=f"Plan again from this dataset, or give --set training.ignore_label={dataset.ignore_label}.",
        )
    if set(dataset.label_names) - set(plan.label_names):
        raise PlanError(
            f"The dataset has labels {sorted(dataset.label_names)}, the Plan {sorted(plan.label_names)}.",
            found=sorted(dataset.label_names),
            expected=sorted(plan.label_names),
            hint="Plan again from this dataset.",
        )
    chain, kept, digests = Chain(plan), Shelf(folder), []
    for number, case_id in enumerate(ids):
        if progress is not None:
            progress(number, len(ids))
        with _naming(case_id):
            volume, labels = dataset.read(dataset.case(case_id))
            digests.append(voxels_digest(volume))
            prepared, target = chain.prepare(volume), chain.labels(labels)
            image = (chain.guided(prepared, guides(case_id, volume)) if guides else prepared).array
        kept.put(image)
        kept.put(classes(target, known))
    examples: list[Example] = []
    arrays = kept.arrays()
    for case_id, image, found, digest in zip(ids, arrays[::2], arrays[1::2], digests, strict=True):
        if plan.network.dims == 2 and len(image) > 1:
            examples.extend(_slices(case_id, image, found, digest))
        else:
            examples.append(Example(case_id, image, found, digest))
    return examples


def class_numbers(plan: Plan) -> dict[int, int]:
    """Class of each label number: 1, 2, … in the Plan's order, and `IGNORED` for the ignore label.

    Raises:
        PlanError: `plan.invalid` when there are more labels than one byte tells apart.
    """
    if len(plan.labels) >= IGNORED:
        raise PlanError(
            f"{len(plan.labels)} labels cannot be trained together.", found=len(plan.labels), expected=IGNORED - 1
        )
    known = {label.value: index for index, label in enumerate(plan.labels, 1)}
    return known if plan.training.ignore_label is None else {**known, plan.training.ignore_label: IGNORED}


def classes(labels: Labels, known: dict[int, int]) -> np.ndarray:
    """Class of each voxel, uint8, from label numbers; `known` maps number to class, as `class_numbers` gives it."""
    lookup = np.zeros(int(labels.array.max()) + 1, np.uint8)
    for value, index in known.items():
        if value < len(lookup):
            lookup[value] = index
    indices: np.ndarray = lookup[labels.array]
    return indices


def voxels_of(examples: Sequence[Example], ids: Sequence[str]) -> dict[str, str]:
    """Digest of the voxels by case, of images with contrast.

    Args:
        examples: Cases, or slices `CASE/NUMBER` of cases.
        ids: The cases.
    """
    known = set(ids)
    named = {e.id if e.id in known else e.id.rpartition("/")[0]: e.voxels for e in examples}
    return {case_id: digest for case_id, digest in named.items() if digest}


def _slices(case_id: str, image: np.ndarray, labels: np.ndarray, digest: str) -> list[Example]:
    """The slices of a volume as examples of a 2-D network."""
    return [
        Example(
            f"{case_id}/{z}", np.ascontiguousarray(image[z : z + 1]), np.ascontiguousarray(labels[z : z + 1]), digest
        )
        for z in range(image.shape[0])
    ]


@contextmanager
def _naming(case_id: str) -> Iterator[None]:
    """Puts the case's id before the message of an error that does not begin with it."""
    try:
        yield
    except InputError as fault:
        if fault.message.startswith(f"Case {case_id}:"):
            raise
        raise type(fault)(
            f"Case {case_id}: {fault.message}",
            code=fault.code,
            found=fault.found,
            expected=fault.expected,
            hint=fault.hint,
        ) from fault
