"""Models by name, version and stage, with who put them there and why.

    <root>/<name>/<version>/     a bundle
    <root>/<name>/stages.json    digest of each version; which versions stood in a stage, the last one stands there now
    <root>/history.jsonl         every change, hash-chained (`segloop.audit`)

Bundles that travel inside the package are found as well; each counts as its model's production version until the
registry has one.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import Field, ValidationError

from segloop.audit import AuditLog, Event
from segloop.errors import InputError, ModelError
from segloop.infer.bundle import MANIFEST, Bundle
from segloop.infer.runtimes import open_runtime
from segloop.infer.selftest import selftest
from segloop.plan import Frozen


class Stage(StrEnum):
    """How far a version has come."""

    candidate = "candidate"
    shadow = "shadow"
    production = "production"


class Placement(Frozen):
    """A version put into a stage: by whom, when (UTC) and why."""

    version: str
    by: str
    why: str
    at: str


class Entry(Frozen):
    """One line of `Registry.list`.

    Attributes:
        name: Of the model.
        version: Of the model.
        digest: Of the bundle.
        source: `registry`, or `shipped` with the package.
        stages: Stages the version stands in now.
    """

    name: str
    version: str
    digest: str
    source: Literal["registry", "shipped"]
    stages: tuple[Stage, ...]


class _Record(Frozen):
    """stages.json of one model."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    versions: dict[str, str] = Field(default_factory=dict)
    stages: dict[Stage, tuple[Placement, ...]] = Field(default_factory=dict)

    def now(self, stage: Stage) -> str | None:
        placed = self.stages.get(stage, ())
        return placed[-1].version if placed else None


class Registry:
    """The models of one deployment. One process writes at a time; any number may read.

    Args:
        root: Folder; created when the first model is added. None knows only what is shipped with the package.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root

    def load(self, model: str | Path) -> Bundle:
        """A checked bundle.

        Args:
            model: A bundle's folder, `NAME`, `NAME@STAGE` or `NAME@VERSION`. A name alone means the production version:
                the registry's, else the shipped one. A version is looked up in the registry, then among the shipped.

        Raises:
            ModelError: `model.unknown` listing what there is; `bundle.corrupt` when the bundle is damaged or is not the
                one that was added.
        """
        folder = Path(model)
        if (folder / MANIFEST).is_file():
            return Bundle(folder)
        name, _, wanted = str(model).partition("@")
        wanted = wanted or Stage.production
        record = self._record(name)
        version = record.now(Stage(wanted)) if wanted in set(Stage) else wanted
        if version is not None and version in record.versions:
            assert self._root is not None  # a record was read from there
            return _verified(Bundle(self._root / name / version), record.versions[version])
        if name in shipped() and version is None and wanted == Stage.production:
            return Bundle(shipped()[name])
        if name in shipped() and version is not None and _version(shipped()[name]) == version:
            return Bundle(shipped()[name])
        known = [f"{e.name}@{e.version}" + "".join(f" ({s})" for s in e.stages) for e in self.list()]
        raise ModelError(
            f"There is no model {str(model)!r}. Known: {', '.join(known) or 'none'}.",
            code="model.unknown",
            found=str(model),
            expected=known,
            hint="Give one of these, or a bundle's folder.",
        )

    def list(self) -> tuple[Entry, ...]:
        """Every model and version, by name, the registry's before the shipped one.

        Raises:
            ModelError: `bundle.corrupt` when a shipped bundle is damaged; the registry's are checked by `load`.
        """
        entries: list[Entry] = []
        promoted: set[str] = set()
        for name in self._names():
            record = self._record(name)
            for version, digest in sorted(record.versions.items()):
                stages = tuple(stage for stage in Stage if record.now(stage) == version)
                entries.append(Entry(name=name, version=version, digest=digest, source="registry", stages=stages))
            if record.now(Stage.production):
                promoted.add(name)
        for name, folder in shipped().items():
            bundle = Bundle(folder)
            stages = () if name in promoted else (Stage.production,)
            entries.append(
                Entry(name=name, version=bundle.manifest.version, digest=bundle.digest, source="shipped", stages=stages)
            )
        return tuple(sorted(entries, key=lambda entry: entry.name))

    def add(self, path: Path, *, by: str, why: str = "", runtime: str = "auto") -> Bundle:
        """Copy a bundle into the registry after its hashes and its self-test have been checked.

        Adding the same bundle again changes nothing.

        Args:
            path: The bundle's folder.
            by: Account of whoever adds it.
            why: Reason, for the history.
            runtime: What the self-test runs on.

        Raises:
            ModelError: `bundle.corrupt`, `bundle.selftest`, `runtime.unavailable`.
            InputError: `usage` when the version is there with other content, or is called like a stage.
        """
        bundle = Bundle(path)
        name, version = bundle.manifest.name, bundle.manifest.version
        if version in set(Stage):
            raise InputError(f"A version cannot be called like the stage {version!r}.", code="usage", found=version)
        record = self._record(name)
        if record.versions.get(version, bundle.digest) != bundle.digest:
            raise InputError(
                f"{name} {version} is in the registry with other content ({record.versions[version][:19]}…).",
                code="usage",
                found=bundle.digest,
                expected=record.versions[version],
                hint="Export the bundle with a new version.",
            )
        place = self._folder() / name / version
        if version in record.versions:
            return _verified(Bundle(place), bundle.digest)
        selftest(bundle, open_runtime(bundle, runtime))
        self._note("model.added", by, bundle.manifest.name, version=version, digest=bundle.digest, why=why)
        place.parent.mkdir(parents=True, exist_ok=True)
        _copy(path, place, bundle.digest)
        self._write(name, record.model_copy(update={"versions": {**record.versions, version: bundle.digest}}))
        return Bundle(place)

    def promote(self, name: str, version: str, stage: Stage, *, by: str, why: str) -> None:
        """Put a version into a stage, in the place of the one that stands there.

        Raises:
            ModelError: `model.unknown` when the registry does not hold the version; `bundle.corrupt`.
            InputError: `usage` when nobody or no reason is named.
        """
        if not by.strip() or not why.strip():
            raise InputError("A promotion needs who decides it and why.", code="usage", expected="by and why")
        record = self._record(name)
        if version not in record.versions:
            raise ModelError(
                f"The registry holds no {name} {version}.",
                code="model.unknown",
                found=version,
                expected=sorted(record.versions),
                hint="Add the bundle first.",
            )
        _verified(Bundle(self._folder() / name / version), record.versions[version])
        self._note("model.promoted", by, name, version=version, stage=stage, why=why)
        placement = Placement(version=version, by=by, why=why, at=_now())
        stages = {**record.stages, stage: (*record.stages.get(stage, ()), placement)}
        self._write(name, record.model_copy(update={"stages": stages}))

    def rollback(self, name: str, stage: Stage, *, by: str, why: str) -> str:
        """Put the version back that stood in a stage before, and return it.

        Raises:
            ModelError: `model.unknown` when there is none before.
            InputError: `usage` when nobody or no reason is named.
        """
        record = self._record(name)
        placed = record.stages.get(stage, ())
        if len(placed) < 2:
            raise ModelError(
                f"No version of {name} stood in {stage} before the present one.",
                code="model.unknown",
                found=[p.version for p in placed],
                expected="at least two promotions",
            )
        if not by.strip() or not why.strip():
            raise InputError("A rollback needs who decides it and why.", code="usage", expected="by and why")
        self._note("model.rolled_back", by, name, version=placed[-2].version, stage=stage, why=why)
        self._write(name, record.model_copy(update={"stages": {**record.stages, stage: placed[:-1]}}))
        return placed[-2].version

    def placements(self, name: str, stage: Stage) -> tuple[Placement, ...]:
        """Who put which versions into a stage, oldest first; the last one stands there now."""
        return self._record(name).stages.get(stage, ())

    def _folder(self) -> Path:
        if self._root is None:
            raise InputError(
                "No registry folder was given.", code="usage", hint="Name one with --registry, or set data_dir."
            )
        return self._root

    def _names(self) -> tuple[str, ...]:
        if self._root is None or not self._root.is_dir():
            return ()
        return tuple(sorted(file.parent.name for file in self._root.glob("*/stages.json")))

    def _record(self, name: str) -> _Record:
        if name not in self._names():
            return _Record(schema=1)
        file = self._folder() / name / "stages.json"
        try:
            return _Record.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as fault:
            raise ModelError(
                f"The registry's stages.json of {name} cannot be read ({type(fault).__name__}).",
                found=str(file.name),
                hint="Restore it from a backup; history.jsonl tells what it held.",
            ) from fault

    def _write(self, name: str, record: _Record) -> None:
        file = self._folder() / name / "stages.json"
        temporary = file.with_name(f".stages.{secrets.token_hex(4)}.tmp")
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(record.model_dump(mode="json", by_alias=True), stream, indent=2)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)

    def _note(self, action: str, by: str, name: str, **detail: str) -> None:
        """Record a change before it is made: what cannot be recorded is not done."""
        key = f"{action} {name} {_now()} {secrets.token_hex(4)}"
        AuditLog(self._folder() / "history.jsonl").append(
            Event(key=key, action=action, actor=by, subject=name, detail={k: str(v) for k, v in detail.items()})
        )


def shipped() -> Mapping[str, Path]:
    """Folders of the bundles that travel inside the package, by model name."""
    folder = Path(str(resources.files("segloop"))) / "bundles"
    found = sorted(file.parent for file in folder.glob(f"*/{MANIFEST}"))
    return MappingProxyType({path.name: path for path in found})


def _version(folder: Path) -> str:
    return Bundle(folder).manifest.version


def _verified(bundle: Bundle, digest: str) -> Bundle:
    if bundle.digest != digest:
        raise ModelError(
            f"{bundle.manifest.name} {bundle.manifest.version} is not the bundle that was added.",
            code="bundle.corrupt",
            found=bundle.digest,
            expected=digest,
            hint="Restore the registry from a backup, or add the bundle again.",
        )
    return bundle


def _copy(source: Path, place: Path, digest: str) -> None:
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    try:
        shutil.copytree(source, temporary)
        _verified(Bundle(temporary), digest)
        # Left by an earlier attempt that ended before it was entered into stages.json.
        if place.exists():
            shutil.rmtree(place)
        temporary.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
