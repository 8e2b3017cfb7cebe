"""Tables and pictures of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secondglance.files.atomic import write_whole
from secondglance.files.tables import table_text

FAILED = 0.9
"""Dice below which a brain mask is a failure: its tissues are of no use."""

_OUTLINES = {'drawn by hand': '#56b4e9', 'found': '#e69f00'}

_COLOURS = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9')


@dataclass(frozen=True)
class Outlined:
    """A head with the brain found and the brain drawn by hand, as stacks (N, H, W)."""

    title: str
    image: NDArray
    found: NDArray
    reference: NDArray


def summary_of(rows: list[dict]) -> list[dict]:
    """Average over animals: a row a condition and label.

    Parameters
    ----------
    rows : list of dict
        ``animal``, ``scan``, ``condition``, ``label``, ``dsc`` and, of volumes, ``hd95_mm`` and
        ``volume_error``.

    Returns
    -------
    list of dict
        Mean and standard deviation over animals (scans of one animal are averaged first), the
        least scan, and how many scans failed, in the order of `rows`.

    Examples
    --------
    >>> rows = [{'animal': a, 'scan': s, 'condition': 'x', 'label': 'brain', 'dsc': d}
    ...         for a, s, d in (('1', 'a', 0.9), ('1', 'b', 0.7), ('2', 'c', 1.0))]
    >>> [line] = summary_of(rows)
    >>> round(line['dsc_mean'], 3), line['dsc_least'], line['n_animals'], line['n_failed']
    (0.9, 0.7, 2, 1)
    """
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row['condition'], row['label']), []).append(row)
    summary = []
    for (condition, label), members in groups.items():
        by_animal: dict[str, list[dict]] = {}
        for row in members:
            by_animal.setdefault(row['animal'], []).append(row)
        line: dict[str, Any] = {'condition': condition, 'label': label}
        for score, short in (
            ('dsc', 'dsc'),
            ('hd95_mm', 'hd95'),
            ('volume_error', 'volume_error'),
        ):
            if score not in members[0]:
                continue
            means = np.array([np.mean([r[score] for r in rs]) for rs in by_animal.values()])
            known = means[np.isfinite(means)]
            line[f'{short}_mean'] = float(known.mean()) if len(known) else np.nan
            line[f'{short}_sd'] = float(known.std(ddof=1)) if len(known) > 1 else 0.0
        dice = np.array([row['dsc'] for row in members])
        line['dsc_least'] = float(np.nanmin(dice)) if np.isfinite(dice).any() else np.nan
        line['n_animals'] = len(by_animal)
        line['n_scans'] = len(members)
        line['n_failed'] = int((~(dice >= FAILED)).sum()) if label == 'brain' else 0
        summary.append(line)
    return summary


def write_table(rows: list[dict], path: Path) -> None:
    """Write rows as a table that appears whole or not at all."""
    write_whole(path, table_text(rows))


def draw_scores(rows: list[dict], path: Path) -> None:
    """Draw a box of the scans' Dice for every label and condition; every scan is a dot."""
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(row['label'] for row in rows))
    conditions = list(dict.fromkeys(row['condition'] for row in rows))
    figure = Figure(figsize=(2.6 + 1.9 * len(labels), 4.2), layout='constrained')
    axis = figure.subplots()
    width = 0.8 / len(conditions)
    rng = np.random.default_rng(0)
    for c, condition in enumerate(conditions):
        colour = _COLOURS[c % len(_COLOURS)]
        for k, label in enumerate(labels):
            dice = [
                row['dsc']
                for row in rows
                if (row['label'], row['condition']) == (label, condition)
                and np.isfinite(row['dsc'])
            ]
            if not dice:
                continue
            at = k + (c - (len(conditions) - 1) / 2) * width
            axis.boxplot(
                [dice],
                positions=[at],
                widths=0.7 * width,
                showfliers=False,
                boxprops={'color': colour},
                medianprops={'color': colour},
                whiskerprops={'color': colour},
                capprops={'color': colour},
            )
            spread = rng.uniform(-0.2, 0.2, len(dice)) * width
            axis.plot(at + spread, dice, '.', color=colour, alpha=0.6, markersize=4)
        axis.plot([], [], color=colour, label=condition)
    axis.set_xticks(range(len(labels)), labels)
    axis.set_ylabel('Dice')
    axis.grid(axis='y', alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def draw_worst(pictures: list[Outlined], path: Path, n_worst: int = 12) -> None:
    """Draw the slices in which most of the brain was missed or invented.

    Parameters
    ----------
    pictures : list of Outlined
        The brain found is outlined in orange, that drawn by hand in blue; a legend says so.
    path : path
    n_worst : int
        At most one slice of each picture comes.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    worst = []
    for picture in pictures:
        wrong = (picture.found != picture.reference).sum(axis=(1, 2))
        n = int(wrong.argmax())
        worst.append((int(wrong[n]), n, picture))
    worst = sorted(worst, key=lambda entry: -entry[0])[:n_worst]
    columns = min(4, len(worst))
    n_rows = -(-len(worst) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.3 * n_rows), layout='constrained')
    axes = np.atleast_1d(figure.subplots(n_rows, columns, squeeze=False)).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (wrong, n, picture) in zip(axes, worst, strict=False):
        image = picture.image[n].T
        axis.imshow(image, cmap='gray', origin='lower', vmin=0, vmax=np.percentile(image, 99.5))
        for outline, colour in zip(
            (picture.reference[n], picture.found[n]), _OUTLINES.values(), strict=True
        ):
            if outline.any():
                axis.contour(outline.T, [0.5], colors=colour, linewidths=1.3)
        axis.set_title(f'{picture.title}\nslice {n}: {wrong} pixels wrong', fontsize=7)
    lines = [Line2D([], [], color=colour, label=name) for name, colour in _OUTLINES.items()]
    figure.legend(handles=lines, loc='outside lower center', ncols=2, frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
