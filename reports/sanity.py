"""The page of a sanity check: verdicts and their evidence."""

import json
from pathlib import Path

import numpy as np

from secondglance.files.atomic import write_whole
from secondglance.reports import figures
from secondglance.reports.page import environment
from secondglance.reports.scores import write_table

N_SHOWN = 9
"""Slices that are shown of each map."""


def write_sanity(
    found, verdicts: list, facts: dict[str, str], folder: Path, aspect: float = 1.0
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
    cascade, curves = pictures / 'sanity_cascade.svg', pictures / 'sanity_curves.svg'
    _draw_cascade(found, cascade)
    _draw_curves(found, curves)
    write_table(found.rows, folder / 'sanity.tsv')
    told = {
        **facts,
        'verdicts': [vars(verdict) for verdict in verdicts],
        'curves': {k: {by: c.tolist() for by, c in v.items()} for k, v in found.curves.items()},
    }
    write_whole(folder / 'sanity.json', json.dumps(told, indent=2, ensure_ascii=False) + '\n')
    page = (
        environment()
        .get_template('sanity.html')
        .render(
            facts='; '.join(f'{name}: {value}' for name, value in facts.items()),
            verdicts=verdicts,
            passed=sum(verdict.passed for verdict in verdicts),
            maps=maps,
            cascade=f'figures/{cascade.name}',
            curves=f'figures/{curves.name}',
            rows=found.rows,
        )
    )
    write_whole(folder / 'sanity.html', page)
    return folder / 'sanity.html'


def _draw_cascade(found, path: Path) -> None:
    figure, axes = figures.plots(2, 'likeness to the trained map', 'Dice of the placed mask')
    rows = found.of('trained') + found.of('cascade')
    names = ['none', *(row['what'] for row in rows[1:])]
    (edge,) = found.of('control', 'edges')
    for axis, keys in zip(axes, (('rank_correlation', 'ssim'), ('placed_dice',)), strict=True):
        for number, key in enumerate(keys):
            axis.plot([row[key] for row in rows], 'o-', ms=3, label=key.replace('_', ' '))
            axis.axhline(edge[key], color=f'C{number}', ls='--', lw=1)
        axis.set_xticks(range(len(names)), names, rotation=60, ha='right', fontsize=7)
        axis.set_ylim(min(0, axis.get_ylim()[0]), 1.02)
        axis.set_xlabel('randomised down to')
    axes[0].legend(fontsize=8, frameon=False)
    figure.savefig(path)


def _draw_curves(found, path: Path) -> None:
    from secondglance.models.saliency.sanity import SHARES

    figure, axes = figures.plots(2, 'tissue still found', 'tissue found')
    for axis, (kind, curves) in zip(axes, found.curves.items(), strict=True):
        for by, curve in curves.items():
            axis.plot(SHARES, curve, 'o-', ms=3, label=f'{by}, area {found.area(kind, by):.2f}')
        axis.set_xlabel(f'share of pixels, {kind}')
        axis.legend(fontsize=8, frameon=False)
    figure.savefig(path)
