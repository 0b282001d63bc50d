"""Deployable artefacts: a bundle as something that a server or a device runs without this package."""

from __future__ import annotations

from segloop.infer.artefacts.exporting import FORMATS, Artefact, export_artefact

__all__ = ["FORMATS", "Artefact", "export_artefact"]
