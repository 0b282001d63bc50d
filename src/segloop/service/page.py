"""The work list as one plain HTML page, in English or Chinese. Everything shown is escaped; there is no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from segloop.service.quarantine import Reason

Language = Literal["en", "zh-CN"]

_STYLE = """
body { font: 15px/1.45 system-ui, "Noto Sans CJK SC", sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  color: #1c2126; background: #fff }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } caption { text-align: left; padding: .3rem 0; color: #555 }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid #d6dade; vertical-align: top }
code { font-size: .85em } .done { color: #14692e } .failed, .quarantined { color: #a11616 }
.research { border-left: 4px solid #b36b00; padding: .2rem .8rem; background: #fff6e6 }
"""
STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
"""What the content security policy allows: this style sheet and nothing else."""

_TEXTS: dict[str, tuple[str, str]] = {
    "title": ("Work list", "工作列表"),
    "research": ("For research use. Not for diagnosis.", "仅供科研使用，不可用于诊断。"),
    "patient": ("Patient", "患者"),
    "study": ("Study", "检查"),
    "received": ("Received", "接收时间"),
    "state": ("State", "状态"),
    "model": ("Model", "模型"),
    "volumes": ("Volumes", "体积"),
    "results": ("Results", "结果"),
    "empty": ("No study yet. Send one by C-STORE to", "尚无检查。请通过 C-STORE 发送至"),
    "quarantine": ("Quarantine", "隔离区"),
    "quarantine_note": (
        "These were not processed. The sender keeps its copy; correct the cause there and send again.",
        "以下内容未被处理。请在来源处更正后重新发送。",
    ),
    "code": ("Code", "代码"),
    "reason": ("Reason", "原因"),
    "files": ("Files", "文件数"),
    "nothing": ("Nothing.", "无。"),
    "overlay": ("overlay", "叠加图"),
    "report": ("report", "报告"),
    "numbers": ("numbers", "数据"),
    "version": ("version", "版本"),
    "queued": ("waiting", "等待中"),
    "running": ("running", "处理中"),
    "done": ("done", "完成"),
    "failed": ("failed", "失败"),
    "undelivered": ("done, not delivered", "完成，未送达"),
    "superseded": ("superseded", "已被新版本取代"),
    "signed": ("signed", "已签名"),
    "corrected": ("corrected", "已更正"),
    "rejected": ("rejected", "已拒绝"),
    "withdrawn": ("withdrawn", "已撤回"),
    "no_model": ("no model applies", "无适用模型"),
    "quarantined": ("in quarantine", "已隔离"),
    "processed": ("processed", "已处理"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the work list.

    Attributes:
        patient: Name as in the images, read from them for this page only.
        study: Token of the study.
        version: Number of its version.
        received: ISO 8601 in UTC.
        state: State of the job, or of the study when it has none.
        detail: Step or code that explains the state.
        model: Name of the model; empty without a job.
        volumes: Name and volume in ml.
        links: Text key and address.
        standing: Who stands behind the result; empty for a draft.
        before: Date and volumes in ml of the earlier result that changes are counted from; None without one.
    """

    patient: str
    study: str
    version: int
    received: str
    state: str
    detail: str
    model: str
    volumes: tuple[tuple[str, float], ...]
    links: tuple[tuple[str, str], ...]
    standing: str = ""
    before: tuple[str, Mapping[str, float]] | None = None


def language_of(accept_language: str) -> Language:
    """The page's language for an Accept-Language header; the first of the two that is named, else English."""
    for part in accept_language.lower().split(","):
        code = part.split(";")[0].strip()
        if code.startswith("zh"):
            return "zh-CN"
        if code.startswith("en"):
            return "en"
    return "en"


def work_list(rows: Sequence[Row], quarantine: Sequence[Reason], language: Language, address: str) -> str:
    """The page as HTML.

    Args:
        rows: Newest first.
        quarantine: Newest first.
        language: Of the labels.
        address: Title and port of the DICOM node, shown while the list is empty.
    """

    def text(key: str) -> str:
        return escape(_TEXTS[key][0 if language == "en" else 1]) if key in _TEXTS else escape(key)

    columns = ("patient", "study", "received", "state", "model", "volumes", "results")
    body = "".join(_row(row, text) for row in rows)
    if not rows:
        body = f'<tr><td colspan="{len(columns)}">{text("empty")} <code>{escape(address)}</code></td></tr>'
    held = "".join(
        f"<tr><td><code>{escape(r.study[:12])}</code></td><td>{escape(r.received[:19])}</td>"
        f"<td><code>{escape(r.code)}</code></td><td>{escape(r.message)}</td><td>{len(r.files)}</td></tr>"
        for r in quarantine
    )
    heads = "".join(f'<th scope="col">{text(c)}</th>' for c in columns)
    quarantine_heads = "".join(
        f'<th scope="col">{text(c)}</th>' for c in ("study", "received", "code", "reason", "files")
    )
    quarantine_table = (
        f"<table><caption>{text('quarantine_note')}</caption><thead><tr>{quarantine_heads}</tr></thead>"
        f"<tbody>{held}</tbody></table>"
        if held
        else f"<p>{text('nothing')}</p>"
    )
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="10">'
        f"<title>segloop · {text('title')}</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>segloop · {text("title")}</h1><p class="research">{text("research")}</p>'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        f"<h2>{text('quarantine')}</h2>{quarantine_table}</main></body></html>"
    )


def _row(row: Row, text: Callable[[str], str]) -> str:
    volumes = "<br>".join(f"{escape(name)}: {value:.2f} ml{_before(row, name)}" for name, value in row.volumes)
    links = " · ".join(f'<a href="{escape(address)}">{text(key)}</a>' for key, address in row.links)
    detail = f" <code>{escape(row.detail)}</code>" if row.detail else ""
    standing = f" · {text(row.standing)}" if row.standing else ""
    return (
        f"<tr><td>{escape(row.patient)}</td>"
        f"<td><code>{escape(row.study[:12])}</code> {text('version')} {row.version}</td>"
        f"<td>{escape(row.received[:19].replace('T', ' '))}</td>"
        f'<td class="{escape(row.state)}">{text(row.state)}{standing}{detail}</td>'
        f"<td>{escape(row.model)}</td><td>{volumes}</td><td>{links}</td></tr>"
    )


def _before(row: Row, name: str) -> str:
    """What a volume was at the earlier date; empty where that is not known."""
    date, volumes = row.before or ("", {})
    return f" ({volumes[name]:.2f} ml, {escape(date)})" if name in volumes else ""
