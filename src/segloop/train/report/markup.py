"""The few pieces of HTML that sections are put together from. Everything from outside is escaped here."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from segloop.train.findings import Interval, Picture

UNDEFINED = "–"
"""Stands where there is no number; a note below the table says why."""

_SENTENCE = 30


def section(title: str, *parts: str) -> str:
    """A heading with what belongs to it; an empty string when there is nothing."""
    body = "".join(parts)
    name = "".join(c if c.isalnum() else "-" for c in title.lower())
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>{body}</section>\n' if body else ""


def paragraph(text: str, kind: str = "") -> str:
    """One paragraph; `note` prints it smaller and greyer."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """Rows below a head, the first cell of each naming it; an empty string without rows. It scrolls by itself."""
    lines = [
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(map(_cell, cells)) + "</tr>" for first, *cells in rows
    ]
    if not lines:
        return ""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    words = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide" tabindex="0"><table>{words}<thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values, one below the other."""
    lines = "".join(f'<tr><th scope="row">{escape(name)}</th>{_cell(value)}</tr>' for name, value in rows)
    return f'<div class="wide" tabindex="0"><table class="facts"><tbody>{lines}</tbody></table></div>' if lines else ""


def items(texts: Iterable[str]) -> str:
    """A list; an empty string without items."""
    lines = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{lines}</ul>" if lines else ""


def image(picture: Picture, heading: str = "") -> str:
    """A picture inlined, with its caption."""
    data = base64.b64encode(picture.png).decode("ascii")
    words = " ".join(text for text in (heading, picture.caption) if text)
    caption = f"<figcaption>{escape(words)}</figcaption>" if words else ""
    return f'<figure><img alt="{escape(picture.text)}" src="data:image/png;base64,{data}">{caption}</figure>'


def chart(svg: str, caption: str = "") -> str:
    """An SVG with words below; an empty string without it."""
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg}{words}</figure>" if svg else ""


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals, or a dash."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def interval(bounds: Interval | None, digits: int = 3) -> str:
    """`0.871 to 0.893`, or a dash."""
    return UNDEFINED if bounds is None else f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}"


def _cell(text: str) -> str:
    """A cell of a table: numbers stay on one line, sentences break."""
    return f'<td class="text">{escape(text)}</td>' if len(text) > _SENTENCE else f"<td>{escape(text)}</td>"
