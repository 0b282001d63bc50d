"""Invented people, devices and dates for synthetic studies. Any likeness is chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np

_LATIN = ("Ashgrove^Ida", "Brackenfield^Tom", "Cloudsley^Maren", "Dunmoor^Felix", "Elderwick^Rosa", "Fernhollow^Jonas")
_CHINESE = (
    "Tan^Xiaohe=谭^晓禾=",
    "Mu^Qinglan=沐^青岚=",
    "Su^Yuanshan=苏^远山=",
    "Lu^Wanzhou=陆^晚舟=",
    "Gu^Nanxing=顾^南星=",
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and when, all invented.

    Args:
        name: DICOM person name; Chinese ones carry the ideographic group.
        patient_id: Invented number.
        birth_date: Day of birth.
        sex: `F`, `M` or `O`.
        accession: Accession number, at most 16 characters.
        study_id: Study ID.
        study_time: When the study began.
    """

    name: str
    patient_id: str
    birth_date: date
    sex: str
    accession: str
    study_id: str
    study_time: datetime

    def after(self, days: int) -> Identity:
        """The same person at a later examination."""
        return replace(
            self,
            accession=f"{self.accession[:10]}-{days}"[:16],
            study_id=f"{self.study_id}-{days}"[:16],
            study_time=self.study_time + timedelta(days=days),
        )


def draw_identity(rng: np.random.Generator, seed: int) -> Identity:
    """An invented patient with an examination in 2025; every second seed has a Chinese name."""
    names = _CHINESE if seed % 2 else _LATIN
    start = datetime(2025, 1, 2, 7) + timedelta(days=int(rng.integers(0, 330)), seconds=int(rng.integers(0, 11 * 3600)))
    return Identity(
        name=names[int(rng.integers(len(names)))],
        patient_id=f"PH{int(rng.integers(10**7)):07d}",
        birth_date=date(1940, 1, 1) + timedelta(days=int(rng.integers(0, 22000))),
        sex="FMO"[int(rng.choice(3, p=[0.49, 0.49, 0.02]))],
        accession=f"A{int(rng.integers(10**9)):09d}",
        study_id=str(int(rng.integers(1000, 10000))),
        study_time=start,
    )
