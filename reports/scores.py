"""Tables and pictures of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secondglance.files.atomic import write_whole
from secondglance.files.tables import table_text
from secondglance.reports.figures import grey
from secondglance.reports.page import page_templates
from secondglance.reports.plots import score_boxes
from secondglance.reports.steps import OUTLINES, draw_slice

FAILED = 0.9
"""Dice below which a brain mask is a failure: its tissues are of no use."""

FOUND, REFERENCE = 'final mask', 'reference'
COMPARED_OUTLINES = {name: OUTLINES[name] for name in (FOUND, REFERENCE)}
"""Outlines of the worst slices."""


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
        Mean and standard deviation over animals (scans of one animal are averaged first; of one
        animal the deviation is NaN), the least scan, and how many scans failed, in the order of
        `rows`.

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
            line[f'{short}_sd'] = float(known.std(ddof=1)) if len(known) > 1 else np.nan
        dice = np.array([row['dsc'] for row in members])
        line['dsc_least'] = float(np.nanmin(dice)) if np.isfinite(dice).any() else np.nan
        line['n_animals'] = len(by_animal)
        line['n_scans'] = len(members)
        line['n_failed'] = int((~(dice >= FAILED)).sum()) if label == 'brain' else 0
        summary.append(line)
    return summary


def write_table(rows: list[dict], path: Path) -> None:
    """Write rows as a table that appears whole or not at all.

    Parameters
    ----------
    rows : list of dict
        With the same keys: the columns.
    path : path
        ``.tsv``.
    """
    write_whole(path, table_text(rows))


def write_scores_page(
    rows: list[dict], summary: list[dict], pictures: list[Outlined], path: Path
) -> None:
    """Write a page with a chart of all Dice, the worst slices, and the summary.

    Parameters
    ----------
    rows : list of dict
        As of :func:`summary_of`.
    summary : list of dict
        Of the same rows.
    pictures : list of Outlined
    path : Path
        Of the page, which holds its pictures.
    """
    page = (
        page_templates()
        .get_template('scores.html')
        .render(
            chart=score_boxes(rows),
            worst=worst_slices(pictures),
            outlines=COMPARED_OUTLINES,
            summary=summary,
        )
    )
    write_whole(path, page)


def worst_slices(pictures: list[Outlined], n_worst: int = 12) -> list[dict]:
    """Draw the slices in which most of the brain was missed or invented, the worst first.

    Parameters
    ----------
    pictures : list of Outlined
    n_worst : int
        At most so many, and of each picture one.

    Returns
    -------
    list of dict
        ``title``, ``slice``, ``wrong`` pixels, and ``picture``.
    """
    worst = []
    for one in pictures:
        wrong = (one.found != one.reference).sum(axis=(1, 2))
        n = int(wrong.argmax())
        worst.append((int(wrong[n]), n, one))
    worst = sorted(worst, key=lambda entry: -entry[0])[:n_worst]
    return [
        {
            'title': one.title,
            'slice': n,
            'wrong': wrong,
            'picture': draw_slice(
                grey(one.image[n : n + 1])[0],
                1.0,
                {FOUND: one.found[n], REFERENCE: one.reference[n]},
                f'Slice {n} of {one.title}: the brain found and the reference, outlined',
            ),
        }
        for wrong, n, one in worst
    ]
