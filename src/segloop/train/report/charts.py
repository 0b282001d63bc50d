"""Charts as inline SVG: no script, no outside resource, told apart without colour, described in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Literal

COLOURS = ("#0072b2", "#d55e00", "#00795a", "#8a3d8f", "#6b5200", "#444444")
"""Blue, vermilion, green, purple, brown, grey: each 3:1 or more on white, distinct to colour-blind eyes."""

_INK, _GRID = "#1d2125", "#e1e4e8"
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "12 4", "4 2")
_RIGHT, _TOP, _BOTTOM = 18, 16, 46
# Room at the left for the axis label and the gap to the numbers, which take what they need.
_LABELLED = 38
_LEGEND_LINE = 20
_LETTER = 7.4

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One named row of points.

    Args:
        name: In the legend; an empty one stands in none.
        points: (x, y), by rising x for a line.
        kind: How it is drawn. `guide` is a thin grey line; `band` is a filled area whose points run along the upper
            edge and back along the lower.
        bars: Lowest and highest y of an error bar for each point; None for a point without.
    """

    name: str
    points: Sequence[Point]
    kind: Literal["line", "dots", "guide", "band"] = "line"
    bars: Sequence[tuple[float, float] | None] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """Axes with series in them.

    Args:
        title: What it shows, for those who cannot see it; the heading above says it to the others.
        x_label: With its unit.
        y_label: With its unit.
        series: Drawn in this order.
        size: Width and height in SVG units, which are pixels at full width.
        y_range: Lowest and highest y; None takes them from the points.
        x_range: Lowest and highest x; None begins at 0 and ends with the last point.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    size: tuple[int, int] = (720, 280)
    y_range: tuple[float, float] | None = None
    x_range: tuple[float, float] | None = None

    def svg(self) -> str:
        """The chart; an empty string when no series has a point."""
        points = [point for line in self.series for point in line.points]
        if not points:
            return ""
        width = self.size[0]
        across = self.x_range or _span([0.0, *(x for x, _ in points)])
        bars = [y for line in self.series for bar in line.bars if bar for y in bar]
        y_ticks = ticks(*(self.y_range or _span([*(y for _, y in points), *bars])))
        left = _LABELLED + _LETTER * max(len(_number(value)) for value in y_ticks)
        legend = _legend([s for s in self.series if s.name and s.kind != "guide"], left, width)
        plane = _Plane((left, width - _RIGHT), (self.size[1] - _BOTTOM, _TOP), across, (y_ticks[0], y_ticks[-1]))
        styles = _styles(self.series)
        drawn = "".join(_drawn(line, plane, style) for line, style in zip(self.series, styles, strict=True))
        description = ", ".join(f"{s.name} ends at {s.points[-1][1]:.3g}" for s in self.series if s.name and s.points)
        label = f"{self.title}. {self.y_label} over {self.x_label}" + (f": {description}" if description else "")
        return (
            f'<svg viewBox="0 0 {width} {self.size[1] + legend.height}" style="max-width: {width}px" role="img" '
            f'aria-label="{escape(label)}" font-size="13" fill="{_INK}"><title>{escape(self.title)}</title>'
            f"{_axes(plane, ticks(*across), y_ticks, self)}{drawn}"
            f'<g transform="translate(0 {self.size[1]})">{legend.svg}</g></svg>'
        )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers, evenly spaced, the first at or below `low` and the last at or above `high`.

    >>> ticks(0.13, 0.88)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = (high - low) or abs(high) or 1.0
    raw = span / about
    power = 10.0 ** floor(log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    if first == last:
        last += 1
    return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class _Plane:
    """From numbers to places on the page: pixel and value at both ends of each axis."""

    across: tuple[float, float]
    down: tuple[float, float]
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        return _between(x, self.x, self.across), _between(y, self.y, self.down)

    def text(self, x: float, y: float) -> str:
        column, row = self.at(x, y)
        return f"{column:.1f},{row:.1f}"


@dataclass(frozen=True, slots=True)
class _Style:
    colour: str
    dash: str


@dataclass(frozen=True, slots=True)
class _Legend:
    svg: str
    height: int


def _between(value: float, source: tuple[float, float], target: tuple[float, float]) -> float:
    share = (value - source[0]) / (source[1] - source[0])
    # A point beyond a given range is drawn at its edge rather than over the words around.
    return target[0] + min(max(share, 0.0), 1.0) * (target[1] - target[0])


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def _styles(series: Sequence[Series]) -> list[_Style]:
    """A colour and a dash for each series; a band takes those of the series after it."""
    styles, number = [], 0
    for one in series:
        styles.append(_Style(COLOURS[number % len(COLOURS)], _DASHES[number % len(_DASHES)]))
        number += one.kind in ("line", "dots")
    return styles


def _drawn(line: Series, plane: _Plane, style: _Style) -> str:
    places = " ".join(plane.text(x, y) for x, y in line.points)
    if not places:
        return ""
    if line.kind == "band":
        return f'<polygon points="{places}" fill="{style.colour}" fill-opacity="0.16"/>'
    if line.kind == "guide":
        name = f"<title>{escape(line.name)}</title>" if line.name else ""
        return f'<polyline points="{places}" fill="none" stroke="#5c6670" stroke-dasharray="5 4">{name}</polyline>'
    parts = []
    for (x, y), bar in zip(line.points, line.bars or [None] * len(line.points), strict=True):
        column, row = plane.at(x, y)
        if bar:
            low, high = plane.at(x, bar[0])[1], plane.at(x, bar[1])[1]
            left = f"{column - 4:.1f}"
            path = f"M{column:.1f} {low:.1f}V{high:.1f}M{left} {low:.1f}h8M{left} {high:.1f}h8"
            parts.append(f'<path d="{path}" stroke="{style.colour}" fill="none"/>')
        if line.kind == "dots" or len(line.points) == 1:
            parts.append(
                f'<circle cx="{column:.1f}" cy="{row:.1f}" r="3.5" fill="{style.colour}" fill-opacity="0.75"/>'
            )
    if line.kind == "line":
        dash = f' stroke-dasharray="{style.dash}"' if style.dash else ""
        parts.append(f'<polyline points="{places}" fill="none" stroke="{style.colour}" stroke-width="2"{dash}/>')
    return "".join(parts)


def _axes(plane: _Plane, x_ticks: Sequence[float], y_ticks: Sequence[float], chart: Chart) -> str:
    (left, right), (bottom, top) = plane.across, plane.down
    parts = []
    for value in y_ticks:
        row = plane.at(plane.x[0], value)[1]
        parts.append(f'<path d="M{left:.0f} {row:.1f}H{right}" stroke="{_GRID}"/>')
        parts.append(f'<text x="{left - 8:.0f}" y="{row + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    for value in x_ticks:
        if plane.x[0] <= value <= plane.x[1]:
            column = plane.at(value, plane.y[0])[0]
            parts.append(f'<path d="M{column:.1f} {bottom}v5" stroke="{_INK}"/>')
            # A number at the very end would be cut off if it stood in the middle of its tick.
            anchor = "end" if column > right - 2 * _LETTER else "middle"
            parts.append(f'<text x="{column:.1f}" y="{bottom + 19}" text-anchor="{anchor}">{_number(value)}</text>')
    middle, height = (left + right) / 2, (bottom + top) / 2
    parts.append(f'<path d="M{left:.0f} {top}V{bottom}H{right}" fill="none" stroke="{_INK}"/>')
    parts.append(f'<text x="{middle:.0f}" y="{bottom + 38}" text-anchor="middle">{escape(chart.x_label)}</text>')
    parts.append(
        f'<text x="14" y="{height}" text-anchor="middle" transform="rotate(-90 14 {height})">'
        f"{escape(chart.y_label)}</text>"
    )
    return "".join(parts)


def _legend(series: Sequence[Series], left: float, width: int) -> _Legend:
    """A row of samples with names below the axes, broken into as many lines as it takes."""
    if len(series) < 2:
        return _Legend("", 0)
    parts, column, row = [], left, 0
    for one, style in zip(series, _styles(series), strict=True):
        needed = 44 + len(one.name) * _LETTER
        if column > left and column + needed > width - _RIGHT:
            column, row = left, row + 1
        y = 8 + row * _LEGEND_LINE
        dash = f' stroke-dasharray="{style.dash}"' if style.dash and one.kind == "line" else ""
        mark = (
            f'<circle cx="{column + 12:.0f}" cy="{y}" r="4" fill="{style.colour}"/>'
            if one.kind == "dots"
            else f'<path d="M{column:.0f} {y}h26" stroke="{style.colour}" stroke-width="2.5"{dash}/>'
        )
        parts.append(f'{mark}<text x="{column + 32:.0f}" y="{y + 4}">{escape(one.name)}</text>')
        column += needed
    return _Legend("".join(parts), (row + 1) * _LEGEND_LINE + 4)


def _number(value: float) -> str:
    """A tick's number without a trail of zeros; thousands apart."""
    if abs(value) >= 10_000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.6g}"
