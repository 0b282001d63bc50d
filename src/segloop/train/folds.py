"""Which cases are trained on and which are held out, and the guard that no patient is ever on both sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from segloop.data.checks.patients import named_alike
from segloop.data.dataset import Dataset
from segloop.errors import InputError


@dataclass(frozen=True, slots=True)
class Fold:
    """One part of a cross-validation.

    Args:
        number: Counted from 0.
        training: Ids trained on, sorted.
        held_out: Ids scored, sorted.
        site: The site held out; empty unless folds are sites.
    """

    number: int
    training: tuple[str, ...]
    held_out: tuple[str, ...]
    site: str = ""


def make_folds(dataset: Dataset, folds: int = 5, *, leave_site_out: bool = False) -> tuple[Fold, ...]:
    """Every case held out once: in nnU-Net's own split of the patients, or site by site.

    Args:
        dataset: Whose cases are cut; patients and sites as `data.groups` reads them.
        folds: Number of parts; sites are as many as there are.
        leave_site_out: Hold out one site at a time, in the order of their names.

    Raises:
        InputError: `usage` when there are too few patients or sites; `dataset.invalid` when sites are asked for and not
            stated; `dataset.leak` when a patient would be on both sides.
    """
    parts = _sites(dataset) if leave_site_out else [("", held) for _, held in dataset.split(folds)]
    ids = [case.id for case in dataset.cases]
    made = tuple(
        Fold(number, tuple(sorted(set(ids) - set(held))), tuple(sorted(held)), site)
        for number, (site, held) in enumerate(parts)
    )
    require_apart(dataset, made)
    return made


def require_apart(dataset: Dataset, folds: Sequence[Fold]) -> None:
    """Refuse folds in which a patient, or a copy of an image, is both trained on and held out.

    Copies are found by the SHA-256 of the image files, so they are found under any name.

    Raises:
        InputError: `dataset.leak` with the cases; `dataset.invalid` when a case is not held out exactly once.
    """
    held = sorted(case for fold in folds for case in fold.held_out)
    if held != sorted(case.id for case in dataset.cases):
        raise InputError(
            "The folds do not hold out every case exactly once.",
            code="dataset.invalid",
            found=len(held),
            expected=len(dataset.cases),
        )
    kinds = (("patient", _patients(dataset)), ("image", _images(dataset)))
    for fold in folds:
        for what, of in kinds:
            shared = {of[case] for case in fold.training} & {of[case] for case in fold.held_out}
            if shared:
                cases = sorted(case for case, group in of.items() if group in shared)
                raise InputError(
                    f"Fold {fold.number} would train on a {what} that it holds out: {', '.join(cases[:6])}.",
                    code="dataset.leak",
                    found=cases[:20],
                    expected=f"each {what} on one side",
                    hint="State in groups.csv which cases are of one patient, or remove the copies.",
                )


def torn_apart(dataset: Dataset, training: Iterable[str], held_out: Iterable[str]) -> tuple[str, ...]:
    """A warning, or none, that one patient is on both sides, as far as the names of cases tell.

    The dataset's own word is not doubted: where it states patients, `require_apart` keeps them together.

    Args:
        dataset: Whose cases they are.
        training: Ids trained on.
        held_out: Ids held out.
    """
    if any(case.patient != case.id for case in dataset.cases):
        return ()
    sides = set(training), set(held_out)
    torn = {
        who: cases
        for who, cases in named_alike(case.id for case in dataset.cases).items()
        if all(side & set(cases) for side in sides)
    }
    if not torn:
        return ()
    who, cases = next(iter(torn.items()))
    return (
        f"{len(torn)} patients seem to be trained on and held out as well, by the names of their cases (such as {who}: "
        f"{', '.join(cases[:4])}), which makes scores too good. State in groups.csv which cases are of one patient; "
        "`segloop check --fix` writes it.",
    )


def _patients(dataset: Dataset) -> dict[str, str]:
    return {case.id: case.patient for case in dataset.cases}


def _images(dataset: Dataset) -> dict[str, str]:
    return {case.id: dataset.voxels_digest(case) or dataset.digest(case) for case in dataset.cases}


def _sites(dataset: Dataset) -> list[tuple[str, list[str]]]:
    sites: defaultdict[str, list[str]] = defaultdict(list)
    for case in dataset.cases:
        sites[case.site].append(case.id)
    if "" in sites:
        raise InputError(
            f"{dataset.name} does not say which site its cases come from.",
            code="dataset.invalid",
            found=sites[""][:5],
            expected="a site for every case",
            hint="State them in groups.csv (columns case and site), or in dataset.json under `groups`.",
        )
    if len(sites) < 2:
        raise InputError(
            f"All cases of {dataset.name} come from one site, {next(iter(sites))}; none can be left out.",
            code="usage",
            found=len(sites),
            expected="at least two sites",
            hint="Leave out --leave-site-out.",
        )
    return sorted(sites.items())
