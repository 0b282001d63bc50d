"""`report.html`: one page on a model, complete in itself."""

from __future__ import annotations

from html import escape

from segloop.infer.bundle import RESEARCH_USE
from segloop.train.findings import ReportPage
from segloop.train.report import sections

_STYLE = """
:root { color-scheme: light }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 52rem; padding: 0 1rem }
body { color: #1d2125; background: #fff; overflow-wrap: anywhere }
h1 { margin-bottom: .2rem } h2 { margin: 2.5rem 0 .6rem; border-bottom: 2px solid #1d2125 }
.lead { font-weight: 600 } .note, figcaption, caption { color: #4a545e; font-size: .9rem; text-align: left }
.warning { border-left: 6px solid #b03a00; background: #fdf1ea; padding: .2rem 1rem }
.wide { overflow-x: auto } table { border-collapse: collapse; min-width: 50% }
td, th { padding: .25rem 1rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #d5dade }
thead th { font-weight: 600; vertical-align: bottom } tbody th { font-weight: 400; white-space: nowrap }
th, td { overflow-wrap: normal } td { font-variant-numeric: tabular-nums; white-space: nowrap }
td.text { white-space: normal; min-width: 12rem } .facts th { color: #4a545e }
figure { margin: 1rem 0 } img, svg { max-width: 100%; height: auto } svg { width: 100% }
"""


def html_page(page: ReportPage) -> str:
    """The page as one HTML document that asks for no outside resource; sections without data are left out."""
    title = escape(f"{page.plan.name} {page.version}")
    order = (
        sections.warnings,
        sections.results,
        sections.worst,
        sections.volumes,
        sections.learning,
        sections.suspects,
        sections.calibration,
        sections.curves,
        sections.overlays,
        sections.sheet,
        sections.making,
        sections.reasons,
    )
    body = "".join(section(page) for section in order)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body><main>
<h1>{title}</h1><p class="note">{escape(RESEARCH_USE)}</p>
{body}</main></body></html>
"""
