"""Write the data files of `segloop.io.deid` from the DICOM standard.

    python scripts/deid_tables.py part15.xml

`part15.xml` is the DocBook source of PS3.15, as dicom.nema.org publishes it. The types of attributes in IODs
(PS3.3) are those that highdicom carries.
"""

from __future__ import annotations

import hashlib
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom.datadict import tag_for_keyword

TABLES = Path(__file__).resolve().parent.parent / "src" / "segloop" / "io" / "deid" / "tables"
_ID = "{http://www.w3.org/XML/1998/namespace}id"


def main(path: Path) -> None:
    """Read the standard and write the four files."""
    content = path.read_bytes()
    root = ET.fromstring(content)  # noqa: S314 - a file the maintainer has fetched from the publisher
    tables = {e.get(_ID): e for e in root.iter() if e.tag.endswith("}table")}
    subtitle = next(_text(e) for e in root.iter() if e.tag.endswith("}subtitle"))
    source = f"# {subtitle.split(' - ')[0]}, {{}}; part15.xml SHA-256 {hashlib.sha256(content).hexdigest()}\n"
    profile = _rows(tables["table_E.1-1"])
    profile[1:] = sorted((r for r in profile[1:]), key=lambda r: r[1])
    _write("profile.tsv", source.format("Table E.1-1"), profile)
    _write("content.tsv", source.format("Table E.3.4-1"), _rows(tables["table_E.3.4-1"]))
    private = [[r[0].strip("()").replace(",", ""), *r[1:4]] for r in _rows(tables["table_E.3.10-1"])]
    _write("private.tsv", source.format("Table E.3.10-1"), private)
    compound = {r[1].strip("()").replace(",", "").upper() for r in profile[1:] if "/" in r[4]}
    types = "# PS3.3: SOP class, and its attributes of a compound action at type 1 and 2\n"
    _write("types.tsv", types, _types(compound))


def _types(compound: set[str]) -> list[list[str]]:
    """For each SOP class, the compound attributes that its IOD has at type 1 and at type 2."""
    rows = [["SOP Class UID", "Type 1", "Type 2"]]
    modules, attributes = get_iod_module_map(), get_module_attribute_map()
    for uid, iod in sorted(get_sop_class_iod_map().items()):
        strictest: dict[str, str] = {}
        for module in modules[iod]:
            for attribute in attributes.get(module["key"], []):
                tag = f"{tag_for_keyword(attribute['keyword']) or 0:08X}"
                if tag in compound and not attribute["path"]:
                    strictest[tag] = min(strictest.get(tag, "3"), attribute["type"][0])
        rows.append([uid, *(",".join(sorted(t for t, kind in strictest.items() if kind == n)) for n in "12")])
    return rows


def _rows(table: ET.Element) -> list[list[str]]:
    rows = [r for r in table.iter() if r.tag.endswith("}tr")]
    return [[_text(c) for c in r if c.tag.endswith(("}td", "}th"))] for r in rows]


def _text(element: ET.Element) -> str:
    return re.sub(r"\s+", " ", "".join(element.itertext()).replace("\u200b", "")).strip()


def _write(name: str, source: str, rows: list[list[str]]) -> None:
    lines = ["\t".join(row).rstrip() + "\n" for row in rows]
    (TABLES / name).write_text(source + "".join(lines), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
