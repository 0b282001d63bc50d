"""Every kind of fault, planted in a small dataset without fault: that kind is found, on that case, and nothing else.

Where a fault says it can be mended, the copy that `mend` writes has it no longer, and training can read the copy.
"""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

import check_kit as kit
import check_plants_voxels
from check_plants import BASES, PLANTS, Plant, label_of
from segloop.data import Dataset
from segloop.data.checks import GROUPS, KINDS, check, mend
from segloop.io import files
from segloop.plan import Plan

assert check_plants_voxels, "importing it plants the faults of voxels"


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name) / "set") for name, write in BASES.items()}


@pytest.fixture
def planted(request: pytest.FixtureRequest, bases: dict[str, Path], tmp_path: Path) -> tuple[Plant, Path]:
    entry = PLANTS[request.param]
    root = tmp_path / "set"
    shutil.copytree(bases[entry.base], root)
    entry.do(root)
    return entry, root


def test_every_kind_is_planted() -> None:
    assert {entry.kind for entry in PLANTS.values()} == set(KINDS)


def test_every_mend_is_planted() -> None:
    mended = {entry.kind for entry in PLANTS.values() if entry.mendable}
    assert mended == {name for name, kind in KINDS.items() if kind.fixed}


@pytest.mark.parametrize("base", BASES)
def test_a_dataset_without_fault_has_none(base: str, bases: dict[str, Path]) -> None:
    assert check(bases[base]) == ()


@pytest.mark.parametrize("planted", PLANTS, indirect=True)
def test_what_is_planted_is_found_and_nothing_else(planted: tuple[Plant, Path], tmp_path: Path) -> None:
    entry, root = planted
    before = {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    faults = check(root, entry.plan)
    found = {(unicodedata.normalize("NFC", fault.case), fault.kind, fault.severity) for fault in faults}
    assert found == {(case, entry.kind, entry.severity) for case in entry.cases}
    assert all(fault.cause and fault.mend and fault.found != fault.expected for fault in faults)
    assert all(fault.mendable == entry.mendable for fault in faults)
    if entry.severity != "error":
        assert_readable(root)
    if entry.mendable:
        out = tmp_path / "out"
        result = mend(root, out, faults, entry.plan)
        assert (result.mended, result.left) == (faults, ())
        plan = Plan.load(out / "plan.json") if entry.plan else None
        assert check(out, plan) == ()
        assert_readable(out)
    assert {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()} == before


def assert_readable(root: Path) -> None:
    """What has no error can be trained on."""
    dataset = Dataset.load(root)
    assert all(dataset.read(case)[1].array.any() for case in dataset.cases)


GEOMETRY_MENDS = [name for name, entry in PLANTS.items() if entry.kind in GROUPS["Geometry"] and entry.mendable]


@pytest.mark.parametrize("planted", GEOMETRY_MENDS, indirect=True)
def test_a_mended_label_map_lies_where_it_was_drawn(
    planted: tuple[Plant, Path], bases: dict[str, Path], tmp_path: Path
) -> None:
    entry, root = planted
    mend(root, tmp_path / "out", check(root))
    label = files.read_labels(label_of(tmp_path / "out"), {})
    assert label.geometry.same_grid(kit.GRID, 1e-4)
    drawn = files.read_labels(label_of(bases["mr"]), {}).array
    if entry.kind == "shape_differs":
        # What was cut away was background.
        assert not drawn[:, 0].any()
    np.testing.assert_array_equal(label.array, drawn)
