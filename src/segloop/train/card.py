"""The model card: what a bundle was made from, how good it is, what it is for and not for."""

from __future__ import annotations

from collections.abc import Mapping

from segloop.infer.bundle import RESEARCH_USE
from segloop.plan import NetworkSpec, Plan, Provenance


def model_card(
    plan: Plan, provenance: Provenance, version: str, dice: Mapping[str, float], held_out: int, total: int
) -> str:
    """Markdown with data, licence, metrics, intended use and limits.

    Args:
        plan: The recipe.
        provenance: Where the weights come from.
        version: Of the model.
        dice: Dice by label name on the held-out patches; empty when every case was trained on.
        held_out: Cases not trained on.
        total: Cases of the dataset.
    """
    names = ", ".join(f"{label.value} {label.name}" for label in plan.labels)
    p, network, training = provenance, plan.network, plan.training
    minutes = p.seconds / 60
    return f"""# {plan.name} {version}

{RESEARCH_USE}

## What it does
Segments {names} in {_kind(plan)}.
A {network.dims}-D U-Net with {" ".join(map(str, network.features))} feature maps{_parts(plan.network)}.

## Data
{p.dataset or "Unnamed dataset"}: {total - held_out} of {total} cases trained on{_fold(p)}.
The manifest lists the SHA-256 of every training image.
Licence of the data: {p.licence or "not stated by the dataset; ask its owner before passing the weights on"}.

## Metrics
{_metrics(dice)}

## Intended use
Research on images of the kind described by the plan's `inputs`; others are refused.
Results need review by a qualified person.

## Limits
- Learnt from one dataset; scanners, protocols, ages and diseases that it lacks are untested.
- Measures follow the experts who drew the training labels, with their habits.
- An image in which the structure is absent, cut off or distorted by disease may still get a label.

## How it was made
{p.steps} steps of {training.batch} patches of {" × ".join(map(str, training.patch))} voxels in {minutes:.1f} minutes,
{p.precision} on {p.instruction_set} with {p.threads} threads, seed {p.seed}.
{_began(p)}segloop {p.segloop}, {p.backend or "TensorFlow " + p.tensorflow}, Keras {p.keras}.

    {p.command or "segloop train"}
"""


def _kind(plan: Plan) -> str:
    modalities = " or ".join(plan.inputs.modalities)
    spacing = plan.preparation.spacing_mm
    grid = f" brought to {' × '.join(f'{s:g}' for s in spacing)} mm" if spacing else ""
    return f"{modalities + ' ' if modalities else ''}images{grid}"


def _parts(network: NetworkSpec) -> str:
    """What its encoder and skip connections have that a plain U-Net's have not."""
    encoder = f"the ImageNet encoder {network.encoder}" if network.encoder else ""
    residual = "residual blocks" if network.block == "residual" else ""
    named = [part for part in (encoder, residual, "attention gates" if network.attention else "") if part]
    return f", with {' and '.join(named)}" if named else ""


def _began(provenance: Provenance) -> str:
    """A line about other weights that training began from; nothing when they were drawn."""
    return f"The weights began from {provenance.init}, whose licence stands above with the data's.\n" * bool(
        provenance.init
    )


def _fold(provenance: Provenance) -> str:
    return "" if provenance.fold is None else f" (fold {provenance.fold} of {provenance.folds} held out)"


def _metrics(dice: Mapping[str, float]) -> str:
    if not dice:
        return (
            "Every case was trained on, so none is left to measure with. "
            "Cross-validated figures belong to the same plan trained with folds held out."
        )
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in dice.items())
    return (
        "Dice on patches of held-out cases, pooled over voxels, as seen in training; "
        f"`segloop evaluate` gives the figures per case with intervals.\n\n"
        f"| label | Dice |\n|---|---|\n{rows}\n| mean | {sum(dice.values()) / len(dice):.3f} |"
    )
