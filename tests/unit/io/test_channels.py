"""Channel files of one image, told from images that are merely numbered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tiny_models
from segloop.cli import main
from segloop.errors import GeometryMismatch, InputError
from segloop.io import channels, files
from segloop.volume import Geometry, Volume

GRID = Geometry((4, 5, 6), (3.0, 1.0, 1.0))


def put(folder: Path, *names: str, grid: Geometry = GRID) -> list[Path]:
    paths = [folder / name for name in names]
    for number, path in enumerate(paths):
        array = np.full(grid.shape if path.suffix != ".png" else (1, 5, 6), number, np.uint8)
        files.write(Volume(array, grid if path.suffix != ".png" else Geometry((1, 5, 6))), path)
    return paths


def test_any_channel_file_stands_for_the_image(tmp_path: Path) -> None:
    paths = put(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz")
    for path in paths:
        assert channels.of_one_image(path, 2) == ("a", tuple(paths))
    image = channels.read(paths)
    assert image.array.shape == (4, 5, 6, 2)
    assert image.geometry == GRID
    assert [int(image.array[..., c].max()) for c in (0, 1)] == [0, 1]


@pytest.mark.parametrize(
    ("names", "model"),
    [
        (("a_0000.nii.gz", "a_0001.nii.gz"), 1),
        (("a_0000.nii.gz", "a_0001.nii.gz", "a_0002.nii.gz"), 2),
        (("img_0000.png", "img_0001.png", "img_0002.png"), 3),
        (("a_0001.nii.gz",), 2),
        (("a.nii.gz", "b.nii.gz"), 2),
    ],
)
def test_images_that_are_only_numbered_are_never_put_together(
    names: tuple[str, ...], model: int, tmp_path: Path
) -> None:
    for path in put(tmp_path, *names):
        assert channels.of_one_image(path, model) == (files.stem(path), (path,))


def test_an_absent_channel_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a_0000.nii.gz", "a_0002.nii.gz")
    with pytest.raises(InputError, match="a_0000") as caught:
        channels.of_one_image(tmp_path / "a_0000.nii.gz", 3)
    assert "a_0001.nii.gz" in str(caught.value.expected)


def test_channels_on_different_grids_are_refused(tmp_path: Path) -> None:
    first = put(tmp_path, "a_0000.nii.gz")
    second = put(tmp_path, "a_0001.nii.gz", grid=Geometry((4, 5, 6), (3.0, 1.0, 1.0), (0.0, 2.0, 0.0)))
    with pytest.raises(GeometryMismatch, match="a_0001"):
        channels.read([*first, *second])


def test_predict_takes_them_as_one_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, bundle = tmp_path / "in", str(tiny_models.bundle(channels=2).path)
    source.mkdir()
    whole = Volume(tiny_models.image(channels=2), Geometry((20, 22, 18)))
    files.write(whole, tmp_path / "whole.nii.gz")
    for channel in (0, 1):
        one = np.ascontiguousarray(whole.array[..., channel])
        files.write(Volume(one, whole.geometry), source / f"x_{channel:04d}.nii.gz")
    out = ["-o", str(tmp_path / "out"), "--runtime", "tensorflow", "--json"]
    assert main(["predict", bundle, str(source), str(tmp_path / "whole.nii.gz"), *out]) == 0
    assert [case["id"] for case in json.loads(capsys.readouterr().out)["cases"]] == ["x", "whole"]
    both = [files.read_labels(tmp_path / "out" / f"{name}.nii.gz", {}).array for name in ("x", "whole")]
    np.testing.assert_array_equal(*both)
    assert both[0].any()
