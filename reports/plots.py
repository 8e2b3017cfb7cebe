"""The report's plots: motion, placement, log-normality, scores against a reference."""

from collections.abc import Callable

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.labels import TISSUES
from secondglance.reports.charts import Line, Panel, chart

LINE_COLOURS = (0, 1, 2, 4, 3)
"""Of conditions that are compared, as of `Line`."""


def motion_charts(confounds: dict[str, NDArray]) -> list[Markup]:
    """Plot translations, rotations and framewise displacement over the volumes.

    Parameters
    ----------
    confounds : dict of (B,) arrays
        mm and radians.
    """
    volumes = confounds.get('volume', np.arange(len(confounds['trans_x'])))
    charts = []
    for names, labels, factor, ylabel in (
        (('trans_x', 'trans_y', 'trans_z'), 'xyz', 1.0, 'translation, mm'),
        (('rot_x', 'rot_y', 'rot_z'), 'xyz', 180 / np.pi, 'rotation, degrees'),
        (('framewise_displacement',), ('',), 1.0, 'framewise displacement, mm'),
    ):
        lines = [
            Line(volumes, np.asarray(confounds[name], float) * factor, label, colour)
            for colour, (name, label) in enumerate(zip(names, labels, strict=True))
        ]
        most = max(float(np.nanmax(np.abs(line.y), initial=0.0)) for line in lines)
        words = f'{ylabel.partition(",")[0].capitalize()} of {len(volumes)} volumes'
        unit = ylabel.partition(', ')[2]
        charts.append(chart(Panel(lines, 'volume', ylabel), f'{words}, at most {most:.2g} {unit}'))
    return charts


def placement_charts(rows: list[dict]) -> list[Markup]:
    """Plot shift, peak and probability of a good mask by slice; replaced shifts are marked.

    Parameters
    ----------
    rows : list of dict
        Of the placement, one a slice.
    """
    index = _column(rows, 'slice')
    replaced = np.array([bool(row['replaced']) for row in rows])
    shifts = []
    for colour, name in enumerate('xy'):
        found = _column(rows, f'found_{name}_mm')
        shifts += [
            Line(index, _column(rows, f'shift_{name}_mm'), name, colour, mark=''),
            Line(index[~replaced], found[~replaced], '', colour, 'o', joined=False),
            Line(index[replaced], found[replaced], '', colour, 'x', joined=False),
        ]
    sure = [
        Line(index, _column(rows, name), label, colour)
        for colour, (name, label) in enumerate(
            (('probability', 'mask is good'), ('confidence', 'shift agrees'))
        )
    ]
    ratio = Line(index, _column(rows, 'peak_ratio'))
    return [
        chart(
            Panel(shifts, 'slice', 'shift, mm', note='×: replaced'),
            f'Shift of the donor mask in each slice; {replaced.sum()} were replaced',
        ),
        chart(Panel([ratio], 'slice', 'peak ratio'), 'Highest over second correlation, by slice'),
        chart(
            Panel(sure, 'slice', 'probability', (0, 1.05)),
            'Probability of a good mask and confidence of the shift, by slice',
        ),
    ]


def lognormal_charts(fit: dict) -> list[Markup]:
    """Plot the distance to a log-normal of every slice, and the quantiles of all.

    Parameters
    ----------
    fit : dict
        As of :class:`secondglance.reports.data.ReportData`.
    """
    distance = np.array(fit['ks_distance'], float)
    theory = np.array(fit['theoretical'], float)
    quantiles = [
        Line(theory, observed, mark='', faint=True)
        for observed in np.array(fit['observed'], float)
    ]
    diagonal = Line(theory, theory, '', 3, mark='', dashed=True)
    return [
        chart(
            Panel(
                [Line(np.arange(len(distance)), distance)],
                'slice',
                'Kolmogorov-Smirnov distance',
                (0, None),
            ),
            'Distance of the saliency of each slice to a log-normal distribution',
        ),
        chart(
            Panel([*quantiles, diagonal], 'quantile of a normal', 'observed quantile'),
            'Quantiles of the standardised logarithm of the saliency, a line a slice',
        ),
    ]


def score_charts(rows: list[dict]) -> list[Markup]:
    """Plot Dice and precision of each slice against the reference.

    Parameters
    ----------
    rows : list of dict
        Of :func:`secondglance.imaging.metrics.per_slice_metrics`.
    """
    charts = []
    labels = [name for name in ('brain', *TISSUES) if any(row['label'] == name for row in rows)]
    for score, ylabel in (('dsc', 'Dice'), ('precision', 'precision')):
        lines = []
        for colour, label in zip((3, 1, 0, 4), labels, strict=False):
            of_label = [row for row in rows if row['label'] == label]
            values = _column(of_label, score)
            lines.append(Line(_column(of_label, 'slice'), values, label, colour))
        charts.append(
            chart(
                Panel(lines, 'slice', ylabel, (0, 1.02)),
                f'{ylabel} against the reference in each slice, of {", ".join(labels)}',
            )
        )
    return charts


def _column(rows: list[dict], name: str) -> NDArray[np.float64]:
    return np.array([row[name] for row in rows], float)


def cascade_charts(names: list[str], scores: dict[str, ArrayLike], edges: dict) -> list[Markup]:
    """Plot what the randomisation of more and more blocks does to a saliency map.

    Parameters
    ----------
    names : list of str
        Blocks, from the output on.
    scores : dict of (K,) arrays
        ``rank_correlation``, ``ssim`` and ``placed_dice``, one a name.
    edges : dict of float
        The same of an edge filter.
    """
    places = np.arange(len(names))
    charts = []
    for keys, ylabel in (
        (('rank_correlation', 'ssim'), 'likeness to the trained map'),
        (('placed_dice',), 'Dice of the placed mask'),
    ):
        lines = []
        for colour, key in enumerate(keys):
            label = key.replace('_', ' ').replace('ssim', 'SSIM') if len(keys) > 1 else ''
            lines.append(Line(places, scores[key], label, colour))
            level = np.full(len(names), float(edges[key]))
            lines.append(Line(places, level, '', colour, mark='', dashed=True))
        lowest = min(0.0, *(float(np.nanmin(line.y)) for line in lines))
        panel = Panel(lines, 'randomised down to', ylabel, (lowest, 1.02), names=names)
        charts.append(chart(panel, f'{ylabel.capitalize()}, as more blocks are randomised'))
    return charts


def share_charts(
    shares: ArrayLike, curves: dict[str, dict[str, NDArray]], area: Callable[[str, str], float]
) -> list[Markup]:
    """Plot tissue found as pixels are taken away or come back.

    Parameters
    ----------
    shares : (K,) array
        Of pixels.
    curves : dict of dict of (K,) arrays
        By kind, and by what orders the pixels.
    area : callable
        From kind and order to the area under that curve.
    """
    charts = []
    for (kind, found), ylabel in zip(
        curves.items(), ('tissue still found', 'tissue found'), strict=True
    ):
        lines = [
            Line(shares, curve, f'{by}, area {area(kind, by):.2f}', colour)
            for colour, (by, curve) in enumerate(found.items())
        ]
        panel = Panel(lines, f'share of pixels, {kind}', ylabel)
        charts.append(chart(panel, f'{kind.capitalize()}: {ylabel} by share of pixels'))
    return charts


def score_boxes(rows: list[dict]) -> Markup:
    """Draw a box of the scans' Dice for every label and condition; every scan is a dot.

    Parameters
    ----------
    rows : list of dict
        ``label``, ``condition`` and ``dsc``.
    """
    labels = list(dict.fromkeys(row['label'] for row in rows))
    conditions = list(dict.fromkeys(row['condition'] for row in rows))
    width = 0.8 / len(conditions)
    rng = np.random.default_rng(0)
    lines = []
    for c, condition in enumerate(conditions):
        colour = LINE_COLOURS[c % len(LINE_COLOURS)]
        name = condition if len(conditions) > 1 else ''
        for k, label in enumerate(labels):
            dice = np.array(
                [r['dsc'] for r in rows if (r['label'], r['condition']) == (label, condition)],
                float,
            )
            dice = dice[np.isfinite(dice)]
            if not dice.size:
                continue
            at = k + (c - (len(conditions) - 1) / 2) * width
            low, first, middle, third, high = np.percentile(dice, (0, 25, 50, 75, 100))
            left, right = at - 0.35 * width, at + 0.35 * width
            spread = at + rng.uniform(-0.2, 0.2, len(dice)) * width
            box = [left, right, right, left, left], [first, first, third, third, first]
            lines += [
                Line(*box, name, colour, mark=''),
                Line([left, right], [middle, middle], '', colour, mark=''),
                Line([at, at, np.nan, at, at], [low, first, np.nan, third, high], '', colour, ''),
                Line(spread, dice, '', colour, joined=False),
            ]
            name = ''
    words = f'Dice of {", ".join(labels)} under {", ".join(conditions)}'
    return chart(Panel(lines, 'label', 'Dice', names=labels), words)
