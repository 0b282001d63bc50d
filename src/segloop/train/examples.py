"""Dataset to arrays on the training grid."""

from __future__ import annotations

import numpy as np

from segloop.data.dataset import Dataset
from segloop.data.feed import Example
from segloop.errors import PlanError
from segloop.plan import Plan
from segloop.prep.chain import Chain
from segloop.volume import Labels

MEMORY_BYTES = 2 * 2**30
"""Most that the prepared cases may take together."""


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


def load_examples(plan: Plan, dataset: Dataset, ids: tuple[str, ...]) -> list[Example]:
    """The cases prepared by the Plan's `Chain`, as the network will see them.

    Raises:
        PlanError: `plan.memory` when they do not fit into memory together; `plan.invalid` when dataset and Plan name
            different labels.
        InputError: A case cannot be read; names the case.
    """
    known = {label.value: index for index, label in enumerate(plan.labels, 1)}
    if set(dataset.label_names) - set(known):
        raise PlanError(
            f"The dataset has labels {sorted(dataset.label_names)}, the Plan {sorted(known)}.",
            found=sorted(dataset.label_names),
            expected=sorted(known),
            hint="Plan again from this dataset.",
        )
    chain, size = Chain(plan), 0
    examples: list[Example] = []
    for case_id in ids:
        volume, labels = dataset.read(dataset.case(case_id))
        image, target = chain.prepare(volume).array, chain.labels(labels)
        size += image.nbytes
        if size > MEMORY_BYTES:
            raise PlanError(
                f"The cases take more than {MEMORY_BYTES / 2**30:.0f} GiB ({len(examples)} of {len(ids)} fit).",
                code="plan.memory",
                found=size,
                expected=MEMORY_BYTES,
                hint="Plan a coarser preparation.spacing_mm, or train on fewer cases.",
            )
        if plan.network.dims == 2 and image.shape[0] > 1:
            examples.extend(_slices(case_id, image, classes(target, known)))
        else:
            examples.append(Example(case_id, image, classes(target, known)))
    return examples


def classes(labels: Labels, known: dict[int, int]) -> np.ndarray:
    """Class index of each voxel, uint8, from label numbers; `known` maps number to class."""
    lookup = np.zeros(int(labels.array.max()) + 1, np.uint8)
    for value, index in known.items():
        if value < len(lookup):
            lookup[value] = index
    indices: np.ndarray = lookup[labels.array]
    return indices


def _slices(case_id: str, image: np.ndarray, labels: np.ndarray) -> list[Example]:
    """The slices of a volume as examples of a 2-D network."""
    return [
        Example(f"{case_id}/{z}", np.ascontiguousarray(image[z : z + 1]), np.ascontiguousarray(labels[z : z + 1]))
        for z in range(image.shape[0])
    ]
