"""Copies of DICOM files that name nobody: PS3.15 annex E with its options, by tables of the standard.

    deid.deidentify(files, out, deid.read_key(key_file), deid.Profile.of(retain=["longitudinal"]))

What happens to each attribute stands in `tables/`, written from the standard's own source. Pseudonyms, UIDs and date
shifts are keyed hashes: the same patient, study and instance get the same ones each time, on every host, and nobody
without the key can link them back. Each copy is searched for everything that identifies before it gets its name. With a
`MappingTable`, results about the copies find back to the original study: `reidentify`.

Source: DICOM PS3.15, annex E; `table.edition()` says which edition.
"""

from __future__ import annotations

from segloop.io.deid.copies import Deidentified, Refused, alias_of, deidentify, pseudonymise
from segloop.io.deid.keys import new_uid, pseudonym, read_key
from segloop.io.deid.mapping import Links, MappingTable, merged, read_links
from segloop.io.deid.profile import BASIC, CLEAN, RETAIN, Option, Profile
from segloop.io.deid.relink import Reidentified, reidentify
from segloop.io.deid.tracing import Traced, aliases_in, trace

__all__ = [
    "BASIC",
    "CLEAN",
    "RETAIN",
    "Deidentified",
    "Links",
    "MappingTable",
    "Option",
    "Profile",
    "Refused",
    "Reidentified",
    "Traced",
    "alias_of",
    "aliases_in",
    "deidentify",
    "merged",
    "new_uid",
    "pseudonym",
    "pseudonymise",
    "read_key",
    "read_links",
    "reidentify",
    "trace",
]
