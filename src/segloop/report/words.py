"""The words of the printed report, one set per language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh-CN"]


@dataclass(frozen=True, slots=True)
class Words:
    """Every phrase that the page prints, but for names that come from the model or the study."""

    title: str
    draft: str
    research: str
    patient: str
    name: str
    patient_id: str
    birth_date: str
    sex: str
    sexes: tuple[tuple[str, str], ...]
    study: str
    accession: str
    study_date: str
    description: str
    referring: str
    technique: str
    series: str
    modality: str
    slices: str
    spacing: str
    orientation: str
    model: str
    made: str
    measurements: str
    structure: str
    volume: str
    longest: str
    perpendicular: str
    intensity: str
    intensity_unit: str
    not_found: str
    nothing_found: str
    key_images: str
    planes: tuple[tuple[str, str], ...]
    slice: str
    notes: str
    method: str
    unprintable: str
    empty_result: str
    cut_off: str
    slices_sheared: str
    slices_resampled: str
    explained: str
    not_explained: str
    review: str
    unsigned: str
    reviewer: str
    organisation: str
    date: str
    signature: str
    page: str
    unknown: str
    signed: str
    corrected: str
    signed_text: str
    corrected_text: str
    thickness: str
    contrast: str
    contrast_stated: str
    contrast_none: str
    acquired: str
    interval_note: str
    comparison: str
    this_result: str
    change: str
    not_comparable: str
    states: tuple[tuple[str, str], ...]
    grown: str
    shrunk: str
    within_noise: str
    doubling: str
    halving: str
    change_note: str
    assumed_noise: str
    more_dates: str
    lesions: str
    lesion: str
    course: str
    fates: tuple[tuple[str, str], ...]
    merged_into: str
    split_from: str
    target: str
    sum_title: str
    targets: str
    sums: str
    response: str
    categories: tuple[tuple[str, str], ...]
    arithmetic: str
    comma: str
    range: str
    fields: tuple[tuple[str, str], ...]
    prior_other_patient: str
    prior_patient_unknown: str
    prior_not_earlier: str
    prior_other_labels: str
    prior_not_placed: str


EN = Words(
    title="Segmentation report",
    draft="DRAFT · NOT SIGNED",
    research="For research use only. Not for diagnosis.",
    patient="Patient",
    name="Name",
    patient_id="Patient ID",
    birth_date="Date of birth",
    sex="Sex",
    sexes=(("M", "male"), ("F", "female"), ("O", "other")),
    study="Study",
    accession="Accession number",
    study_date="Date and time",
    description="Description",
    referring="Referring physician",
    technique="Images and method",
    series="Series",
    modality="Modality",
    slices="Slices, rows, columns",
    spacing="Voxel size",
    orientation="Slice orientation",
    model="Model",
    made="Result made",
    measurements="Measurements",
    structure="Structure",
    volume="Volume (ml)",
    longest="Longest diameter (mm)",
    perpendicular="Perpendicular (mm)",
    intensity="Mean ± SD",
    intensity_unit="(no unit)",
    not_found="not found",
    nothing_found="The model found none of the structures it looks for in this series.",
    key_images="Key images",
    planes=(("axial", "Axial"), ("coronal", "Coronal"), ("sagittal", "Sagittal")),
    slice="{plane}, slice {number} of {count}",
    notes="Notes",
    method=(
        "Volume: number of labelled voxels times voxel volume. Longest diameter: greatest distance between two "
        "labelled voxels in one acquired slice. Perpendicular: greatest distance across it, in the same slice. "
        "Contours were drawn by software; each key image shows the slice with the largest labelled area. The patient's "
        "right is on the left."
    ),
    unprintable="Characters that the report's font cannot show are printed as □; the DICOM header holds them in full.",
    empty_result="Nothing was segmented. Make sure that the series shows the region the model is meant for.",
    cut_off="{labels}: reaches the edge of the image and may go on beyond it; what is measured is a lower bound.",
    slices_sheared="The gantry was tilted: slices were resampled to a rectangular grid, and the mask brought back.",
    slices_resampled="Slices lie at uneven distances: they were resampled to one distance, and the mask brought back.",
    explained="Where the network looked for {label} (Seg-Grad-CAM; colour: a quarter of the maximum to all of it)",
    not_explained="The label to be explained was not found, so there is no map of where the network looked.",
    review="Review",
    unsigned="This automatic draft has not been reviewed by a physician.",
    reviewer="Reviewed by",
    organisation="Organisation",
    date="Date",
    signature="Signature",
    page="Page {number} of {count}",
    unknown="not stated",
    signed="SIGNED",
    corrected="SIGNED · CORRECTION",
    signed_text="This report was reviewed and signed by the person named below.",
    corrected_text="This report replaces an earlier signed one. It was reviewed and signed by the person named below.",
    thickness="Slice thickness",
    contrast="Contrast agent",
    contrast_stated="stated",
    contrast_none="none stated",
    acquired="Images acquired",
    interval_note=(
        "Ranges in brackets: where an expert's volume is expected, judging by errors on cases held out of training."
    ),
    comparison="Comparison with earlier results",
    this_result="this result",
    change="Change of volume",
    not_comparable="other model, not comparable",
    states=(("draft", "unsigned draft"), ("signed", "signed"), ("corrected", "signed, corrected")),
    grown="larger",
    shrunk="smaller",
    within_noise="within the measurement's own noise",
    doubling="doubles in {days} days",
    halving="halves in {days} days",
    change_note="Changes are counted from {date}. In brackets: the lowest and the highest plausible change.",
    assumed_noise="* No error of this volume is known; a change of less than {share} is taken for noise.",
    more_dates="Further earlier results, not printed here: {count}.",
    lesions="Lesions",
    lesion="Lesion; diameters in mm",
    course="Course, change of volume",
    fates=(
        ("followed", "followed"),
        ("new", "new"),
        ("resolved", "no longer seen"),
        ("merged", "merged with another"),
        ("split", "split"),
        ("regrouped", "merged and split"),
        ("out_of_view", "place not shown by both images"),
    ),
    merged_into="merged into {name}",
    split_from="split off {name}",
    target="target lesion",
    sum_title="Sum of diameters (RECIST 1.1)",
    targets="Target lesions: {names}.",
    sums="Sum of their diameters: {sums}.",
    response=(
        "Change from the first sum {baseline}; from the smallest sum (nadir) {nadir}, {rise} mm; new lesions: {new}. "
        "By the rules' arithmetic: {category}."
    ),
    categories=(
        ("CR", "complete response"),
        ("PR", "partial response"),
        ("SD", "stable disease"),
        ("PD", "progressive disease"),
        ("NE", "not evaluable"),
    ),
    arithmetic=(
        "This is arithmetic on what software outlined, and no diagnosis: whether a lesion is tumour, whether a new one "
        "is real, and what else changed, is for a physician to say."
    ),
    comma=", ",
    range="{low} to {high}",
    fields=(
        ("IssuerOfPatientID", "issuer of the patient ID"),
        ("PatientID", "patient ID"),
        ("PatientBirthDate", "date of birth"),
        ("PatientSex", "sex"),
    ),
    prior_other_patient="An earlier result was not used, because it is of another patient. Different: {fields}.",
    prior_patient_unknown=(
        "An earlier result was not used, because it is not certain to be of the same patient. Not stated: {fields}."
    ),
    prior_not_earlier="An earlier result was not used, because its images are not of an earlier date.",
    prior_other_labels="An earlier result was not used, because it has no structure in common with this one.",
    prior_not_placed=(
        "The images have neither a frame of reference nor a whole organ in common: lesions could not be followed."
    ),
)

ZH_CN = Words(
    title="分割测量报告",
    draft="草稿 · 未签署",
    research="仅供研究使用，不得用于临床诊断。",
    patient="患者",
    name="姓名",
    patient_id="患者编号",
    birth_date="出生日期",
    sex="性别",
    sexes=(("M", "男"), ("F", "女"), ("O", "其他")),
    study="检查",
    accession="检查号",
    study_date="检查日期时间",
    description="检查描述",
    referring="申请医师",
    technique="图像与方法",
    series="序列",
    modality="设备类型",
    slices="层数、行数、列数",
    spacing="体素大小",
    orientation="层面方向",
    model="模型",
    made="结果生成时间",
    measurements="测量结果",
    structure="结构",
    volume="体积 (ml)",
    longest="最大径 (mm)",
    perpendicular="垂直径 (mm)",
    intensity="均值 ± 标准差",
    intensity_unit="（无单位）",
    not_found="未发现",
    nothing_found="模型在该序列中未发现其所要分割的任何结构。",
    key_images="关键图像",
    planes=(("axial", "横断面"), ("coronal", "冠状面"), ("sagittal", "矢状面")),
    slice="{plane}，第 {number}/{count} 层",
    notes="提示",
    method=(
        "体积：标记体素数乘以单个体素体积。最大径：同一采集层面内两个标记体素之间的最大距离。垂直径：同一层面内与最大径"
        "垂直方向的最大距离。轮廓由软件自动绘制；每幅关键图像为标记面积最大的层面。图像左侧为患者右侧。"
    ),
    unprintable="报告字体无法显示的字符以 □ 代替；完整内容见 DICOM 头信息。",
    empty_result="未分割出任何结构。请确认该序列包含模型所针对的部位。",
    cut_off="{labels}：到达图像边缘，可能延伸到图像之外；测量值为下限。",
    slices_sheared="扫描机架有倾斜：图像已重采样到直角网格，分割结果已变换回原始层面。",
    slices_resampled="层间距不均匀：图像已重采样为统一层间距，分割结果已变换回原始层面。",
    explained="网络判断“{label}”所依据的区域（Seg-Grad-CAM；颜色：最大值的四分之一至最大值）",
    not_explained="未找到需要解释的结构，因此没有网络关注区域图。",
    review="审核",
    unsigned="本报告为自动生成的草稿，尚未经医师审核。",
    reviewer="审核医师",
    organisation="单位",
    date="日期",
    signature="签名",
    page="第 {number} 页，共 {count} 页",
    unknown="未注明",
    signed="已签署",
    corrected="已签署 · 更正报告",
    signed_text="本报告已由以下人员审核并签署。",
    corrected_text="本报告取代先前已签署的报告，已由以下人员审核并签署。",
    thickness="层厚",
    contrast="对比剂",
    contrast_stated="已注明",
    contrast_none="未注明",
    acquired="图像采集时间",
    interval_note="括号内范围：根据未参与训练病例上的误差，专家勾画体积的预期范围。",
    comparison="与既往结果比较",
    this_result="本次结果",
    change="体积变化",
    not_comparable="其他模型，不可比较",
    states=(("draft", "未签署草稿"), ("signed", "已签署"), ("corrected", "已签署（更正）")),
    grown="增大",
    shrunk="缩小",
    within_noise="在测量误差范围内",
    doubling="倍增时间 {days} 天",
    halving="减半时间 {days} 天",
    change_note="变化自 {date} 起计算。括号内：可能的最小与最大变化。",
    assumed_noise="* 该体积的测量误差未知；小于 {share} 的变化视为测量误差。",
    more_dates="另有 {count} 次既往结果未在此列出。",
    lesions="病灶",
    lesion="病灶；径线 (mm)",
    course="转归、体积变化",
    fates=(
        ("followed", "持续存在"),
        ("new", "新发"),
        ("resolved", "不再可见"),
        ("merged", "与其他病灶融合"),
        ("split", "分裂"),
        ("regrouped", "融合并分裂"),
        ("out_of_view", "该部位未同时包含在两次图像中"),
    ),
    merged_into="并入{name}",
    split_from="自{name}分裂",
    target="靶病灶",
    sum_title="径线总和（RECIST 1.1）",
    targets="靶病灶：{names}。",
    sums="径线总和：{sums}。",
    response=(
        "较首次总和变化 {baseline}；较最小总和（最低值）变化 {nadir}，{rise} mm；新发病灶：{new} 个。"
        "按标准计算：{category}。"
    ),
    categories=(
        ("CR", "完全缓解"),
        ("PR", "部分缓解"),
        ("SD", "疾病稳定"),
        ("PD", "疾病进展"),
        ("NE", "无法评估"),
    ),
    arithmetic="以上为对软件自动勾画结果的计算，不是诊断：病灶是否为肿瘤、新发病灶是否真实以及其他变化，由医师判断。",
    comma="、",
    range="{low} 至 {high}",
    fields=(
        ("IssuerOfPatientID", "患者编号签发机构"),
        ("PatientID", "患者编号"),
        ("PatientBirthDate", "出生日期"),
        ("PatientSex", "性别"),
    ),
    prior_other_patient="一项既往结果未使用，因其属于另一患者。不一致项：{fields}。",
    prior_patient_unknown="一项既往结果未使用，因无法确认为同一患者。未注明项：{fields}。",
    prior_not_earlier="一项既往结果未使用，因其图像日期不早于本次检查。",
    prior_other_labels="一项既往结果未使用，因其与本次结果没有相同的结构。",
    prior_not_placed="两次图像既无共同参考坐标系，也无完整的共同器官：无法对病灶进行随访对应。",
)

WORDS: dict[Language, Words] = {"en": EN, "zh-CN": ZH_CN}
