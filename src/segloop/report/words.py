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
    date: str
    signature: str
    page: str
    unknown: str


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
    date="Date",
    signature="Signature",
    page="Page {number} of {count}",
    unknown="not stated",
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
    date="日期",
    signature="签名",
    page="第 {number} 页，共 {count} 页",
    unknown="未注明",
)

WORDS: dict[Language, Words] = {"en": EN, "zh-CN": ZH_CN}
