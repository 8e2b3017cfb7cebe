"""The page of a sanity check: verdicts and their evidence."""

import json
from pathlib import Path

import numpy as np
from markupsafe import Markup

from secondglance.files.atomic import write_whole
from secondglance.models.saliency.sanity import Sanity, Verdict
from secondglance.reports import figures
from secondglance.reports.page import page_templates
from secondglance.reports.plots import cascade_charts, share_charts
from secondglance.reports.scores import write_table

N_SHOWN = 9
"""Slices that are shown of each map."""


def write_sanity(
    found: Sanity,
    verdicts: list[Verdict],
    facts: dict[str, str],
    folder: Path,
    aspect: float = 1.0,
) -> Path:
    """Write ``sanity.html``, its figures, ``sanity.tsv`` and ``sanity.json``.

    Parameters
    ----------
    found : secondglance.models.saliency.sanity.Sanity
    verdicts : list of secondglance.models.saliency.sanity.Verdict
    facts : dict of str
        What was checked, shown first.
    folder : Path
        Made where it is not there.
    aspect : float
        Height of a pixel over its width.

    Returns
    -------
    Path
        Of the page, which is written last.
    """
    pictures = folder / 'figures'
    pictures.mkdir(parents=True, exist_ok=True)
    maps = {}
    for number, (name, stack) in enumerate(found.maps.items()):
        n = len(stack)
        shown = stack[np.unique(np.linspace(0.1 * n, 0.9 * n - 1, N_SHOWN).astype(int))]
        path = pictures / f'sanity_map-{number}.png'
        picture = figures.mosaic(figures.diverging(shown), aspect=aspect, columns=len(shown))
        figures.save_png(picture, path)
        maps[name] = f'figures/{path.name}'
    write_table(found.rows, folder / 'sanity.tsv')
    told = {
        **facts,
        'verdicts': [vars(verdict) for verdict in verdicts],
        'curves': {k: {by: c.tolist() for by, c in v.items()} for k, v in found.curves.items()},
    }
    write_whole(folder / 'sanity.json', json.dumps(told, indent=2, ensure_ascii=False) + '\n')
    page = (
        page_templates()
        .get_template('sanity.html')
        .render(
            facts='; '.join(f'{name}: {value}' for name, value in facts.items()),
            verdicts=verdicts,
            passed=sum(verdict.passed for verdict in verdicts),
            maps=maps,
            **_charts_of(found),
            rows=found.rows,
        )
    )
    write_whole(folder / 'sanity.html', page)
    return folder / 'sanity.html'


def _charts_of(found: Sanity) -> dict[str, list[Markup]]:
    """Charts of the randomised weights, and of faithfulness."""
    from secondglance.models.saliency.sanity import CHANGED_SHARES

    rows = found.of('trained') + found.of('cascade')
    (edges,) = found.of('control', 'edges')
    keys = ('rank_correlation', 'ssim', 'placed_dice')
    return {
        'cascade': cascade_charts(
            ['none', *(row['what'] for row in rows[1:])],
            {key: [row[key] for row in rows] for key in keys},
            {key: edges[key] for key in keys},
        ),
        'curves': share_charts(CHANGED_SHARES, found.curves, found.area),
    }
