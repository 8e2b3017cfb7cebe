"""Charts as SVG inside a page: small, readable in light and dark, made without a plotting library.

Their colours are in ``chart.css``, so that they follow the page.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

CHART_WIDTH, CHART_HEIGHT = 400, 270
"""Of a panel, pixels."""

LEFT, RIGHT, TOP, BOTTOM = 58, 12, 30, 46
"""Margins around the axes."""

NAMES_HEIGHT = 60
"""More where slanted names stand below the x axis."""

CHARACTER = 7.0
"""Width of a character, about."""


@dataclass(frozen=True)
class Line:
    """A series of points.

    Attributes
    ----------
    x, y : (K,) arrays
        What is not a number leaves a gap.
    label : str
        In the legend; nothing leaves it out.
    colour : int
        0 to 4; 3 is grey.
    mark : {'', 'o', 'x'}
        Of each point.
    joined : bool
        Whether a line joins the points.
    dashed, faint : bool
    """

    x: ArrayLike
    y: ArrayLike
    label: str = ''
    colour: int = 0
    mark: str = 'o'
    joined: bool = True
    dashed: bool = False
    faint: bool = False


@dataclass(frozen=True)
class Histogram:
    """Counts as an area.

    Attributes
    ----------
    edges : (K + 1,) array
    counts : (K,) array
        In any unit.
    label : str
    colour : int
        As of `Line`.
    """

    edges: ArrayLike
    counts: ArrayLike
    label: str = ''
    colour: int = 0


@dataclass(frozen=True)
class Panel:
    """Axes with lines.

    Attributes
    ----------
    lines : sequence of Line
    xlabel, ylabel : str
        With units.
    limits : (float or None, float or None)
        Of the y axis; None fits the lines.
    note : str
        Before the legend.
    areas : sequence of Histogram
        Below the lines.
    names : sequence of str
        Instead of numbers at 0, 1, … of the x axis.
    """

    lines: Sequence[Line]
    xlabel: str
    ylabel: str
    limits: tuple[float | None, float | None] = field(default=(None, None))
    note: str = ''
    areas: Sequence[Histogram] = ()
    names: Sequence[str] = ()


def chart(panel: Panel, words: str) -> Markup:
    """Draw a panel.

    Parameters
    ----------
    panel : Panel
    words : str
        What the chart shows, for those who cannot see it.

    Returns
    -------
    Markup
        An SVG element for a page.
    """
    legend, below = _legend(panel, LEFT)
    height = CHART_HEIGHT + below + (NAMES_HEIGHT if _slanted(panel) else 0)
    drawn = legend + _panel(panel, height, TOP + below)
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="chart" '
        f'viewBox="0 0 {CHART_WIDTH} {height}" '
        f'role="img" aria-label="{escape(words)}">{drawn}</svg>'
    )


def ticks(low: float, high: float) -> list[float]:
    """Choose round numbers from `low` to `high`, three to seven.

    Parameters
    ----------
    low, high : float
        `high` is the greater.

    Returns
    -------
    list of float
        Multiples of 1, 2 or 5 times a power of ten, ascending.

    Examples
    --------
    >>> ticks(0, 1.05), ticks(-3, 40)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0, 40.0])
    """
    rough = (high - low) / 6
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next((f for f in (1, 2, 5, 10) if f * power >= rough * 0.999), 10)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [float(f'{n * step:.10g}') for n in range(first, last + 1)]


def _range(
    values: Sequence[ArrayLike], limits: tuple[float | None, float | None] = (None, None)
) -> tuple[float, float]:
    """Fit an axis to what is finite, with a margin where no limit is given."""
    every = np.concatenate([np.asarray(v, float).ravel() for v in values] or [np.zeros(0)])
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
    low = low if limits[0] is None else limits[0]
    high = high if limits[1] is None else limits[1]
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = (low, low + 1.0) if limits[0] is not None else (low - 0.5, low + 0.5)
    margin = 0.05 * (high - low)
    return (
        low - margin if limits[0] is None else low,
        high + margin if limits[1] is None else high,
    )


def _slanted(panel: Panel) -> bool:
    """Whether names below the x axis need more room than they have side by side."""
    return any(
        CHARACTER * len(name) > (CHART_WIDTH - LEFT) / len(panel.names) for name in panel.names
    )


def _panel(panel: Panel, height: int, top: int) -> str:
    edges = [area.edges for area in panel.areas]
    counts = [area.counts for area in panel.areas]
    # Python's own numbers are written far quicker than NumPy's
    x_low, x_high = map(float, _range([*(line.x for line in panel.lines), *edges]))
    y_low, y_high = map(float, _range([*(line.y for line in panel.lines), *counts], panel.limits))
    slanted = _slanted(panel)
    x0, x1, y1 = LEFT, CHART_WIDTH - RIGHT, top
    y0 = height - BOTTOM - (NAMES_HEIGHT if slanted else 0)

    def across(value: float) -> float:
        return x0 + (value - x_low) / (x_high - x_low) * (x1 - x0)

    def up(value: float) -> float:
        return y0 + (value - y_low) / (y_high - y_low) * (y1 - y0)

    parts = []
    for tick in ticks(y_low, y_high):
        y = up(tick)
        parts.append(f'<path class="grid" d="M{x0} {y:.1f}H{x1}"/>')
        parts.append(_text(x0 - 6, y + 4, f'{tick:g}', 'end'))
    for tick in range(len(panel.names)) if panel.names else ticks(x_low, x_high):
        x = across(tick)
        parts.append(f'<path class="axis" d="M{x:.1f} {y0}v4"/>')
        if slanted:
            name = escape(panel.names[int(tick)])
            place = f'translate({x + 4:.1f} {y0 + 14}) rotate(-40)'
            parts.append(f'<text transform="{place}" text-anchor="end">{name}</text>')
        else:
            words = panel.names[int(tick)] if panel.names else f'{tick:g}'
            parts.append(_text(x, y0 + 18, words, 'middle'))
    parts.append(f'<path class="axis" d="M{x0} {y1}V{y0}H{x1}"/>')
    parts.append(_text((x0 + x1) / 2, height - 8, panel.xlabel, 'middle'))
    middle = (y0 + y1) / 2
    parts.append(
        f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">'
        f'{escape(panel.ylabel)}</text>'
    )
    for area in panel.areas:
        parts.append(_area(area, across, up, y0))
    for line in panel.lines:
        parts += _line(line, across, up)
    return ''.join(parts)


_Scale = Callable[[float], float]


def _area(area: Histogram, across: _Scale, up: _Scale, bottom: float) -> str:
    edges, counts = (np.asarray(part, float).tolist() for part in (area.edges, area.counts))
    path = f'M{across(edges[0]):.1f} {bottom}'
    for right, count in zip(edges[1:], counts, strict=True):
        path += f'V{up(count):.1f}H{across(right):.1f}'
    return f'<path class="area c{area.colour}" d="{path}V{bottom}z"/>'


def _line(line: Line, across: _Scale, up: _Scale) -> list[str]:
    points = [
        (across(x), up(y)) if math.isfinite(x) and math.isfinite(y) else None
        for x, y in zip(
            *(np.asarray(part, float).tolist() for part in (line.x, line.y)), strict=True
        )
    ]
    colour = f'c{line.colour}'
    parts = []
    if line.joined:
        path, pen = '', 'M'
        for point in points:
            path += f'{pen}{point[0]:.1f} {point[1]:.1f}' if point else ''
            pen = 'L' if point else 'M'
        dash = ' dash' * line.dashed + ' faint' * line.faint
        parts.append(f'<path class="line {colour}{dash}" d="{path}"/>')
    known = [point for point in points if point]
    if line.mark == 'o':
        parts += [f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>'
                  for x, y in known]  # fmt: skip
    elif line.mark == 'x':
        crosses = ''.join(f'M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8' for x, y in known)
        parts.append(f'<path class="line {colour}" d="{crosses}"/>')
    return parts


def _legend(panel: Panel, left: float) -> tuple[str, int]:
    """Name the lines above the axes, in rows; also how many pixels more than one row takes."""
    parts, x, y = [], float(left), 18
    if panel.note:
        parts.append(_text(x, y, panel.note, 'start'))
        x += CHARACTER * len(panel.note) + 14
    named: list[Histogram | Line] = [*panel.areas, *panel.lines]
    for line in named:
        if not line.label:
            continue
        width = 21 + CHARACTER * len(line.label)
        if x > left and x + width > CHART_WIDTH:
            x, y = float(left), y + 18
        parts.append(f'<path class="line c{line.colour}" d="M{x:.0f} {y - 4}h16"/>')
        parts.append(_text(x + 21, y, line.label, 'start'))
        x += width + 14
    return ''.join(parts), y - 18


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
