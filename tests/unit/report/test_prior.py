"""Earlier results: used for the same patient and for nobody else, and the lesions keep their names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from follow_kit import LARGE, OTHER_MODEL, SMALL, THIRD, Kept, keep
from results import SPECS, write_series
from segloop.errors import InputError
from segloop.measure import Fate, Verdict, VolumeInterval
from segloop.plan import Code
from segloop.report import read_priors
from segloop.report.prior import NOT_EARLIER, NOT_PLACED, OTHER_LABELS, OTHER_PATIENT, PATIENT_UNKNOWN, SAME_PATIENT

Keep = Callable[..., Kept]
ELSE = {
    "IssuerOfPatientID": "ELSEWHERE",
    "PatientID": "PID-2",
    "PatientBirthDate": "19700103",
    "PatientSex": "M",
}
GROWN = np.s_[3:8, 24:36, 24:37]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return keep(tmp_path_factory.mktemp("prior") / "first", "20260101", SMALL, LARGE)


def test_the_four_attributes_are_those_of_the_rule() -> None:
    assert set(SAME_PATIENT) == set(ELSE)


@pytest.mark.parametrize("keyword", sorted(ELSE))
@pytest.mark.parametrize("value", ["differs", "", None])
def test_a_prior_of_another_or_an_unknown_patient_is_not_used(
    first: Kept, tmp_path: Path, keyword: str, value: str | None
) -> None:
    stated = ELSE[keyword] if value == "differs" else value
    later = write_series(tmp_path / "later", changes={"StudyDate": "20260401", keyword: stated})
    priors = read_priors([first.folder], later, SPECS)
    code = OTHER_PATIENT if value == "differs" else PATIENT_UNKNOWN
    # The attribute is named, nobody's value of it.
    assert priors == ((), (f"{code}: {keyword}",))


def test_nothing_of_a_refused_prior_reaches_the_result(first: Kept, tmp_path: Path) -> None:
    later = keep(tmp_path / "later", "20260401", LARGE, priors=(first.folder,), PatientID="PID-2")
    assert later.findings.follow_up.priors == ()
    assert later.findings.warnings == (f"{OTHER_PATIENT}: PatientID",)
    assert not set(first.tracked.values()) & set(later.tracked.values())
    told = later.findings.model_dump_json()
    assert not [word for word in ("PID-", "HOSPITAL", "19700102", "Doe", "first-key") if word in told]


@pytest.mark.parametrize("keyword", sorted(ELSE))
def test_what_the_prior_itself_does_not_state_is_not_taken_for_agreement(tmp_path: Path, keyword: str) -> None:
    keep(tmp_path / "a", "20260101", LARGE, **{keyword: ""})
    later = write_series(tmp_path / "b", changes={"StudyDate": "20260401", keyword: ""})
    assert read_priors([tmp_path / "a"], later, SPECS) == ((), (f"{PATIENT_UNKNOWN}: {keyword}",))


def test_a_prior_of_the_same_patient_under_another_name_is_used(first: Kept, tmp_path: Path) -> None:
    later = keep(tmp_path / "b", "20260401", LARGE, priors=(first.folder,), PatientName="Roe^Jane")
    assert [prior.key for prior in later.findings.follow_up.priors] == ["first-key"]
    assert later.findings.warnings == ()


@pytest.mark.parametrize("study_date", ["20260101", "20251231", ""])
def test_only_an_earlier_date_is_prior(first: Kept, tmp_path: Path, study_date: str) -> None:
    later = write_series(tmp_path / "b", changes={"StudyDate": study_date})
    assert read_priors([first.folder], later, SPECS) == ((), (NOT_EARLIER,))


def test_a_prior_without_a_common_label_is_not_used(first: Kept, tmp_path: Path) -> None:
    other = tuple(s.model_copy(update={"code": Code(value="1", meaning="Other")}) for s in SPECS)
    later = write_series(tmp_path / "b", changes={"StudyDate": "20260401"})
    assert read_priors([first.folder], later, other) == ((), (OTHER_LABELS,))


def test_a_folder_that_is_no_result_is_refused(first: Kept, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"result\.json"):
        read_priors([tmp_path], first.series, SPECS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sr.dcm", "another study"),
        ("findings.json", "other volumes"),
        ("labels.nii.gz", "is not the mask"),
        ("result.json", "another study"),
    ],
)
def test_a_folder_with_a_file_of_another_patients_result_is_refused(
    first: Kept, tmp_path: Path, name: str, message: str
) -> None:
    # The same labels and number of lesions, so that only what was measured tells them apart.
    other = keep(tmp_path / "other", "20250101", SMALL, np.s_[3:8, 24:36, 24:35], PatientID="PID-2")
    mixed = tmp_path / "mixed"
    shutil.copytree(first.folder, mixed)
    shutil.copy(other.folder / name, mixed / name)
    later = write_series(tmp_path / "later", changes={"StudyDate": "20260401"})
    with pytest.raises(InputError, match=message):
        read_priors([mixed], later, SPECS)


def test_lesions_keep_name_and_uid_when_their_sizes_change_places(first: Kept, tmp_path: Path) -> None:
    swapped = (np.s_[2:7, 6:17, 6:17], np.s_[4:7, 26:32, 26:32])
    later = keep(tmp_path / "b", "20260401", *swapped, THIRD, priors=(first.folder,))
    followed = later.findings.follow_up
    assert [(one.identifier, one.seen, one.fate) for one in followed.lesions] == [
        ("Lesion 1", (1, 3), Fate.FOLLOWED),
        ("Lesion 2", (2, 1), Fate.FOLLOWED),
        ("Lesion 3", (None, 2), Fate.NEW),
    ]
    before, after = first.tracked, later.tracked
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"Lesion 3"}
    assert len(set(after.values())) == len(after)
    assert (first.time_points, later.time_points) == (set(), {"2"})
    # The segment of a whole label has the same name at both dates, too.
    segments = [
        {s.TrackingID: s.TrackingUID for s in pydicom.dcmread(one.folder / "seg.dcm").SegmentSequence}
        for one in (first, later)
    ]
    assert segments[0] == segments[1]
    assert segments[1].items() <= after.items()


def test_a_name_stays_over_three_dates_and_a_resolved_lesions_name_is_not_given_again(tmp_path: Path) -> None:
    keep(tmp_path / "a", "20260101", SMALL, LARGE)
    second = keep(tmp_path / "b", "20260301", LARGE, priors=(tmp_path / "a",))
    third = keep(tmp_path / "c", "20260601", LARGE, THIRD, priors=(tmp_path / "b", tmp_path / "a"))
    assert [(one.identifier, one.seen, one.fate) for one in third.findings.follow_up.lesions] == [
        ("Lesion 1", (1, 1, 1), Fate.FOLLOWED),
        ("Lesion 2", (2, None, None), Fate.RESOLVED),
        ("Lesion 3", (None, None, 2), Fate.NEW),
    ]
    assert second.tracked["Lesion 1"] == third.tracked["Lesion 1"]
    assert third.time_points == {"3"}
    # Seen from the second date alone, it is the same lesion still.
    alone = keep(tmp_path / "d", "20260601", LARGE, priors=(tmp_path / "b",))
    assert alone.tracked["Lesion 1"] == third.tracked["Lesion 1"]


def test_the_order_in_which_priors_are_given_does_not_matter(first: Kept, tmp_path: Path) -> None:
    keep(tmp_path / "b", "20260301", LARGE)
    folders = (first.folder, tmp_path / "b")
    one = keep(tmp_path / "x" / "c", "20260601", LARGE, THIRD, priors=folders)
    other = keep(tmp_path / "y" / "c", "20260601", LARGE, THIRD, priors=(*reversed(folders), first.folder))
    assert one.findings == other.findings


def test_an_unchanged_patient_has_not_changed(first: Kept, tmp_path: Path) -> None:
    later = keep(tmp_path / "b", "20260401", SMALL, LARGE, priors=(first.folder,)).findings.follow_up
    assert {one.fate for one in later.lesions} == {Fate.FOLLOWED}
    changes = [one.change for one in (*later.lesions, *later.volumes) if one.change is not None]
    assert [(c.ratio, c.verdict, c.doubling_days, c.days) for c in changes] == [
        (1.0, Verdict.WITHIN_NOISE, None, 90)
    ] * 4
    assert later.sums.response.category == "SD"
    assert later.sums.sums_mm[0] == later.sums.sums_mm[1]


def test_the_models_own_intervals_decide_what_is_growth(tmp_path: Path) -> None:
    for spread, verdict in ((0.02, Verdict.GROWN), (0.2, Verdict.WITHIN_NOISE)):
        rule = VolumeInterval(label=4, centre=0.0, lower=-spread, upper=spread, seen_ml=(0.01, 50.0), cases=40)
        root = tmp_path / str(spread)
        keep(root / "a", "20260101", LARGE, intervals=(rule,))
        later = keep(root / "b", "20260401", GROWN, priors=(root / "a",), intervals=(rule,)).findings.follow_up
        whole = next(one.change for one in later.volumes if one.label == 4)
        (lesion,) = later.lesions
        assert (whole.ratio, whole.verdict, whole.assumed) == (pytest.approx(13 / 12), verdict, False)
        # The label's only part is measured as well as the label.
        assert lesion.change == whole


def test_another_model_is_shown_and_not_compared(first: Kept, tmp_path: Path) -> None:
    later = keep(tmp_path / "b", "20260401", GROWN, priors=(first.folder,), model=OTHER_MODEL)
    followed = later.findings.follow_up
    assert [(p.version, p.comparable) for p in followed.priors] == [("1.0", False)]
    assert followed.priors[0].measurements == first.findings.measurements
    assert (followed.reference, followed.volumes, followed.sums.response) == (None, (), None)
    assert {one.change for one in followed.lesions} == {None}
    # It is the same lesion for all that.
    assert later.tracked["Lesion 1"] == first.tracked["Lesion 1"]


def test_places_that_cannot_be_brought_together_follow_no_lesion_and_say_so(first: Kept, tmp_path: Path) -> None:
    later = keep(tmp_path / "b", "20260401", LARGE, priors=(first.folder,), organ=None, FrameOfReferenceUID="1.2.3")
    assert later.findings.warnings == (NOT_PLACED,)
    assert (later.findings.follow_up.lesions, later.findings.follow_up.placed) == ((), "not")
    assert not set(first.tracked.values()) & {uid for name, uid in later.tracked.items() if name != "Lesion"}
    # Volumes of whole labels do not depend on places.
    assert [one.change is not None for one in later.findings.follow_up.volumes] == [False, False, True]


def test_another_frame_of_reference_is_placed_by_the_organ(first: Kept, tmp_path: Path) -> None:
    later = keep(tmp_path / "b", "20260401", SMALL, LARGE, priors=(first.folder,), FrameOfReferenceUID="1.2.3")
    assert later.findings.follow_up.placed == "organ"
    assert later.tracked == first.tracked
