"""The phantom's voxels agree with its formulas, and come from the seed alone."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest

from segloop.errors import InputError
from segloop.phantom import LABELS, Phantom, Scan, Visit, generate
from segloop.phantom.anatomy import draw_anatomy
from segloop.phantom.solids import Lobes, Quadric

SEEDS = range(100, 104)
SMALL = Scan(slices=60, matrix=120, slice_mm=3.0, pixel_mm=3.0)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [generate(seed) for seed in SEEDS]


def test_the_same_seed_gives_the_same_voxels_and_person(phantoms: list[Phantom]) -> None:
    again = generate(SEEDS[0])
    assert (again.volume.array == phantoms[0].volume.array).all()
    assert (again.labels.array == phantoms[0].labels.array).all()
    assert again.truth == phantoms[0].truth
    assert again.identity == phantoms[0].identity
    assert not np.array_equal(phantoms[0].volume.array, phantoms[1].volume.array)


def test_voxels_count_to_the_true_volumes(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        voxel_ml = phantom.labels.geometry.voxel_ml
        liver = next(t.value for t in phantom.truth if t.label == 1)
        assert (phantom.labels.array == 1).sum() * voxel_ml == pytest.approx(liver, rel=0.005)
        lesions = [t.value for t in phantom.truth if t.label == 2 and t.component]
        parts = cc3d.connected_components(phantom.labels.array == 2, connectivity=26)
        found = sorted(np.bincount(parts.ravel())[1:] * voxel_ml, reverse=True)
        assert found == pytest.approx(lesions, rel=0.03)


def test_truth_lists_the_whole_label_and_its_parts_from_large_to_small(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        whole, *parts = [t for t in phantom.truth if t.name == "lesion"]
        assert whole.component == 0
        assert [p.component for p in parts] == list(range(1, len(parts) + 1))
        assert sum(p.value for p in parts) == pytest.approx(whole.value)
        assert [p.value for p in parts] == sorted((p.value for p in parts), reverse=True)
        assert {t.unit for t in phantom.truth} == {"ml"}


@pytest.mark.parametrize("lesions", range(6))
def test_the_number_of_lesions_can_be_asked_for(lesions: int) -> None:
    anatomy = draw_anatomy(np.random.default_rng(5), lesions)
    assert len(anatomy.lesions) == lesions


@pytest.mark.parametrize("lesions", [-1, 6])
def test_an_impossible_number_of_lesions_is_refused(lesions: int) -> None:
    with pytest.raises(InputError, match="0 to 5") as caught:
        generate(0, lesions)
    assert caught.value.code == "usage"


def test_lesions_lie_wholly_in_the_liver_and_apart() -> None:
    for seed in range(200):
        anatomy = draw_anatomy(np.random.default_rng(seed))
        liver = anatomy.liver.solid
        assert isinstance(liver, Lobes)
        solids = [lesion.solid for lesion in anatomy.lesions if isinstance(lesion.solid, Quadric)]
        for i, lesion in enumerate(solids):
            assert liver.contains(lesion.grown(3.5).surface_points(500)).all()
            for other in solids[:i]:
                assert not other.grown(5).contains(lesion.surface_points(500)).any()


def test_the_liver_lies_inside_the_scan(phantoms: list[Phantom]) -> None:
    scan = Scan()
    for seed in range(200):
        liver = draw_anatomy(np.random.default_rng(seed), 0).liver.solid
        assert isinstance(liver, Lobes)
        for lobe in (liver.first, liver.second):
            reach = np.abs(lobe.centre_mm) + lobe.half_extent_mm
            assert (reach[::-1] < np.array(scan.grid.extent_mm) / 2).all()


def test_tissues_have_their_densities(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        hu, labels = phantom.volume.array, phantom.labels.array
        liver, lesion = hu[labels == 1], hu[labels == 2]
        assert 90 < np.median(liver) < 120
        if lesion.size:
            assert np.median(lesion) < np.median(liver) - 35
        assert hu.min() < -950
        assert hu.max() > 250


def test_noise_has_the_asked_standard_deviation() -> None:
    quiet, noisy = (generate(3, scan=Scan(slices=36, slice_mm=5.0, noise_hu=sd)).volume.array for sd in (0.0, 12.0))
    difference = (noisy.astype(float) - quiet)[quiet > -900]
    assert difference.std() == pytest.approx(12, rel=0.02)
    assert abs(difference.mean()) < 0.2


def test_a_finer_grid_shows_the_same_anatomy() -> None:
    coarse = generate(9, scan=Scan())
    fine = generate(9, scan=Scan(slices=60, slice_mm=3.0, matrix=200, pixel_mm=1.76))
    assert fine.truth == coarse.truth
    volumes = [(p.labels.array > 0).sum() * p.labels.geometry.voxel_ml for p in (coarse, fine)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.005)
    assert fine.key != coarse.key


def test_labels_have_chinese_names_and_codes() -> None:
    assert [(spec.value, spec.name, spec.components) for spec in LABELS] == [(1, "liver", False), (2, "lesion", True)]
    assert all(spec.name_zh and spec.code.scheme == "SCT" for spec in LABELS)


def test_a_later_visit_is_the_same_person_with_lesions_grown_as_told() -> None:
    first = generate(3, 3, SMALL)
    later = generate(3, 3, SMALL, visit=Visit(90, 1.5))
    who, then = later.identity, first.identity
    same = ("name", "patient_id", "birth_date", "sex")
    assert [getattr(who, word) for word in same] == [getattr(then, word) for word in same]
    assert (who.study_time - then.study_time).days == 90
    assert who.accession != then.accession
    assert later.key != first.key
    assert later.volume.geometry.origin_mm != first.volume.geometry.origin_mm
    grown, before = ([t.value for t in phantom.truth if t.label == 2] for phantom in (later, first))
    assert grown == pytest.approx([1.5 * ml for ml in before])
    # What the lesions gained, the liver around them lost.
    assert later.truth[0].value + grown[0] == pytest.approx(first.truth[0].value + before[0])
    voxels = np.count_nonzero(later.labels.array == 2) / np.count_nonzero(first.labels.array == 2)
    assert voxels == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize("growth", [0.0, -1.0, 1.6])
def test_growth_that_lesions_have_no_room_for_is_refused(growth: float) -> None:
    with pytest.raises(InputError) as caught:
        generate(3, 3, SMALL, visit=Visit(90, growth))
    assert caught.value.code == "usage"
