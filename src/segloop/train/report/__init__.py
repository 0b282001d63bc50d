"""`report.html`: what was trained, how good it is on cases it never saw, and where to look, on one page."""

from __future__ import annotations

from segloop.train.report.page import html_page

__all__ = ["html_page"]
