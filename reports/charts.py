"""Line charts as SVG: small, readable in light and dark, and made without a plotting library."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import ArrayLike

WIDTH, HEIGHT = 400, 270
"""Of a panel, pixels."""

LEFT, RIGHT, TOP, BOTTOM = 58, 12, 30, 46
"""Margins around the axes."""

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1a1a1a; }
.axis { stroke: #4a4a4a; fill: none; } .grid { stroke: #8884; }
.line { fill: none; stroke-width: 1.8; } .dash { stroke-dasharray: 6 4; }
.faint { stroke-opacity: .3; stroke-width: 1; }
.c0 { stroke: #0072b2; } .c1 { stroke: #b84a00; } .c2 { stroke: #00704f; } .c3 { stroke: #4a4a4a; }
.dot { fill: currentColor; stroke: none; }
.dot.c0 { color: #0072b2; } .dot.c1 { color: #b84a00; } .dot.c2 { color: #00704f; }
@media (prefers-color-scheme: dark) {
text { fill: #e9ecef; } .axis { stroke: #b8bfc6; }
.c0 { stroke: #6cc3f5; } .c1 { stroke: #ffb057; } .c2 { stroke: #4fdcb0; } .c3 { stroke: #b8bfc6; }
.dot.c0 { color: #6cc3f5; } .dot.c1 { color: #ffb057; } .dot.c2 { color: #4fdcb0; }
}
"""


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
        0 to 3; 3 is grey.
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
    """

    lines: Sequence[Line]
    xlabel: str
    ylabel: str
    limits: tuple[float | None, float | None] = field(default=(None, None))
    note: str = ''


def chart(panels: Sequence[Panel]) -> str:
    """Draw panels side by side.

    Returns
    -------
    str
        An SVG file.
    """
    parts = [_panel(panel, index * WIDTH) for index, panel in enumerate(panels)]
    width = WIDTH * len(panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" '
        f'width="{width}" height="{HEIGHT}"><style>{STYLE}</style>{"".join(parts)}</svg>'
    )


def ticks(low: float, high: float) -> list[float]:
    """Choose round numbers from `low` to `high`, three to seven.

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


def _range(values: Sequence[ArrayLike], limits=(None, None)) -> tuple[float, float]:
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


def _panel(panel: Panel, left: float) -> str:
    x_low, x_high = _range([line.x for line in panel.lines])
    y_low, y_high = _range([line.y for line in panel.lines], panel.limits)
    x0, x1, y0, y1 = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, TOP

    def across(value):
        return x0 + (value - x_low) / (x_high - x_low) * (x1 - x0)

    def up(value):
        return y0 + (value - y_low) / (y_high - y_low) * (y1 - y0)

    parts = [f'<g transform="translate({left} 0)">']
    for tick in ticks(y_low, y_high):
        y = up(tick)
        parts.append(f'<path class="grid" d="M{x0} {y:.1f}H{x1}"/>')
        parts.append(_text(x0 - 6, y + 4, f'{tick:g}', 'end'))
    for tick in ticks(x_low, x_high):
        parts.append(f'<path class="axis" d="M{across(tick):.1f} {y0}v4"/>')
        parts.append(_text(across(tick), y0 + 18, f'{tick:g}', 'middle'))
    parts.append(f'<path class="axis" d="M{x0} {y1}V{y0}H{x1}"/>')
    parts.append(_text((x0 + x1) / 2, HEIGHT - 8, panel.xlabel, 'middle'))
    middle = (y0 + y1) / 2
    parts.append(
        f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">'
        f'{escape(panel.ylabel)}</text>'
    )
    for line in panel.lines:
        parts += _line(line, across, up)
    parts += _legend(panel, x0)
    return ''.join([*parts, '</g>'])


def _line(line: Line, across, up) -> list[str]:
    points = [
        (across(x), up(y)) if np.isfinite(x) and np.isfinite(y) else None
        for x, y in zip(np.asarray(line.x, float), np.asarray(line.y, float), strict=True)
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


def _legend(panel: Panel, left: float) -> list[str]:
    parts, x = [], float(left)
    if panel.note:
        parts.append(_text(x, 18, panel.note, 'start'))
        x += 7.0 * len(panel.note) + 14
    for line in panel.lines:
        if line.label:
            parts.append(f'<path class="line c{line.colour}" d="M{x:.0f} 14h16"/>')
            parts.append(_text(x + 21, 18, line.label, 'start'))
            x += 21 + 7.0 * len(line.label) + 14
    return parts


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
