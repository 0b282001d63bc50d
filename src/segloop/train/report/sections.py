"""The sections of `report.html`: each is empty when there is nothing to say."""

from __future__ import annotations

from collections.abc import Sequence

from segloop.plan import Provenance
from segloop.train.findings import CalibrationCurve, LearningCurve, ReportPage, Suspect, ValidationResult, volume_pairs
from segloop.train.pictures import CONTOURS
from segloop.train.report.figures import (
    agreement,
    bland_altman_chart,
    dice_chart,
    learning_chart,
    loss_chart,
    rate_chart,
    reliability_chart,
)
from segloop.train.report.markup import chart, facts, image, interval, items, number, paragraph, section, table
from segloop.train.scores import Scores

_CASES = {
    "out-of-fold": "Every case was segmented by the model whose fold held it out, whole, as in production.",
    "held-out": "Cases that the model was not trained on, segmented whole, as in production.",
}
_THROUGH = f"Planes through the middle of the thickest error. {CONTOURS}"
_CUT = f"In each plane the slice with most label. {CONTOURS}"


def warnings(page: ReportPage) -> str:
    """What a person should know before believing the rest."""
    listed = items(notice.text for notice in page.notices)
    return section("Warnings", f'<div class="warning">{listed}</div>') if listed else ""


def results(page: ReportPage) -> str:
    """The table with intervals; of a training without scored cases, Dice on patches."""
    if page.validation is not None:
        return section("Results", *_scored(page.validation))
    dice = next((point.dice for point in reversed(page.points) if point.dice), {})
    if not dice:
        return section("Results", paragraph("No case was held out, so nothing was measured."))
    return section(
        "Results",
        table(("Label", "Dice"), [(name, number(value)) for name, value in dice.items()]),
        paragraph(
            "On held-out patches, pooled over voxels, with the averaged weights that the bundle holds. "
            "segloop evaluate measures whole cases, with intervals.",
            "note",
        ),
    )


def _scored(found: ValidationResult) -> list[str]:
    scores = found.scores
    rows = [
        (
            label.name,
            number(label.dice.mean),
            interval(label.dice.ci95),
            number(label.hd95_mm.mean, 2),
            interval(label.hd95_mm.ci95, 2),
            number(label.surface_dice.mean),
            interval(label.surface_dice.ci95),
            str(label.dice.cases),
        )
        for label in scores.labels.values()
    ]
    surface = f"Surface Dice at {scores.tolerance_mm:g} mm"
    head = ("Label", "Dice", "95 % interval", "HD95, mm", "95 % interval", surface, "95 % interval", "Cases")
    mean = "undefined" if scores.mean_dice is None else f"{scores.mean_dice:.3f}"
    return [
        paragraph(f"Mean Dice {mean} over {len(scores.cases)} cases of {scores.dataset}.", "lead"),
        table(head, rows),
        paragraph(f"{_CASES[found.source]} Intervals are bootstrap intervals of the mean over cases.", "note"),
        items(_left_out(scores)),
        facts((fact.name, fact.value) for fact in found.facts),
    ]


def _left_out(scores: Scores) -> list[str]:
    """Why a number is over fewer cases than there are."""
    said = []
    for label in scores.labels.values():
        for name, statistic in (("Dice", label.dice), ("HD95", label.hd95_mm), ("surface Dice", label.surface_dice)):
            if statistic.reason:
                said.append(f"{label.name}, {name}: {statistic.reason}.")
    return said


def curves(page: ReportPage) -> str:
    """Loss, Dice and learning rate over steps."""
    names = list(dict.fromkeys(name for point in page.points for name in point.dice))
    return section(
        "Training",
        chart(loss_chart(page.points), "Loss on augmented training patches, and on patches of held-out cases."),
        chart(dice_chart(page.points, names), "Dice on patches of held-out cases, with the averaged weights."),
        chart(rate_chart(page.points), "Learning rate."),
    )


def overlays(page: ReportPage) -> str:
    """Held-out cases with both contours."""
    drawn = [image(picture) for picture in page.overlays]
    return section("Held-out cases", paragraph(_CUT, "note"), *drawn) if drawn else ""


def worst(page: ReportPage) -> str:
    """The cases that went wrong most, drawn."""
    cases = page.validation.worst if page.validation else ()
    drawn = [
        image(w.picture, f"{w.case}, {w.label}: Dice {number(w.dice)}, HD95 {number(w.hd95_mm, 1)} mm.") for w in cases
    ]
    return section("Worst cases", paragraph(_THROUGH, "note"), *drawn) if drawn else ""


def volumes(page: ReportPage) -> str:
    """Bland-Altman plots, one for each label."""
    if page.validation is None:
        return ""
    pairs = page.validation.volumes or volume_pairs(page.validation.scores)
    # A label that neither drew has no volume to agree on.
    by_label = {
        name: [p for p in pairs if p.label == name and (p.measured_ml > 0 or p.reference_ml > 0)]
        for name in dict.fromkeys(pair.label for pair in pairs)
    }
    kept = {name: own for name, own in by_label.items() if own}
    rows = []
    for name, own in kept.items():
        found = agreement(own)
        bias = (number(found.bias_ml), interval(found.bias_interval))
        rows.append((name, *bias, interval(found.limits_ml), str(found.cases)))
    head = ("Label", "Bias, ml", "95 % interval", "95 % limits of agreement, ml", "Cases")
    return section(
        "Volumes",
        table(head, rows),
        *(
            chart(bland_altman_chart(name, own), f"{name}: bias and limits of agreement are the dashed lines.")
            for name, own in kept.items()
        ),
    )


def learning(page: ReportPage) -> str:
    """How much would more cases bring?"""
    curve = page.validation.learning if page.validation else None
    if curve is None:
        return ""
    return section(
        "More cases",
        paragraph(_answer(curve), "lead"),
        chart(learning_chart(curve), "Error bars and band are 95 % intervals."),
        table(
            ("Training cases", "Mean Dice", "95 % interval"),
            [(str(p.cases), number(p.dice), interval(p.interval)) for p in curve.points],
        ),
        paragraph(curve.note, "note") if curve.note else "",
    )


def _answer(curve: LearningCurve) -> str:
    if curve.gain is None:
        return f"What {curve.more} more cases would bring cannot be told from these points."
    likely = "" if curve.gain_interval is None else f" (95 % interval {interval(curve.gain_interval, 4)})"
    fit = ""
    if curve.a is not None and curve.b is not None and curve.c is not None:
        fit = f" Fitted: Dice = {curve.a:.3f} - {curve.b:.3g} × cases^(-{curve.c:.2f})."
    return f"{curve.more} more cases would bring {curve.gain:+.4f} mean Dice{likely}.{fit}"


def suspects(page: ReportPage) -> str:
    """Expert labels that should be looked at again."""
    found: Sequence[Suspect] = page.validation.suspects if page.validation else ()
    if not found:
        return ""
    rows = [(str(i), s.case, s.label, number(s.dice), s.reason) for i, s in enumerate(found, 1)]
    drawn = [image(s.picture, f"{i}. {s.case}, {s.label}.") for i, s in enumerate(found, 1) if s.picture]
    return section(
        "Labels to look at again",
        paragraph(
            "Expert labels that models which never saw them disagree with most. Some will be right and hard, others "
            "mistakes: open them before training again."
        ),
        table(("Rank", "Case", "Label", "Dice", "Why"), rows),
        *drawn,
    )


def calibration(page: ReportPage) -> str:
    """Whether probabilities can be taken at their word."""
    curve = page.validation.calibration if page.validation else None
    return "" if curve is None else section("Calibration", *_calibrated(curve))


def _calibrated(curve: CalibrationCurve) -> list[str]:
    rows = [("before", "1", number(curve.ece, 4))]
    if curve.ece_after is not None:
        rows.append(("after", f"{curve.temperature:.3g}", number(curve.ece_after, 4)))
    cases = "other cases than those measured on" if curve.held_out else "the same cases"
    chosen = f"The temperature was chosen on {cases}."
    counted = f"Counted: {curve.voxels}. " if curve.voxels else ""
    return [
        table(("Temperature scaling", "Temperature", "Expected calibration error"), rows),
        chart(reliability_chart(curve), "On the dashed line a voxel given 80 % is right in 80 % of cases."),
        paragraph(counted + (chosen if curve.ece_after is not None else ""), "note"),
    ]


def sheet(page: ReportPage) -> str:
    """Augmented samples."""
    return section("Augmentation", image(page.sheet)) if page.sheet else ""


def making(page: ReportPage) -> str:
    """How it was made."""
    return section("How it was made", facts(_made(page.provenance)))


def reasons(page: ReportPage) -> str:
    """Why this plan."""
    return section("Why this plan", items(page.plan.reasons))


def _made(p: Provenance) -> list[tuple[str, str]]:
    held = "none" if p.fold is None else f"fold {p.fold} of {p.folds}"
    # A name before a slash is that of a model whose weights training began from, and whose images count as seen.
    own = sum("/" not in case for case in p.training_images)
    return [
        ("Dataset", f"{p.dataset} ({own} cases trained on, held out: {held})"),
        *([("Began from", p.init)] if p.init else []),
        ("Licence", p.licence or "not stated"),
        ("Steps", f"{p.steps} in {p.seconds / 60:.1f} minutes"),
        ("Machine", f"{p.instruction_set}, {p.threads} threads, {p.precision}"),
        ("Software", f"segloop {p.segloop}, {p.backend or 'TensorFlow ' + p.tensorflow}, Keras {p.keras}"),
        ("Seed", str(p.seed)),
        ("Command", p.command),
    ]
