"""The page of one training, from what the run and its network hold when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras

from segloop.plan import Provenance
from segloop.store import READABLE, write_whole
from segloop.train.findings import ReportPage
from segloop.train.gallery import kept_sheet, overlay_pictures
from segloop.train.judging import Batches
from segloop.train.report.page import html_page
from segloop.train.running import Run

FILE = "report.html"


def write_report(
    run: Run,
    network: keras.Model,
    held: Batches,
    dice: Mapping[str, float],
    provenance: Provenance,
    version: str,
    out: Path,
) -> Path:
    """Write `out/report.html`.

    Args:
        run: Its points and notices are shown.
        network: With the weights that the bundle holds.
        held: Held-out patches, of which some are drawn; may be empty.
        dice: Of the network on them by label name, in place of the last point's.
        provenance: Of the weights.
        version: Of the model.
        out: Folder of the run; its augmentation sheet is shown.

    Raises:
        ServiceError: `disk.full`.
    """
    points = [*run.points[:-1], run.points[-1].model_copy(update={"dice": dict(dice)})] if run.points else []
    page = ReportPage(
        plan=run.plan,
        provenance=provenance,
        version=version,
        points=tuple(points),
        notices=tuple(run.notices),
        sheet=kept_sheet(out),
        overlays=overlay_pictures(network, held, run.plan),
    )
    path = out / FILE
    write_whole(html_page(page).encode(), path, READABLE)
    return path
