"""A process of its own that writes into a mapping table; in a module that a spawned process can import."""

from __future__ import annotations

from multiprocessing.synchronize import Event
from pathlib import Path

import service_kit as kit
from segloop.io import deid
from segloop.io.deid import mapping as mapping_of


def write(table: Path, number: int, key: bytes, go: Event) -> None:
    """Note one study in three steps, once `go` is set."""
    mapping = deid.MappingTable(table, key)
    go.wait(30)
    for slice_ in range(1, 4):
        before = kit.slice_of(slice_, f"1.2.3.{number}", PatientID=f"P{number}")
        copy = kit.slice_of(slice_, f"1.2.9.{number}", PatientID=deid.pseudonym(f"P{number}", "", key))
        mapping.note(mapping_of.Original.of(before), copy)
        mapping.save()
