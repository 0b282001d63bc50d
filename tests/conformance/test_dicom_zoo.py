"""Single DICOM files that each break some assumption: what becomes of every one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

import file_reader
from segloop.cli import main
from segloop.errors import InputError, SegloopError
from segloop.io import dicom
from segloop.plan import SeriesRule

UNREADABLE, NO_IMAGE, NO_PLACE = "input.unreadable", "input.not_an_image", "geometry.invalid"

REFUSED = {
    "broken/MR_truncated.dcm": UNREADABLE,
    # Without pixels and without a series UID a file may be a slice that was cut off.
    "broken/UN_sequence.dcm": UNREADABLE,
    "broken/no_meta.dcm": UNREADABLE,
    "charset/chrSQEncoding.dcm": UNREADABLE,
    "non-image/priv_SQ.dcm": UNREADABLE,
    "broken/badVR.dcm": NO_IMAGE,
    "broken/empty_charset_LEI.dcm": NO_IMAGE,
    "broken/meta_missing_tsyntax.dcm": NO_IMAGE,
    "broken/no_meta_group_length.dcm": NO_IMAGE,
    "broken/rtplan_truncated.dcm": NO_IMAGE,
    "charset/chrJapMulti.dcm": NO_IMAGE,
    "multiframe/rtdose.dcm": NO_IMAGE,
    "non-image/DICOMDIR": NO_IMAGE,
    "non-image/dicompyler_rtss.dcm": NO_IMAGE,
    "non-image/nested_priv_SQ.dcm": NO_IMAGE,
    "non-image/reportsi.dcm": NO_IMAGE,
    "non-image/rtplan.dcm": NO_IMAGE,
    "non-image/rtstruct.dcm": NO_IMAGE,
    "non-image/sample-pdf.dcm": NO_IMAGE,
    "non-image/test-SR.dcm": NO_IMAGE,
    "non-image/waveform_ecg.dcm": NO_IMAGE,
    # Frames without functional groups, a film of an echo, a CT without position, an image that states no modality.
    "multiframe/emri_small.dcm": NO_PLACE,
    "multiframe/emri_small_RLE.dcm": NO_PLACE,
    "multiframe/emri_small_jpeg_ls_lossless.dcm": NO_PLACE,
    "pixels/US-PAL-8-10x-echo.dcm": NO_PLACE,
    "pixels/CT-MONO2-8-abdo.dcm": NO_PLACE,
    "pixels/JLSL_16_15_1_1F.dcm": NO_PLACE,
}
SMALL_MR, SLICE = ((1, 64, 64), 127, 2145), ((1, 512, 512), -2048, 1433)
CHARSET = (1, 32, 32), 0, 255
READ = {
    "broken/bad_sequence.dcm": ((1, 512, 512), -1011, 1243),
    "charset/ISO_IR13.dcm": ((1, 384, 384), 0, 923),
    **{f"charset/chr{name}.dcm": CHARSET for name in ("Arab", "FrenMulti", "Germ", "H31", "I2", "Russ", "X1")},
    "non-image/UnknownSopClassUid.dcm": ((1, 41, 41, 3), 0, 255),
    # MONOCHROME1 of 10 bits: 0 to 979 stored, and 1023 less that once inverted.
    "pixels/CR-MONO1-10-chest.dcm": ((1, 440, 440), 1023 - 979, 1023),
    "pixels/RG3_J2KI.dcm": ((1, 1760, 1760), 0, 1023),
    "pixels/GH342_CT_localizer.dcm": ((1, 512, 512), -1024, 1400),
    "pixels/US-color-px.dcm": ((1, 120, 256, 3), 16, 248),
    "pixels/examples_overlay.dcm": ((1, 300, 484), 0, 1123),
    "pixels/explicit_VR-UN.dcm": ((1, 512, 512), -1024, 1186),
    "pixels/mlut_18.dcm": ((1, 512, 512), 0, 65535),
    "pixels/parametric_map_float.dcm": ((1, 128, 128), 0, 0.9415791630744934),
    "transfer-syntax/image_dfl.dcm": ((1, 512, 512), 0, 255),
    "transfer-syntax/wg04_CT2_J2KI.dcm": ((1, 512, 512), -2386, 1542),
    "transfer-syntax/wg04_CT2_JLSN.dcm": ((1, 512, 512), -2052, 1434),
    **{f"transfer-syntax/wg04_CT2_{kind}.dcm": SLICE for kind in ("UNC", "J2KR", "JLSL", "JPLL", "RLE")},
    "transfer-syntax/MR_small.dcm": SMALL_MR,
    **{
        f"transfer-syntax/MR_small_{kind}.dcm": SMALL_MR
        for kind in ("RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded")
    },
}


def read(path: Path):
    (series,) = dicom.scan(path)
    return dicom.read_series(series)


def test_every_file_of_the_zoo_is_judged_here(shared_data):
    zoo = shared_data("dicom-zoo")
    present = {p.relative_to(zoo).as_posix() for p in zoo.rglob("*") if p.is_file()} - {"README.md", "SHA256SUMS"}
    assert present == {*READ, *REFUSED}


@pytest.mark.parametrize("name", sorted({*READ, *REFUSED}))
def test_read_right_or_refused_by_name(shared_data, capfd, name):
    path = shared_data("dicom-zoo") / name
    if name in REFUSED:
        with pytest.raises(SegloopError) as caught:
            read(path)
        assert caught.value.code == REFUSED[name]
    else:
        volume = read(path)
        assert (volume.array.shape, volume.array.min(), volume.array.max()) == READ[name]
    assert capfd.readouterr() == ("", "")


def measured(paths: list[Path]) -> dict[Path, dict[str, object]]:
    """What became of each file in a process of its own, and what it cost; what decoders in C take counts as well."""
    command = [sys.executable, file_reader.__file__, *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
    assert done.stderr == ""
    return {Path(told["file"]): told for told in map(json.loads, done.stdout.splitlines())}


def test_no_file_crashes_hangs_or_takes_much_memory(shared_data):
    """Processor time, because other work on the machine is not this reader's fault."""
    zoo = shared_data("dicom-zoo")
    told = measured([zoo / name for name in sorted({*READ, *REFUSED})])
    assert {path.relative_to(zoo).as_posix(): one["outcome"] for path, one in told.items()} == {
        **dict.fromkeys(READ, "read"),
        **REFUSED,
    }
    for path, one in told.items():
        assert one["status"] == 0, path
        assert one["seconds"] < 10, path
        assert one["peak_mb"] < 1000, path


def test_time_and_memory_are_really_measured(tmp_path, shared_data):
    """A small file that becomes a large image costs what the image takes, and what is no DICOM is told as such."""
    small, large, none = (tmp_path / name for name in ("small.dcm", "large.dcm", "none.dcm"))
    dataset = pydicom.dcmread(shared_data("dicom-zoo") / "transfer-syntax" / "MR_small.dcm")
    dataset.save_as(small)
    dataset.Rows = dataset.Columns = 6000
    dataset.PixelData = bytes(2 * 6000**2)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(large)
    none.write_bytes(b"none")
    told = measured([small, large, none])
    assert [one["outcome"] for one in told.values()] == ["read", "read", UNREADABLE]
    assert large.stat().st_size < 1e6
    assert told[large]["peak_mb"] - told[small]["peak_mb"] > 2 * 6000**2 / 1024**2
    assert told[large]["seconds"] > told[small]["seconds"] > 0


def test_lossless_encodings_of_one_slice_are_equal(shared_data):
    folder = shared_data("dicom-zoo") / "transfer-syntax"
    for first, pattern in (("MR_small.dcm", "MR_small_*.dcm"), ("wg04_CT2_UNC.dcm", "wg04_CT2_*[LRE].dcm")):
        truth = read(folder / first)
        others = sorted(folder.glob(pattern))
        assert len(others) == {"MR_small.dcm": 6, "wg04_CT2_UNC.dcm": 4}[first]
        for path in others:
            found = read(path)
            assert (found.array == truth.array).all(), path.name
            assert found.geometry == truth.geometry
        if first.startswith("wg04"):
            for kind, most in (("JLSN", 4), ("J2KI", 450)):
                lossy = read(folder / f"wg04_CT2_{kind}.dcm")
                assert 0 < np.abs(lossy.array.astype(int) - truth.array).max() <= most


def placed(source: Path, target: Path, places: list[float]) -> None:
    """The frames of an enhanced object, given the functional groups that say where they lie."""
    dataset = pydicom.dcmread(source)
    groups = []
    for z in places:
        position = Dataset()
        position.ImagePositionPatient = [-10, -20, z]
        group = Dataset()
        group.PlanePositionSequence = [position]
        groups.append(group)
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.4], 2
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], groups
    dataset.save_as(target)


@pytest.mark.parametrize("kind", ["", "_RLE", "_jpeg_ls_lossless"])
def test_enhanced_frames_lie_where_their_groups_say(shared_data, tmp_path, kind):
    """In whatever order the frames are stored, each comes to its own place."""
    folder = shared_data("dicom-zoo") / "multiframe"
    stored = pydicom.dcmread(folder / "emri_small.dcm").pixel_array
    order = [3, 0, 7, 1, 9, 2, 8, 4, 6, 5]
    placed(folder / f"emri_small{kind}.dcm", tmp_path / "e.dcm", [2.0 * place for place in order])
    volume = read(tmp_path / "e.dcm")
    assert volume.geometry.spacing_mm == (2, 0.5, 0.4)
    assert volume.geometry.origin_mm == (-10, -20, 0)
    for frame, place in enumerate(order):
        assert (volume.array[place] == stored[frame]).all()
    placed(folder / f"emri_small{kind}.dcm", tmp_path / "e.dcm", [2.0 * (place % 5) for place in order])
    with pytest.raises(SegloopError) as caught:
        read(tmp_path / "e.dcm")
    assert caught.value.code == "geometry.nonuniform_spacing"


def test_a_sign_bit_within_15_bits_is_a_sign(shared_data, tmp_path):
    dataset = pydicom.dcmread(shared_data("dicom-zoo") / "pixels" / "JLSL_16_15_1_1F.dcm")
    dataset.Modality, dataset.PixelSpacing = "MR", [1, 1]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.save_as(tmp_path / "signed.dcm")
    volume = read(tmp_path / "signed.dcm")
    assert (volume.array.min(), volume.array.max()) == (-16384, 16383)


def test_a_localizer_is_read_but_never_chosen_by_itself(shared_data):
    (series,) = dicom.scan(shared_data("dicom-zoo") / "pixels" / "GH342_CT_localizer.dcm")
    assert series.localizer


def test_a_film_is_refused_by_name_whoever_asks_and_each_of_its_frames_is_read(shared_data, tmp_path, capsys):
    """Frames of a film follow each other in time: read as slices they would give a volume of nothing."""
    film = shared_data("dicom-zoo") / "pixels" / "US-PAL-8-10x-echo.dcm"
    assert main(["convert", str(film), "-o", str(tmp_path / "film.nii.gz"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == NO_PLACE
    assert "10 frames without saying where each lies" in error["message"]
    assert not (tmp_path / "film.nii.gz").exists()
    rule = SeriesRule(modalities=("US",), channels=3)
    with pytest.raises(InputError) as caught:
        dicom.select(dicom.scan(film), rule)
    assert caught.value.code == NO_PLACE
    dataset = pydicom.dcmread(film)
    frames = pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset)
    dataset.PixelData = dataset.pixel_array[3].tobytes()
    dataset.NumberOfFrames, dataset.file_meta.TransferSyntaxUID = 1, ExplicitVRLittleEndian
    dataset.save_as(tmp_path / "frame.dcm")
    (series,) = dicom.scan(tmp_path / "frame.dcm")
    assert dicom.select([series], rule).chosen is series
    array = dicom.read_series(series).array[0]
    assert (array == (frames[3] if frames.dtype == np.uint8 else frames[3] >> 8)).all()
