"""The loop with strangers at both ends: DCMTK sends, a real Orthanc receives, DICOMweb reads back, dcmqi decodes."""

import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom import Dataset, dcmread

import service_kit as kit
from segloop.cli.main import main
from segloop.io import files
from segloop.service.running import Service
from segloop.settings import Settings
from segloop.store import JobState

pytestmark = [pytest.mark.peer, pytest.mark.long]

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
# By path: pynetdicom installs a program of the same name beside Python.
STORESCU = "/usr/bin/storescu"
CROP = "brain-mr-dicom"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running Orthanc."""

    dicom: int
    web: str

    def qido(self, path: str) -> list[dict[str, dict[str, list[str]]]]:
        answer = httpx.get(f"{self.web}/dicom-web/{path}", headers={"Accept": "application/dicom+json"})
        answer.raise_for_status()
        return answer.json()  # type: ignore[no-any-return]

    def wado(self, study: str) -> list[Dataset]:
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        answer = httpx.get(f"{self.web}/dicom-web/studies/{study}", headers={"Accept": accept}, timeout=60)
        answer.raise_for_status()
        boundary = re.search(r'boundary="?([^";]+)', answer.headers["content-type"])
        assert boundary
        parts = answer.content.split(b"--" + boundary.group(1).encode())[1:-1]
        return [dcmread(BytesIO(part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n"))) for part in parts]


@pytest.fixture
def orthanc(tmp_path: Path, require_peer: Callable[[str], Path]) -> Iterator[Orthanc]:
    program = require_peer("Orthanc")
    require_peer(str(PLUGIN))
    dicom, web, segloop = free_port(), free_port(), free_port()
    folder = tmp_path / "orthanc"
    folder.mkdir()
    configuration = {
        "Name": "segloop test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "HttpPort": web,
        # Orthanc 1.10 listens on all addresses whatever it is told; these two keep strangers out.
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomCheckModalityHost": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomModalities": {"segloop": ["SEGLOOP", "127.0.0.1", segloop]},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True},
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(program), str(path)], stdout=log, stderr=log)
    peer = Orthanc(dicom, f"http://127.0.0.1:{web}")

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text("utf-8")
        try:
            return httpx.get(f"{peer.web}/system").status_code == 200
        except httpx.TransportError:
            return False

    try:
        kit.wait(answers, 60)
        yield peer
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def service(tmp_path: Path, orthanc: Orthanc) -> Iterator[Service]:
    running = Service(
        Settings.parse(
            {
                "data_dir": str(tmp_path / "data"),
                "node": {"port": 0},
                "web": {"port": 0},
                "study": {"quiet_seconds": 1.0},
                "destination": [{"name": "orthanc", "kind": "dicom", "aet": "ORTHANC", "port": orthanc.dicom}],
                "rule": [{"model": "hippocampus-mr"}],
            }
        )
    )
    yield running
    running.stop()


def storescu(program: Path, port: int, *sources: Path) -> None:
    # -R proposes only what is sent; without it storescu's contexts run out before SEG.
    arguments = [str(program), "-aec", "SEGLOOP", "-R", "+sd", "+r", "127.0.0.1", str(port), *map(str, sources)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def voxels_of(segmentation: Dataset, program: Path, folder: Path) -> dict[int, set[tuple[int, int, int]]]:
    """Voxels of each segment as dcmqi sees them, as rounded LPS positions in tenths of a millimetre."""
    folder.mkdir()
    segmentation.save_as(folder / "seg.dcm")
    command = [str(program), "--inputDICOM", str(folder / "seg.dcm"), "--outputDirectory", str(folder), "-t", "nii"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for item in segmentation.SegmentSequence:
        volume = files.read(next(folder.glob(f"{item.SegmentNumber}.nii*")))
        found[int(item.SegmentNumber)] = positions(volume.array > 0, volume.geometry.affine)
    return found


def positions(mask: np.ndarray, affine: np.ndarray) -> set[tuple[int, int, int]]:
    indices = np.argwhere(mask)
    points = np.c_[indices, np.ones(len(indices))] @ np.asarray(affine).T
    return {tuple(row) for row in np.rint(points[:, :3] * 10).astype(int).tolist()}


def test_a_real_study_from_dcmtk_to_orthanc_and_back(
    service: Service,
    orthanc: Orthanc,
    tmp_path: Path,
    shared_data: Callable[[str], Path],
    require_peer: Callable[[str], Path],
) -> None:
    send, decode = require_peer(STORESCU), require_peer("segimage2itkimage")
    source = shared_data(CROP) / "Study1" / "13_HCropVolume"
    storescu(send, service.ports.dicom, source)
    kit.wait(lambda: any(j.state in (JobState.DONE, JobState.FAILED) for j in service.store.jobs()), 240)
    (job,) = service.store.jobs()
    assert (job.state, job.code) == (JobState.DONE, "")

    original = dcmread(next(source.glob("*.dcm")), stop_before_pixels=True)
    study = str(original.StudyInstanceUID)
    modalities = {row["00080060"]["Value"][0] for row in orthanc.qido(f"studies/{study}/series")}
    assert modalities >= {"SEG", "SR"}
    received = orthanc.wado(study)
    for result in received:
        assert (result.PatientName, result.PatientID) == (original.PatientName, original.PatientID)
    (segmentation,) = (d for d in received if d.Modality == "SEG")

    out = service.settings.data_dir / "jobs" / job.key / "out"
    assert segmentation.PixelData == dcmread(out / "seg.dcm").PixelData
    labels = files.read_labels(out / "labels.nii.gz", {1: "Anterior", 2: "Posterior"})
    decoded = voxels_of(segmentation, decode, tmp_path / "decoded")
    assert decoded
    for number, voxels in decoded.items():
        assert voxels == positions(labels.array == number, labels.geometry.affine)

    # What a PACS sends back to us starts nothing.
    back = tmp_path / "back"
    back.mkdir()
    for number, result in enumerate(received):
        result.save_as(back / f"{number}.dcm", enforce_file_format=True)
    storescu(send, service.ports.dicom, back)
    storescu(send, service.ports.dicom, source)
    kit.wait(lambda: len(list((service.settings.data_dir / "returned").rglob("*.dcm"))) == len(received), 30)
    kit.wait(lambda: httpx.get(f"{service.page}metrics").text.count("segloop_open_studies 0") == 1, 30)
    assert len(service.store.jobs()) == 1


def test_a_whole_study_picks_the_crop_and_says_why_not_the_others(
    service: Service,
    orthanc: Orthanc,
    shared_data: Callable[[str], Path],
    require_peer: Callable[[str], Path],
) -> None:
    storescu(require_peer(STORESCU), service.ports.dicom, shared_data(CROP) / "Study3")
    # A sender that pauses gets a result of what came so far, and then one of everything.
    kit.wait(lambda: httpx.get(f"{service.page}metrics").text.count("segloop_open_studies 0") == 1, 60)
    ended = (JobState.DONE, JobState.FAILED)
    kit.wait(lambda: bool(jobs := service.store.jobs()) and all(job.state in ended for job in jobs), 240)
    job = service.store.jobs()[0]
    assert (job.state, job.code) == (JobState.DONE, "")
    base = service.page.rstrip("/")
    result = httpx.get(f"{base}/api/v1/jobs/{job.key}/files/result.json").json()
    assert len(result["refused"]) == 4
    assert all(refused["reasons"] for refused in result["refused"])


def test_files_go_to_a_web_server_and_come_back_the_same(
    orthanc: Orthanc, shared_data: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared_data(CROP) / "Study1" / "13_HCropVolume"
    assert main(["send", str(source), "--to", f"{orthanc.web}/dicom-web", "--json"]) == 0
    sent = [dcmread(path) for path in sorted(source.glob("*.dcm"))]
    assert json.loads(capsys.readouterr().out)["sent"] == len(sent)
    received = {d.SOPInstanceUID: d for d in orthanc.wado(str(sent[0].StudyInstanceUID))}
    assert set(received) == {d.SOPInstanceUID for d in sent}
    assert all(received[d.SOPInstanceUID].PixelData == d.PixelData for d in sent)


def test_a_web_server_that_takes_nothing_is_an_error(
    orthanc: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lie = tmp_path / "lie.dcm"
    lie.write_bytes(b"no image")
    assert main(["send", str(lie), "--to", f"{orthanc.web}/dicom-web", "--json"]) == 6
    assert json.loads(capsys.readouterr().out)["error"]["code"] in ("peer.refused", "peer.garbled")
