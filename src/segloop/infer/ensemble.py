"""Several bundles as one, which `Registry`, `Segmenter` and the service take like any other.

Every member keeps its own Plan, so a 2-D network may stand beside a 3-D one, and networks of different spacings beside
each other: their probabilities meet on the grid of the image. What is decided from the mean, and how it is cleaned up,
stands in the ensemble's Plan, which otherwise is its first member's.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from segloop.errors import InputError
from segloop.infer.bundle import CARD, PLAN, RESEARCH_USE, SELFTEST, Bundle, Manifest, Member, network_of
from segloop.infer.export import exactly
from segloop.infer.members import given
from segloop.infer.writing import bundle_folder, write_cases, write_manifest
from segloop.measure.intervals import VolumeInterval
from segloop.plan import Plan, Provenance

_CASES = 2


def export_ensemble(  # noqa: PLR0913 - one argument per part of a bundle
    path: Path,
    bundles: Sequence[Bundle],
    weights: Sequence[float] = (),
    *,
    plan: Plan | None = None,
    version: str = "",
    card: str = "",
    metrics: Mapping[str, float] | None = None,
    intervals: Sequence[VolumeInterval] = (),
) -> Bundle:
    """Write an ensemble, whole or not at all, and return it opened.

    Args:
        path: Folder to write; an older bundle there is replaced.
        bundles: The members; of an ensemble among them, its own members are taken with its share.
        weights: Of the bundles in the mean; empty weighs all alike.
        plan: What decides and cleans; the first member's, without its temperature, when None.
        version: Of the ensemble; the first bundle's when empty.
        card: Model card, Markdown; written from the members when empty.
        metrics: Numbers to keep in the manifest.
        intervals: Of volumes.

    Raises:
        InputError: `usage` when the numbers of bundles and weights differ or there is no bundle; `labels.mismatch` when
            the members differ in labels, regions or channels.
        ModelError: `bundle.corrupt`; `backend.mismatch`.
    """
    weights = tuple(weights) or (1.0,) * len(bundles)
    if not bundles or len(weights) != len(bundles) or min(weights) <= 0:
        raise InputError(
            f"An ensemble needs bundles and a positive weight for each; found {len(bundles)} and {list(weights)}.",
            code="usage",
            found=list(weights),
            expected=len(bundles),
        )
    members = _flat(bundles, weights)
    first = members[0][0].plan
    for bundle, _ in members[1:]:
        _require_same_outputs(first, bundle.plan)
    recipe = plan or first.changed({"inference.temperature": 1.0})
    with bundle_folder(path) as folder:
        (folder / "members").mkdir(parents=True)
        for number, (bundle, _) in enumerate(members):
            shutil.copytree(bundle.path, folder / "members" / str(number))
        (folder / PLAN).write_text(recipe.to_json(), "utf-8")
        (folder / CARD).write_text(card or _card(recipe, members), "utf-8")
        _write_selftest(recipe, members, folder / SELFTEST)
        manifest = Manifest(
            schema=1,
            name=recipe.name,
            version=version or bundles[0].manifest.version,
            labels=recipe.labels,
            files={},
            provenance=together([bundle.manifest.provenance for bundle, _ in members]),
            intended_use=_intended_use([bundle for bundle, _ in members]),
            metrics=dict(metrics or {}),
            plan_digest=recipe.digest,
            members=tuple(
                Member(folder=f"members/{number}", digest=bundle.digest, weight=weight)
                for number, (bundle, weight) in enumerate(members)
            ),
            intervals=tuple(intervals),
        )
        write_manifest(folder, manifest)
    return Bundle(path)


def together(parts: Sequence[Provenance]) -> Provenance:
    """Where the weights of several models come from: every image that any of them was trained on, all steps and time.

    What differs between them, such as the fold, is left out. A case that two of them know under one id with different
    images is listed twice.
    """
    images = _each([part.training_images for part in parts])
    voxels = _each([part.training_voxels for part in parts])
    common = {
        name: getattr(parts[0], name)
        for name in Provenance.model_fields
        if all(getattr(part, name) == getattr(parts[0], name) for part in parts)
    }
    datasets = dict.fromkeys(part.dataset for part in parts if part.dataset)
    licences = dict.fromkeys(part.licence for part in parts if part.licence)
    return Provenance(
        **{
            **common,
            "dataset": ", ".join(datasets),
            "licence": ", ".join(licences),
            "training_images": images,
            "training_voxels": voxels,
            "steps": sum(part.steps for part in parts),
            "seconds": round(sum(part.seconds for part in parts), 1),
            "created": max(part.created for part in parts),
        }
    )


def _each(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """All digests by case, sorted; of a case with two of them the second one's name says so."""
    found: dict[str, str] = {}
    for part in parts:
        for case, digest in part.items():
            found[case if found.get(case, digest) == digest else f"{case}@{digest[:12]}"] = digest
    return dict(sorted(found.items()))


def _flat(bundles: Sequence[Bundle], weights: Sequence[float]) -> list[tuple[Bundle, float]]:
    found: list[tuple[Bundle, float]] = []
    for bundle, weight in zip(bundles, weights, strict=True):
        found += [(member, weight * share) for member, share in bundle.members() or ((bundle, 1.0),)]
    return found


def _require_same_outputs(first: Plan, other: Plan) -> None:
    ours = (first.label_names, first.regions, first.inputs.channels)
    theirs = (other.label_names, other.regions, other.inputs.channels)
    if ours != theirs:
        raise InputError(
            f"The members of an ensemble differ: {first.name} has the labels {ours[0]} and {ours[2]} channels, "
            f"{other.name} {theirs[0]} and {theirs[2]}.",
            code="labels.mismatch",
            found=[str(part) for part in theirs],
            expected=[str(part) for part in ours],
            hint="Only models of the same labels, regions and channels can be averaged.",
        )


def _write_selftest(plan: Plan, members: Sequence[tuple[Bundle, float]], folder: Path) -> None:
    """The first member's images with the labels that all members give them together, in float32."""
    networks = [
        exactly(network_of(bundle.plan, bundle.weights()), bundle.coarse() if bundle.plan.coarse else None)
        for bundle, _ in members
    ]
    exact = given([bundle.plan for bundle, _ in members], networks, [weight for _, weight in members])
    images = [image for image, _ in members[0][0].selftest_cases()[:_CASES]]
    write_cases(plan, exact, images, folder)


def _intended_use(bundles: Sequence[Bundle]) -> str:
    """What all members agree on; otherwise research alone."""
    stated = {bundle.manifest.intended_use for bundle in bundles}
    return stated.pop() if len(stated) == 1 else RESEARCH_USE


def _card(plan: Plan, members: Sequence[tuple[Bundle, float]]) -> str:
    total = sum(weight for _, weight in members)
    rows = "\n".join(
        f"| {bundle.manifest.name} {bundle.manifest.version} | {bundle.plan.network.dims}-D | {weight / total:.3f} | "
        f"{'all cases' if bundle.manifest.provenance.fold is None else f'fold {bundle.manifest.provenance.fold}'} |"
        for bundle, weight in members
    )
    cards = "\n\n".join(f"### Member {number}\n\n{bundle.card}" for number, (bundle, _) in enumerate(members))
    names = ", ".join(f"{label.value} {label.name}" for label in plan.labels)
    return f"""# {plan.name}: {len(members)} models together

{RESEARCH_USE}

Segments {names}. The probabilities of the members are averaged on the grid of the image.

| member | network | share | held out |
|---|---|---|---|
{rows}

{cards}
"""


__all__ = ["export_ensemble", "together"]
