"""A bundle's folder, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from segloop.errors import InputError, ModelError
from segloop.infer.bundle import MANIFEST, Bundle, Manifest
from segloop.infer.engine import segment
from segloop.infer.runtimes.base import Runtime
from segloop.plan import Plan
from segloop.volume import Labels, Volume


@contextmanager
def bundle_folder(path: Path, max_bytes: int | None = None) -> Iterator[Path]:
    """A new folder beside `path` that takes its place once the block ends well and all hashes agree.

    Args:
        path: The bundle; an older one there is replaced, and gone only after the new one stands.
        max_bytes: Refuse a larger bundle.

    Raises:
        InputError: `usage` when something that is no bundle stands at `path`.
        ModelError: `bundle.corrupt` when what was written is no bundle; `bundle.too_large`.
    """
    if path.exists() and not (path / MANIFEST).is_file():
        raise InputError(
            f"{path.name} exists and is no bundle; it is not replaced.",
            code="usage",
            found=path.name,
            hint="Choose another folder, or remove this one.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield folder
        _require_size(Bundle(folder), max_bytes)
        older = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")
        if path.exists():
            path.rename(older)
        folder.rename(path)
        shutil.rmtree(older, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json with the SHA-256 of every other file in the folder."""
    files = {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / MANIFEST
    }
    document = manifest.model_copy(update={"files": files}).model_dump(mode="json", by_alias=True)
    (folder / MANIFEST).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_cases(plan: Plan, runtime: Runtime, cases: Sequence[Volume | tuple[Volume, Labels]], folder: Path) -> None:
    """Write self-test cases; an image without labels gets those that `runtime` gives it."""
    from segloop.io import files

    folder.mkdir(exist_ok=True)
    for number, case in enumerate(cases):
        image, labels = case if isinstance(case, tuple) else (case, segment(plan, runtime, case)[0])
        # Colour and other channels: a format per kind, all of them read back without loss.
        flat = image.array.shape[0] == 1 and image.channels == 3 and image.array.dtype == np.uint8
        suffix = "png" if flat else "nii.gz"
        files.write(image, folder / f"case{number}-image.{suffix}")
        files.write(labels, folder / f"case{number}-labels.nii.gz")


def _require_size(bundle: Bundle, max_bytes: int | None) -> None:
    if max_bytes is not None and bundle.size_bytes > max_bytes:
        raise ModelError(
            f"The bundle has {bundle.size_bytes / 2**20:.1f} MiB; {max_bytes / 2**20:.1f} MiB are allowed.",
            code="bundle.too_large",
            found=bundle.size_bytes,
            expected=max_bytes,
            hint="Plan a network with fewer features, or smaller self-test cases.",
        )
