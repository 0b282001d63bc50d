"""What one file says, and what is refused."""

from __future__ import annotations

import errno
import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from segloop.errors import InputError, ServiceError
from segloop.io import files
from segloop.volume import Geometry, Labels, Volume

RAS = np.diag([-2.0, -3.0, 4.0, 1.0])
RAS[:3, 3] = 10, 20, 30


def nifti(path: Path, array: np.ndarray, *, affine: np.ndarray = RAS, sform: int = 1, qform: int = 1) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, code=sform)
    image.set_qform(affine, code=qform)
    nibabel.save(image, path)
    return path


def grey(shape=(1, 4, 6), dtype=np.uint8) -> Volume:
    return Volume(np.arange(np.prod(shape), dtype=dtype).reshape(shape), Geometry(shape))


def test_nifti_ras_becomes_lps(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = files.read(nifti(tmp_path / "a.nii.gz", array))
    assert volume.array.dtype == np.int16
    assert (volume.array == array.transpose(2, 1, 0)).all()
    assert volume.geometry.origin_mm == (-10, -20, 30)
    assert volume.geometry.spacing_mm == (4, 3, 2)
    assert volume.geometry.axis_codes == "SPL"


def test_nifti_slope_and_intercept_are_applied(tmp_path):
    image = nibabel.Nifti1Image(np.array([[[0, 10]]], np.int16), RAS)
    image.header.set_slope_inter(0.5, -1)
    # nibabel divides by the slope on the way out, so the stored numbers are written by hand.
    raw = bytearray(image.to_bytes())
    raw[112:120] = np.array([0.5, -1], "<f4").tobytes()
    raw[-4:] = np.array([0, 10], "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    volume = files.read(tmp_path / "a.nii")
    assert volume.array.dtype == np.float32
    assert volume.array.ravel().tolist() == [-1, 4]
    raw[112:120] = np.array([1, -1024], "<f4").tobytes()
    (tmp_path / "b.nii").write_bytes(raw)
    whole = files.read(tmp_path / "b.nii").array
    assert whole.dtype == np.int16
    assert whole.ravel().tolist() == [-1024, -1014]


def test_nifti_trailing_one_is_dropped_and_channels_come_last(tmp_path):
    assert files.read(nifti(tmp_path / "a.nii", np.zeros((2, 3, 4, 1), np.uint8))).array.shape == (4, 3, 2)
    assert files.read(nifti(tmp_path / "b.nii", np.zeros((2, 3, 4, 5), np.uint8))).array.shape == (4, 3, 2, 5)


def test_nifti_in_micrometres(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.uint8), RAS)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    assert files.read(tmp_path / "a.nii").geometry.spacing_mm == pytest.approx((0.004, 0.003, 0.002))


def test_nifti_without_orientation_is_refused_not_guessed(tmp_path):
    with pytest.raises(InputError, match="does not say how it lies") as caught:
        files.read(nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.uint8), sform=0, qform=0))
    assert caught.value.code == "geometry.invalid"


def test_nifti_with_two_places_is_refused(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((20, 30, 40), np.uint8), RAS)
    image.set_sform(RAS, code=1)
    image.set_qform(RAS + np.eye(4)[:, [3, 0, 1, 2]] * 5, code=1)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(InputError, match="two places") as caught:
        files.read(tmp_path / "a.nii")
    assert caught.value.code == "geometry.invalid"


def test_nrrd_without_space_is_refused(tmp_path):
    head = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nspacings: 1 1 1\n\n"
    (tmp_path / "a.nrrd").write_bytes(head + bytes(8))
    with pytest.raises(InputError, match="no 'space'") as caught:
        files.read(tmp_path / "a.nrrd")
    assert caught.value.code == "geometry.invalid"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".tif", ".jpg", ".bmp"])
@pytest.mark.parametrize("kept", [0, 9, 0.5, 0.9])
def test_a_truncated_file_is_named(tmp_path, suffix, kept):
    whole = tmp_path / f"whole{suffix}"
    image = Volume(np.random.default_rng(0).integers(0, 256, (1, 40, 50), np.uint8), Geometry((1, 40, 50)))
    if suffix in (".jpg", ".bmp"):
        Image.fromarray(image.array[0]).save(whole)
    else:
        files.write(image, whole)
    content = whole.read_bytes()
    cut = tmp_path / f"张三 cut{suffix}"
    cut.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(InputError) as caught:
        files.read(cut)
    assert caught.value.code == "input.unreadable"
    assert cut.name in caught.value.message
    assert str(tmp_path) not in str(caught.value)


def test_a_flipped_bit_in_a_compressed_nifti_is_seen(tmp_path):
    files.write(grey((3, 40, 40), np.uint16), tmp_path / "a.nii.gz")
    content = bytearray(gzip.compress(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()), 0))
    content[-500] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.nii\.gz"):
        files.read(tmp_path / "a.nii.gz")


def test_a_tiff_that_lost_its_last_pages_is_refused(tmp_path):
    page = Image.fromarray(np.zeros((8, 8), np.uint8))
    page.save(tmp_path / "two.tif", save_all=True, append_images=[page])
    content = (tmp_path / "two.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="truncated"):
        files.read(tmp_path / "cut.tif")


def test_pictures(tmp_path):
    rng = np.random.default_rng(1)
    colour = rng.integers(0, 256, (7, 9, 3), np.uint8)
    Image.fromarray(colour).save(tmp_path / "rgb.png")
    assert (files.read(tmp_path / "rgb.png").array[0] == colour).all()
    Image.fromarray(colour).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    assert (files.read(tmp_path / "lzw.tif").array[0] == colour).all()
    deep = rng.integers(0, 65536, (7, 9), np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert (files.read(tmp_path / "deep.png").array[0] == deep).all()
    Image.fromarray(colour[..., 0] > 99).save(tmp_path / "bw.png")
    assert (files.read(tmp_path / "bw.png").array[0] == (colour[..., 0] > 99)).all()
    opaque = np.dstack([colour, np.full((7, 9), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "alpha.png")
    assert (files.read(tmp_path / "alpha.png").array[0] == colour).all()
    opaque[0, 0, 3] = 7
    Image.fromarray(opaque).save(tmp_path / "glass.png")
    with pytest.raises(InputError, match="transparent"):
        files.read(tmp_path / "glass.png")


def test_16_bit_colour_keeps_its_bits(tmp_path):
    import SimpleITK as sitk  # noqa: N813

    deep = np.random.default_rng(2).integers(0, 65536, (7, 9, 3)).astype(np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(deep, isVector=True), str(tmp_path / "deep.png"))
    assert (files.read(tmp_path / "deep.png").array[0] == deep).all()


def test_labels_keep_their_numbers(tmp_path):
    names = {1: "anterior", 2: "posterior"}
    array = np.array([[[0, 1, 2]]], np.float32)
    labels = files.read_labels(nifti(tmp_path / "f.nii.gz", array), names)
    assert labels.array.dtype == np.uint8
    assert labels.array.ravel().tolist() == [0, 1, 2]
    assert labels.names == names
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "m.png")
    assert files.read_labels(tmp_path / "m.png", {}).array.ravel().tolist() == [0, 255]
    wide = files.read_labels(nifti(tmp_path / "w.nii.gz", np.array([[[0, 300]]], np.int16)), {})
    assert wide.array.dtype == np.uint16


def test_a_palette_label_map_gives_indices_and_a_grey_rgb_one_its_greys(tmp_path):
    indexed = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    for name in ("p.png", "p.bmp"):
        indexed.save(tmp_path / name)
        assert files.read_labels(tmp_path / name, {}).array.ravel().tolist() == [0, 1, 2]
        assert files.read(tmp_path / name).array.shape == (1, 1, 3, 3)
    Image.fromarray(np.full((2, 2, 3), 4, np.uint8)).save(tmp_path / "g.png")
    assert files.read_labels(tmp_path / "g.png", {}).array.max() == 4


@pytest.mark.parametrize("values", [[0.5, 1], [-1, 1], [0, 70000], [np.nan, 1]])
def test_what_is_no_label_map_is_refused(tmp_path, values):
    path = nifti(tmp_path / "l.nii", np.array([[values]], np.float32))
    with pytest.raises(InputError) as caught:
        files.read_labels(path, {})
    assert caught.value.code == "labels.mismatch"
    assert "l.nii" in caught.value.message


def test_names():
    assert files.stem(Path("a.b/case.1.NII.GZ")) == "case.1"
    assert files.stem(Path("x.dcm")) == "x"
    assert files.is_image_file(Path("x.TIFF"))
    assert not files.is_image_file(Path("x.json"))
    assert {".nii.gz", ".nrrd", ".mha", ".png", ".tif"} <= set(files.SUFFIXES)


def test_unknown_absent_and_unwritable(tmp_path):
    with pytest.raises(InputError, match="not a file format"):
        files.read(tmp_path / "a.txt")
    with pytest.raises(InputError, match="no such file"):
        files.read(tmp_path / "a.nii")
    for name in ("a.jpg", "a.mhd", "a.txt"):
        with pytest.raises(InputError) as caught:
            files.write(grey(), tmp_path / name)
        assert caught.value.code == "usage"
    with pytest.raises(InputError):
        files.write(grey((2, 3, 4)), tmp_path / "stack.png")
    with pytest.raises(InputError):
        files.write(grey(), tmp_path / "no" / "folder.nii")
    assert list(tmp_path.iterdir()) == []


def test_labels_are_written_as_unsigned_and_the_same_bytes_each_time(tmp_path):
    geometry = Geometry((1, 2, 2))
    labels = Labels(np.array([[[0, 1], [2, 300]]], np.int64), geometry, {})
    files.write(labels, tmp_path / "a.nii.gz")
    assert nibabel.load(tmp_path / "a.nii.gz").get_data_dtype() == np.uint16
    first = (tmp_path / "a.nii.gz").read_bytes()
    files.write(labels, tmp_path / "a.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("dtype", [bool, np.float16, np.int64, np.uint64, ">i2"])
def test_every_kind_of_number_can_be_written(tmp_path, dtype):
    volume = Volume(np.array([[[0, 1], [1, 0]]]).astype(dtype), Geometry((1, 2, 2)))
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        files.write(volume, tmp_path / f"a{suffix}")
        assert (files.read(tmp_path / f"a{suffix}").array == volume.array).all()


def test_a_full_disk_is_said_and_leaves_the_old_file(tmp_path, monkeypatch):
    files.write(grey(), tmp_path / "a.nii.gz")
    before = (tmp_path / "a.nii.gz").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ServiceError) as caught:
        files.write(grey((1, 9, 9)), tmp_path / "a.nii.gz")
    assert caught.value.code == "disk.full"
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_bytes() == before
