"""`report.html`: one page on how a training went, complete in itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from segloop.plan import Plan, Provenance
from segloop.train.checkpoint import Point

_WIDTH, _HEIGHT, _MARGIN = 720, 260, 44
_COLOURS = ("#c8552c", "#2c6fc8", "#3a9a5b", "#8a4fc2", "#b08a1e", "#4d4d4d")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 48rem; padding: 0 1rem }
body { color: #1d2125; background: #fff } table { border-collapse: collapse }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #ddd }
svg { width: 100%; height: auto } .note { color: #5c6670 }
"""


def html_report(plan: Plan, provenance: Provenance, version: str, points: Sequence[Point]) -> str:
    """The page: loss and Dice curves, how it was made, why the Plan is as it is. It asks for no outside resource."""
    losses = {"training loss": [(point.step, point.loss) for point in points]}
    scored = [point for point in points if point.dice]
    curves = {label.name: [(p.step, p.dice[label.name]) for p in scored] for label in plan.labels}
    best = scored[-1].dice if scored else {}
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{value:.3f}</td></tr>" for name, value in best.items())
    table = f"<table><tr><th>Label</th><th>Dice</th></tr>{rows}</table>" if rows else "<p>No case was held out.</p>"
    facts = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in _facts(provenance).items())
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in plan.reasons)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(plan.name)} {escape(version)}: training</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>
<h1>{escape(plan.name)} {escape(version)}</h1>
<h2>Dice on held-out patches</h2>{table}
<p class="note">Pooled over voxels, with the averaged weights that the bundle holds.
<code>segloop evaluate</code> measures whole cases.</p>
{chart(curves, "Dice") if scored else ""}
<h2>Loss</h2>{chart(losses, "Dice + cross-entropy")}
<h2>How it was made</h2><table>{facts}</table>
<h2>Why this plan</h2><ul>{reasons}</ul>
</body></html>
"""


def chart(series: Mapping[str, Sequence[tuple[float, float]]], title: str) -> str:
    """Lines over steps as inline SVG; an empty string when no series has a point."""
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    right = max([1.0, *(x for x, _ in points)])
    low, high = min(y for _, y in points), max(y for _, y in points)
    span = (high - low) or 1.0

    def place(x: float, y: float) -> str:
        across = _MARGIN + x / right * (_WIDTH - 2 * _MARGIN)
        return f"{across:.1f},{_HEIGHT - _MARGIN - (y - low) / span * (_HEIGHT - 2 * _MARGIN):.1f}"

    parts = []
    for (name, line), colour in zip(series.items(), _cycle(len(series)), strict=True):
        path = " ".join(place(x, y) for x, y in line)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        top = 16 + 16 * len(parts) // 2
        parts.append(f'<text x="{_WIDTH - _MARGIN}" y="{top}" text-anchor="end" fill="{colour}">{escape(name)}</text>')
    bottom = _HEIGHT - _MARGIN
    return f"""<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)} over steps" font-size="12">
<path d="M{_MARGIN} {_MARGIN}V{bottom}H{_WIDTH - _MARGIN}" fill="none" stroke="#999"/>
<text x="4" y="{_MARGIN + 4}">{high:.3g}</text><text x="4" y="{bottom}">{low:.3g}</text>
<text x="{_WIDTH - _MARGIN}" y="{bottom + 18}" text-anchor="end">{right:.0f} steps</text>
<text x="{_MARGIN}" y="16">{escape(title)}</text>{"".join(parts)}</svg>"""


def _cycle(count: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(count)]


def _facts(provenance: Provenance) -> dict[str, str]:
    p = provenance
    held = "none" if p.fold is None else f"fold {p.fold} of {p.folds}"
    return {
        "Dataset": f"{p.dataset} ({len(p.training_images)} cases trained on, held out: {held})",
        "Licence": p.licence or "not stated",
        "Steps": f"{p.steps} in {p.seconds / 60:.1f} minutes",
        "Machine": f"{p.instruction_set}, {p.threads} threads, {p.precision}",
        "Software": f"segloop {p.segloop}, TensorFlow {p.tensorflow}, Keras {p.keras}",
        "Seed": str(p.seed),
        "Command": p.command,
    }
