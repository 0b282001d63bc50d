"""Every kind of fault that a dataset may have: how bad it is, how it comes about, what to do, what `--fix` does."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Kind(NamedTuple):
    """One kind of fault.

    Attributes:
        severity: Unless the single fault says otherwise.
        cause: How it comes about.
        mend: What to do.
        fixed: What `--fix` does where it is safe; empty when nothing is.
    """

    severity: Severity
    cause: str
    mend: str
    fixed: str = ""


_LOOK = "Look at the image with its label map, and correct the case or leave it out."
_AGAIN = "Copy or export the file again."
_HEADER = "Write the label map again with the header of its image."

FILES: dict[str, Kind] = {
    "description": Kind(
        "error",
        "`dataset.json` is absent, is no JSON, or lacks what says which labels and cases there are.",
        "Write it as docs/reference/dataset.md shows.",
    ),
    "missing_image": Kind(
        "error",
        "A label map is there, its image is not: one was not copied, or is named differently.",
        "Add the image, or move the label map out of the folder.",
        "leaves the case out",
    ),
    "missing_label": Kind(
        "error",
        "An image is there, its label map is not: it was not drawn, not copied, or is named differently.",
        "Add the label map, or move the image out of the folder.",
        "leaves the case out",
    ),
    "missing_channel": Kind(
        "error",
        "One of the files `CASE_0000`, `CASE_0001` … is absent.",
        "Add the file, or leave the case out.",
    ),
    "extra_channel": Kind(
        "error",
        "A case has a channel file that the others lack.",
        "Move the further file out of the folder.",
        "leaves the further file out",
    ),
    "channel_count": Kind(
        "error",
        "Images differ in the number of channels; a picture may have been saved in colour or in grey.",
        "Convert all images to the same number of channels.",
        "takes one channel where a grey picture was saved as colour with three equal channels",
    ),
    "channel_names": Kind(
        "warning",
        "`dataset.json` names another number of channels than the images have.",
        "Name every channel in `modality` or `channel_names`.",
    ),
    "unlisted_case": Kind(
        "warning",
        "Image and label map are there, but `training` in `dataset.json` does not list them, so they are not used.",
        "Add the case to `training`, or move its files out of the folder.",
    ),
    "case_count": Kind(
        "warning",
        "`numTraining` in `dataset.json` is not the number of cases: files were added or taken away afterwards.",
        "Correct the number, and look whether cases are absent.",
        "writes the number of cases into `dataset.json`",
    ),
    "label_numbers": Kind(
        "warning",
        "Label numbers are not 0, 1, 2 … segloop keeps them; nnU-Net refuses such a dataset.",
        "Nothing has to be done here; number the labels in a row for other tools.",
    ),
    "label_names": Kind(
        "warning",
        "Two label numbers have one name, so tables and reports cannot tell them apart.",
        "Give each label a name of its own.",
    ),
    "duplicate_id": Kind(
        "error",
        "Two cases have one name: listed twice, or stored in two formats.",
        "Keep one of them, or rename one.",
        "lists the case once, where both entries name the same files",
    ),
    "case_collision": Kind(
        "warning",
        "Names differ in upper and lower case only; on Windows and macOS one file overwrites the other.",
        "Rename one of the cases.",
    ),
    "file_name": Kind(
        "warning",
        "The name holds what other systems and tools trip over. Chinese and other letters are no fault.",
        "Rename the files of the case.",
    ),
    "unicode_form": Kind(
        "error",
        "`dataset.json` spells the name with other code points than the disk (composed and decomposed letters, as "
        "macOS writes them), so the file is not found.",
        "Spell both alike (Unicode NFC).",
        "writes the names into `dataset.json` as they are on disk",
    ),
    "empty_file": Kind("error", "The file has 0 bytes: a copy was broken off, or the disk was full.", _AGAIN),
    "truncated_file": Kind("error", "The file ends too early: a copy was broken off, or the disk was full.", _AGAIN),
    "damaged_file": Kind("error", "Bytes of the file have changed: its checksum does not fit its content.", _AGAIN),
    "unreadable_file": Kind("error", "The file is not what its name says, or may not be read.", _AGAIN),
    "zero_size": Kind("error", "The image has no voxels along an axis: an empty crop.", "Crop the image again."),
    "four_dimensional": Kind(
        "error",
        "The file holds a series of volumes (time, diffusion, one-hot labels) where one volume is needed.",
        "Take one volume out of the series.",
        "takes the first volume of a label map whose volumes are all alike",
    ),
}

GEOMETRY: dict[str, Kind] = {
    "geometry_unstated": Kind(
        "error",
        "The file does not say how it lies in the patient, so left and right are unknown.",
        "Convert the image again with its orientation.",
    ),
    "geometry_contradictory": Kind(
        "error",
        "The file states two places in space that differ (sform and qform).",
        "Keep the right one, and set the other's code to 0.",
    ),
    "sheared_axes": Kind(
        "error",
        "The axes are not perpendicular: a gantry tilt, or an affine registration kept in the header.",
        "Resample the image to a rectangular grid.",
    ),
    "absurd_spacing": Kind(
        "error",
        "The distance between voxels cannot be true: metres or micrometres taken for millimetres, or a lost header.",
        "Correct the spacing in image and label map.",
    ),
    "spacing_outlier": Kind(
        "warning",
        "The distance between voxels is far from that of the other cases: another protocol, or a header error.",
        "Compare the header with the scanner's.",
    ),
    "single_slice": Kind(
        "warning",
        "A single slice among volumes: a part of the image is absent, or another kind of image is mixed in.",
        _LOOK,
    ),
    "shape_differs": Kind(
        "error",
        "Image and label map have different numbers of voxels: cropped, resampled, or of another image.",
        "Draw or resample the label map on the grid of its image.",
        "pads or crops the label map where both grids coincide, no voxel is interpolated and no label is cut off",
    ),
    "spacing_differs": Kind(
        "error",
        "Image and label map have the same voxels but state different distances between them: a lost header.",
        _HEADER,
        "gives the label map the image's header",
    ),
    "origin_differs": Kind(
        "error",
        "Image and label map have the same grid in different places: a lost header, or a shifted label map.",
        _HEADER,
        "gives the label map the image's header where the shift is at most half a voxel, or where the label map has "
        "the default header of a tool that lost it",
    ),
    "direction_differs": Kind(
        "error",
        "Image and label map are turned against each other in space: a lost or rounded header.",
        _HEADER,
        "gives the label map the image's header, under the same conditions as for `origin_differs`",
    ),
    "mirrored_label": Kind(
        "error",
        "The label map's axes run the other way than the image's: another tool stored it in another orientation.",
        "Turn the label map to the orientation of its image.",
        "turns the label map; its place in the patient stays the same and no voxel is interpolated",
    ),
    "channel_grid": Kind(
        "error",
        "The channel files of one case lie on different grids: sequences that were not registered to each other.",
        "Resample all channels to the grid of the first.",
    ),
}

LABELS: dict[str, Kind] = {
    "unknown_label": Kind(
        "error",
        "The label map holds numbers that the dataset does not name: another numbering, or a mask saved with loss.",
        "Name the number in `dataset.json`, or correct the label map.",
    ),
    "fractional_label": Kind(
        "error",
        "The label map holds fractions: it was interpolated linearly, or a probability map took its place.",
        "Resample the label map with the nearest neighbour.",
        "rounds numbers that are within 0.001 of whole ones",
    ),
    "float_label": Kind(
        "note",
        "The label map is stored in floating point, though its numbers are whole. segloop reads it as it is.",
        "Nothing has to be done; other tools may want whole numbers.",
        "stores it in whole numbers",
    ),
    "empty_label": Kind(
        "error",
        "The label map holds nothing but background: a label that was not drawn, or a case without the finding.",
        _LOOK,
    ),
    "full_label": Kind(
        "error",
        "One label fills the whole image: background and label exchanged, or an empty mask inverted.",
        _LOOK,
    ),
    "no_background": Kind(
        "warning",
        "Number 0 does not occur: numbers may be shifted by one, with 1 as the background.",
        "Number the background 0.",
    ),
    "unused_label": Kind(
        "warning",
        "A label that `dataset.json` names occurs in no case, so it cannot be learnt.",
        "Take it out of `labels`, or add cases that have it.",
    ),
    "absent_label": Kind(
        "warning",
        "A label that nearly all other cases have is absent here: forgotten, cut off, or truly not there.",
        _LOOK,
    ),
    "label_copied": Kind(
        "error",
        "The label map is that of another case: copied or saved under the wrong name.",
        "Find the right label map, or leave the case out.",
    ),
    "image_is_label": Kind(
        "error",
        "Image and label map hold the same voxels: one was saved over the other.",
        "Put the right file in its place.",
    ),
    "foreign_mask": Kind(
        "error",
        "The label map is unlike all others in size, place or what it covers: of another task or another patient.",
        _LOOK,
    ),
    "label_on_air": Kind(
        "error",
        "The label lies on the empty background of the image, where that of the other cases does not.",
        _LOOK,
    ),
    "sides_swapped": Kind(
        "error",
        "Labels named by their side lie on the wrong side of each other.",
        "Exchange the two numbers, or correct the image's orientation: find out which of the two is wrong.",
    ),
    "exchanged_labels": Kind(
        "error",
        "Two labels lie in each other's place, compared with all other cases: their numbers are exchanged.",
        "Exchange the two numbers in this label map.",
    ),
    "mirrored_case": Kind(
        "error",
        "The labels lie to each other as in a mirror, compared with all other cases: a wrong orientation.",
        "Correct the orientation of image and label map.",
    ),
    "flipped_label": Kind(
        "error",
        "The label map fits its image better mirrored than as it is, which is so in no other case: drawn on, or saved "
        "from, an image that was mirrored.",
        "Mirror the label map back along that axis, and look at it on the image.",
    ),
    "specks": Kind(
        "warning",
        "Scraps of a few voxels lie apart from the label, which the other cases do not have: slips of the brush.",
        "Remove them, or set `post` in the Plan for predictions.",
    ),
}

IMAGES: dict[str, Kind] = {
    "not_finite": Kind(
        "error",
        "The image holds NaN or infinity: a division by zero, or a mask outside the field of view.",
        "Replace them by the value of the background.",
        "replaces them by the lowest finite value, where none lies inside a label",
    ),
    "constant_image": Kind("error", "All voxels of the image, or of a channel, have one value.", _AGAIN),
    "duplicate_image": Kind(
        "error",
        "Two cases show the same image: the network is told the answer of a case that it is scored on, or one case "
        "counts twice.",
        "Keep one of the two.",
        "keeps the first, where both label maps are the same too",
    ),
    "near_duplicate": Kind(
        "error",
        "Two images are the same but for noise, scale or compression: one scan exported twice, or one patient twice.",
        "Keep one of the two, or name the patient in `groups.csv`, so that both stay on one side of the split.",
    ),
    "mixed_modalities": Kind(
        "error",
        "The values are those of another modality than the other cases': Hounsfield units among others, or none.",
        "Take the case out, or make it a channel or a dataset of its own.",
    ),
    "modality_disagrees": Kind(
        "warning",
        "The values do not fit the modality that `dataset.json` states; it decides how they are normalised.",
        "Correct `modality`, or export the images in the right unit.",
    ),
    "wrong_rescale": Kind(
        "error",
        "The values are shifted or scaled against the other cases': stored without rescale intercept or slope.",
        "Export the image again with slope and intercept applied.",
        "subtracts 1024 or 1000 from a CT that is shifted by exactly that",
    ),
}

SPLIT: dict[str, Kind] = {
    "patient_in_two_folds": Kind(
        "error",
        "Images of one patient fall on two sides of the split, so that scores are too good.",
        "Name the patient of each case in `groups.csv`; folds are then cut by patients.",
        "writes `groups.csv`",
    ),
    "split_file": Kind(
        "error",
        "`splits_final.json` trains and validates on the same patient, or names cases that are not there.",
        "Remove the file (segloop cuts its own folds, the same as nnU-Net's), or correct it.",
    ),
    "test_leak": Kind(
        "error",
        "A test image (`imagesTs`) is also a training image, so that test scores are too good.",
        "Take the image out of one of the two.",
    ),
    "few_cases": Kind(
        "warning",
        "There are fewer patients than folds, so that no five-fold cross-validation can be cut.",
        "Add cases, or ask for fewer folds.",
    ),
}

PLAN: dict[str, Kind] = {
    "mirroring": Kind(
        "error",
        "The Plan mirrors left and right although label names tell the sides apart.",
        "Take axis 2 out of `mirror_axes`, or list the pairs in `training.augmentation.swap_labels`.",
        "writes the corrected Plan to OUT/plan.json",
    ),
    "plan_labels": Kind("error", "The Plan was made for other labels than the dataset has.", "Plan again."),
    "plan_channels": Kind("error", "The Plan was made for another number of channels.", "Plan again."),
}

GROUPS: dict[str, dict[str, Kind]] = {
    "Files and description": FILES,
    "Geometry": GEOMETRY,
    "Label maps": LABELS,
    "Images": IMAGES,
    "Patients and folds": SPLIT,
    "With `--plan`": PLAN,
}
"""Title of a group to its kinds, in the order of the documentation."""

KINDS: dict[str, Kind] = {name: kind for group in GROUPS.values() for name, kind in group.items()}
"""Every kind by its name."""
