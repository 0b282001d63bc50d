"""Counts how many of a corpus's checks its copies pass, and looks for what they still hold of anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.tag import Tag
from pydicom.uid import UID

from deid_corpus import KINDS, Check, Corpus


def score(corpus: Corpus, copies: Sequence[Path], shift_days: Sequence[int]) -> dict[str, tuple[int, int]]:
    """For each kind, how many checks hold, and how many there are.

    Args:
        corpus: The originals.
        copies: Their copies, in the same order.
        shift_days: By how many days each patient's dates were to move back.
    """
    right, total = Counter[str](), Counter[str]()
    uids: dict[str, str] = {}
    aliases: dict[int, str] = {}
    for file, path in zip(corpus.files, copies, strict=True):
        before, after = dcmread(file.path), dcmread(path)
        for check in file.checks:
            total[check.kind] += 1
            old, new = _at(before, check.path), _at(after, check.path)
            if check.kind == "patient id consistent":
                held = aliases.setdefault(file.patient, str(new)) == str(new)
                held &= list(aliases.values()).count(str(new)) == 1
            elif check.kind == "UID consistent":
                held = uids.setdefault(str(old), str(new)) == str(new)
            elif check.kind == "date shifted":
                moved = date.fromisoformat(str(old)) - timedelta(days=shift_days[file.patient])
                held = str(new) == f"{moved:%Y%m%d}"
            elif check.kind == "pixels hidden":
                assert file.burned is not None
                top, left, bottom, right_ = file.burned
                held = len(np.unique(after.pixel_array[top:bottom, left:right_])) == 1
            else:
                held = _holds(check, old, new)
            right[check.kind] += held
    return {kind: (right[kind], total[kind]) for kind in KINDS}


def leaks(corpus: Corpus, copies: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Every planted token that stands in the bytes of a copy, in the usual character sets and the patient's own."""
    for file, path in zip(corpus.files, copies, strict=True):
        content = path.read_bytes().lower()
        for token in corpus.tokens[file.patient]:
            for codec in ("utf-8", "utf-16-le", "utf-16-be", *corpus.codecs[file.patient]):
                spelt = token.encode(codec, "ignore").lower()
                if len(spelt) > 4 and spelt in content:
                    yield path, codec


def _holds(check: Check, old: object, new: object) -> bool:
    text = str(new).casefold()
    if check.kind == "tag retained":
        return new is not None and str(new) != ""
    if check.kind == "text not null":
        return bool(text) and new is not None
    if check.kind == "text retained":
        return all(word.casefold() in text for word in check.words)
    if check.kind == "text removed":
        return not any(word.casefold() in text for word in check.words)
    if check.kind == "UID changed":
        return bool(new) and new != old and UID(str(new)).is_valid
    return new == old


def _at(dataset: Dataset, path: tuple[str | int, ...]) -> object:
    here: object = dataset
    for step in path:
        if isinstance(step, int):
            here = here[step] if len(here) > step else None  # type: ignore[index, arg-type]
        else:
            tag = Tag(step if step.isalpha() else int(step, 16))
            here = here[tag].value if tag in here else None  # type: ignore[operator, index]
        if here is None:
            return None
    return here
