"""Images in and out: files (`io.files`), DICOM (`io.dicom`), drawn labels (`io.rois`), what a model takes (`io.rules`).

Nothing heavy is imported until an image is read: the readers load nibabel, SimpleITK, Pillow or tifffile themselves.
"""

from __future__ import annotations

from segloop.io import dicom, files, rois, rules

__all__ = ["dicom", "files", "rois", "rules"]
