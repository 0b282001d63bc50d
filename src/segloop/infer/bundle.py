"""A model on disk: plan, weights, card and self-test cases, each file's hash in the manifest.

    manifest.json          everything below with its SHA-256; the bundle's digest is the SHA-256 of this file
    plan.json
    weights/weights.npz    float16 arrays by variable path, no pickle
    weights/openvino.xml   the same network for OpenVINO, with openvino.bin
    card.md                data, licence, metrics, intended use, limits
    selftest/              caseN-image and caseN-labels

An ensemble has, instead of `weights/`, a folder `members/` with a whole bundle for each network; a cascade has, beside
`weights/`, a folder `coarse/` with the whole bundle of its first network. The outer manifest lists all their files.

`Bundle(folder)` reads one and checks every byte first; `segloop.infer.export` writes one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, field_validator

from segloop.errors import ModelError
from segloop.measure.intervals import VolumeInterval
from segloop.plan import Frozen, LabelSpec, Plan, Provenance
from segloop.volume import Labels, Volume

if TYPE_CHECKING:
    import keras

RESEARCH_USE = "For research use only. Not a medical device."
SHIPPED_BYTES = 15 * 2**20
"""Largest bundle that may travel inside the package."""

MANIFEST, PLAN, CARD = "manifest.json", "plan.json", "card.md"
WEIGHTS, GRAPH = "weights/weights.npz", "weights/openvino.xml"
SELFTEST = "selftest"
COARSE = "coarse"


class Member(Frozen):
    """One model of an ensemble.

    Attributes:
        folder: Of its bundle, below the ensemble's.
        digest: Of that bundle.
        weight: Its share of the mean, before all shares are divided by their sum.
    """

    folder: str = Field(pattern=r"^members/\w[\w.-]*$")
    digest: str
    weight: float = Field(default=1.0, gt=0)


class Manifest(Frozen):
    """What a bundle is and holds.

    Attributes:
        name: Of the model, the Plan's.
        version: Of the model; a registry holds a version once.
        labels: What the label numbers mean.
        files: SHA-256 (hex) of every other file by its path below the bundle.
        provenance: Data, software and machine behind the weights.
        intended_use: Shown on every report.
        metrics: Numbers of the card that programs compare, such as `mean_dice`.
        plan_digest: `Plan.digest` when the bundle was written; a later segloop, whose Plan has more fields, computes
            another for the same file.
        members: The models of an ensemble, whose probabilities are averaged; empty for a single model.
        intervals: How far measured volumes may lie from the truth, label by label; empty when not known.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    name: str = Field(pattern=r"^\w[\w.-]*$")
    version: str = Field(pattern=r"^\w[\w.+-]*$")
    labels: tuple[LabelSpec, ...]
    files: dict[str, str]
    provenance: Provenance = Provenance()
    intended_use: str = RESEARCH_USE
    metrics: dict[str, float] = Field(default_factory=dict)
    plan_digest: str
    members: tuple[Member, ...] = ()
    intervals: tuple[VolumeInterval, ...] = ()

    @field_validator("files")
    @classmethod
    def _below(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or name == MANIFEST:
                raise ValueError(f"{name!r} is no file below the bundle")
        return files


class Bundle:
    """A bundle whose every file has just been compared with its manifest.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
        manifest: Read from manifest.json.
        plan: Read from plan.json.
        digest: `sha256:…` of manifest.json, and so of everything.

    Raises:
        ModelError: `model.unknown` when there is no such folder; `bundle.corrupt` naming the file that is missing, too
            many, or has other bytes than the manifest says.
    """

    __slots__ = ("digest", "manifest", "path", "plan")

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            raise ModelError(f"There is no bundle folder {path.name!r}.", code="model.unknown", found=path.name)
        content = self._bytes(MANIFEST)
        self.digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.manifest = _parsed(content)
        self.check()
        self.plan = Plan.load(path / PLAN)
        if self.plan.name != self.manifest.name or self.plan.label_names != {
            x.value: x.name for x in self.manifest.labels
        }:
            raise _corrupt(
                PLAN, f"for {self.plan.name} with labels {self.plan.label_names}", "the manifest's name and labels"
            )

    def check(self) -> None:
        """Compare every file with the manifest again.

        Raises:
            ModelError: `bundle.corrupt` naming the first file that differs, is missing or is not listed.
        """
        if "sha256:" + hashlib.sha256(self._bytes(MANIFEST)).hexdigest() != self.digest:
            raise _corrupt(MANIFEST, "other bytes than when it was opened", self.digest)
        for name, expected in sorted(self.manifest.files.items()):
            found = hashlib.sha256(self._bytes(name)).hexdigest()
            if found != expected:
                raise _corrupt(name, f"sha256 {found}", f"sha256 {expected}")
        for file in sorted(self.path.rglob("*")):
            name = file.relative_to(self.path).as_posix()
            if not file.is_dir() and name not in self.manifest.files and name != MANIFEST:
                raise _corrupt(name, "a file that the manifest does not list", "no such file")

    @property
    def card(self) -> str:
        """The model card, Markdown."""
        return self._bytes(CARD).decode("utf-8")

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def members(self) -> tuple[tuple[Bundle, float], ...]:
        """The bundles of an ensemble with their weights, which sum to 1; empty for a single model.

        Raises:
            ModelError: `bundle.corrupt` when a member is another than the manifest says, or has other labels.
        """
        total = sum(member.weight for member in self.manifest.members)
        found = [(Bundle(self.path / m.folder), m) for m in self.manifest.members]
        for bundle, member in found:
            if bundle.digest != member.digest or bundle.plan.label_names != self.plan.label_names:
                raise _corrupt(member.folder, f"{bundle.digest} with {bundle.plan.label_names}", member.digest)
        return tuple((bundle, member.weight / total) for bundle, member in found)

    def coarse(self) -> Bundle:
        """The bundle of a cascade's first network.

        Raises:
            ModelError: `bundle.corrupt` when it is absent, or holds another plan than the cascade's.
        """
        first = Bundle(self.path / COARSE) if (self.path / COARSE).is_dir() else None
        if first is None or first.plan != self.plan.coarse:
            raise _corrupt(COARSE, "absent" if first is None else "of another plan", "the first network of the cascade")
        return first

    def weights(self) -> dict[str, np.ndarray]:
        """Weights by variable path, float32.

        Raises:
            ModelError: `bundle.ensemble` for an ensemble, which has none of its own.
        """
        if self.manifest.members:
            raise ModelError(
                f"{self.manifest.name} is an ensemble of {len(self.manifest.members)} models.",
                code="bundle.ensemble",
                found=len(self.manifest.members),
                expected="a single model",
                hint=f"Take one of its members, such as {self.manifest.members[0].folder}.",
            )
        with np.load(self.path / WEIGHTS, allow_pickle=False) as archive:
            return {name: archive[name].astype(np.float32) for name in archive.files}

    def selftest_cases(self) -> list[tuple[Volume, Labels]]:
        """The self-test images with the labels this model gave them when it was exported."""
        from segloop.io import files

        names = self.plan.label_names
        images = sorted((self.path / SELFTEST).glob("case*-image.*"))
        return [
            (files.read(image), files.read_labels(image.with_name(f"{image.name.split('-')[0]}-labels.nii.gz"), names))
            for image in images
        ]

    def __repr__(self) -> str:
        return f"Bundle({self.manifest.name} {self.manifest.version}, {self.digest[:19]})"

    def _bytes(self, name: str) -> bytes:
        file = self.path / name
        try:
            # A link could lead to bytes that change behind the hash, or out of the bundle.
            if file.is_symlink() or not file.resolve().is_relative_to(self.path.resolve()):
                raise _corrupt(name, "a link", "a file")
            return file.read_bytes()
        except OSError as fault:
            raise _corrupt(name, fault.strerror or type(fault).__name__, "a readable file") from fault


def load_network(bundle: Bundle, dtype: str = "float32") -> keras.Model:
    """The bundle's Keras network: full-resolution float32 logits, weights set.

    Args:
        bundle: Where plan and weights are taken from.
        dtype: Keras policy of the hidden layers.

    Raises:
        ModelError: `bundle.corrupt` when weights and plan do not belong together.
    """
    return network_of(bundle.plan, bundle.weights(), dtype)


def network_of(plan: Plan, weights: dict[str, np.ndarray], dtype: str = "float32") -> keras.Model:
    """The Plan's network with the given weights; see `load_network`."""
    from segloop.nets import build_unet, deploy

    network = deploy(build_unet(plan.network, seed=0, dtype=dtype))
    own = {variable.path: variable for variable in network.weights}
    if set(own) != set(weights):
        differing = sorted(set(own) ^ set(weights))
        raise _corrupt(WEIGHTS, f"other variables than the plan's network has: {', '.join(differing[:5])}", "the same")
    for path, variable in own.items():
        if tuple(variable.shape) != weights[path].shape:
            raise _corrupt(WEIGHTS, f"{path} of shape {weights[path].shape}", f"shape {tuple(variable.shape)}")
        variable.assign(weights[path])
    return network


def _parsed(content: bytes) -> Manifest:
    try:
        document: Any = json.loads(content)
        return Manifest.model_validate(document)
    except (ValueError, ValidationError) as fault:
        raise _corrupt(MANIFEST, f"no valid manifest ({type(fault).__name__})", "schema 1") from fault


def _corrupt(name: str, found: str, expected: str) -> ModelError:
    return ModelError(
        f"The bundle is damaged: {name} is {found}; expected {expected}.",
        code="bundle.corrupt",
        found={"file": name, "found": found},
        expected=expected,
        hint="Copy the bundle again from where it came, or export it again.",
    )
