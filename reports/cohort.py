"""One page to look through a whole study: every mask, the doubtful first."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from secondglance.files.atomic import write_whole
from secondglance.imaging.labels import TISSUES
from secondglance.reports.data import figures_folder
from secondglance.reports.page import environment
from secondglance.reports.verdict import BAD, GOOD, LOOK, level

VOLUME = 'brain_mm3'

OUTLIER = 3.5
"""Robust standard deviations from the median beyond which a value is an outlier (Iglewicz and
Hoaglin 1993)."""

FEWEST = 5
"""Scans of a species from which on outliers are looked for."""

LEAST_SPREAD = 0.02
"""Of the median: where all scans are nearly alike, smaller differences are no outliers."""

QUANTITIES = {
    'confidence': 'Probability that the mask is good',
    VOLUME: 'Brain volume, mm³',
    **{f'{tissue}_share': f'{tissue}, share of the brain' for tissue in TISSUES},
}
"""What is compared between scans, and what it is called."""

COLUMNS = (
    *(('scan', False), ('verdict', False), ('species', False), ('mask good', True)),
    *(('brain, mm³', True), ('× median', True), *((f'{t}, %', True) for t in TISSUES)),
    *(('rating', False), ('to look at', False)),
)
"""Headings after the picture, and whether they hold numbers."""


def write_cohort_page(outcomes: Sequence, output_dir: Path) -> Path:
    """Write ``cohort.html``, which shows the figures of the scans' own reports.

    Parameters
    ----------
    outcomes : sequence of secondglance.pipelines.execution.job.ScanResult
    output_dir : Path
        Where the reports are.

    Returns
    -------
    Path
        Of the page.
    """
    usual = _usual_volumes(outcomes)
    odd = outliers(outcomes)
    page = (
        environment()
        .get_template('cohort.html')
        .render(
            scans=[_shown(outcome, usual, odd, output_dir) for outcome in in_order(outcomes)],
            columns=COLUMNS,
            plots=_strips(outcomes, odd),
            n_failed=sum(outcome.status == 'failed' for outcome in outcomes),
            n_flagged=sum(bool(outcome.flags) for outcome in outcomes),
        )
    )
    write_whole(output_dir / 'cohort.html', page)
    return output_dir / 'cohort.html'


def in_order(outcomes: Sequence) -> list:
    """Put what failed first, then what is flagged, each the less sure before the surer."""

    def key(outcome):
        sure = outcome.figures.get('confidence', 0.0)
        return outcome.status != 'failed', not outcome.flags, sure, outcome.scan

    return sorted(outcomes, key=key)


def outliers(outcomes: Sequence) -> set[tuple[str, str]]:
    """Find values that are unlike those of the other scans of the species.

    Returns
    -------
    set of (str, str)
        Scan, and which of `QUANTITIES`.
    """
    found = set()
    for name in QUANTITIES:
        groups: dict[str, list[tuple[str, float]]] = {}
        for outcome in outcomes:
            value = _values(outcome).get(name)
            if value is not None:
                groups.setdefault(outcome.figures['species'], []).append((outcome.scan, value))
        for group in groups.values():
            middle = median(value for _, value in group)
            # 1.4826: from a normal's median absolute deviation to its standard deviation
            spread = 1.4826 * median(abs(value - middle) for _, value in group)
            spread = max(spread, LEAST_SPREAD * abs(middle))
            if len(group) >= FEWEST and spread > 0:
                found |= {
                    (scan, name)
                    for scan, value in group
                    if abs(value - middle) > OUTLIER * spread
                    # A mask that is surer than others is nothing to look at
                    and not (name == 'confidence' and value > middle)
                }
    return found


def flag_outliers(outcomes: Sequence) -> list:
    """Add a flag to each scan that is unlike the others; table, page and summary share it.

    Parameters
    ----------
    outcomes : sequence of secondglance.pipelines.execution.job.ScanResult

    Returns
    -------
    list
        In the order given.
    """
    odd = outliers(outcomes)
    flagged = []
    for outcome in outcomes:
        names = [name for name in QUANTITIES if (outcome.scan, name) in odd]
        added = tuple(f'Unlike the other scans of the study: {QUANTITIES[n]}.' for n in names)
        flagged.append(replace(outcome, flags=(*outcome.flags, *added)) if added else outcome)
    return flagged


def _values(outcome) -> dict[str, float]:
    """What is compared of a scan; nothing of one that failed."""
    figures = outcome.figures
    found = {name: figures[name] for name in ('confidence', VOLUME) if name in figures}
    if figures.get(VOLUME, 0) > 0:
        found |= {
            f'{tissue}_share': figures[f'{tissue}_mm3'] / figures[VOLUME] for tissue in TISSUES
        }
    return found


def _usual_volumes(outcomes: Sequence) -> dict[str, float]:
    """Median volume of the brains of each species, mm³."""
    volumes: dict[str, list[float]] = {}
    for figures in (outcome.figures for outcome in outcomes):
        if VOLUME in figures:
            volumes.setdefault(figures['species'], []).append(figures[VOLUME])
    return {species: median(values) for species, values in volumes.items()}


def _shown(outcome, usual: dict[str, float], odd: set, output_dir: Path) -> dict:
    """Give what the page tells of a scan; its picture where its report has one."""
    figures, values = outcome.figures, _values(outcome)
    middle = usual.get(figures.get('species', ''), 0)
    beside = values[VOLUME] / middle if VOLUME in values and middle > 0 else None
    cells = [
        _cell(values.get('confidence'), '.2f', (outcome.scan, 'confidence') in odd),
        _cell(values.get(VOLUME), '.0f', (outcome.scan, VOLUME) in odd),
        _cell(beside, '.2f', False),
    ]
    for tissue in TISSUES:
        share = values.get(f'{tissue}_share')
        percent = None if share is None else 100 * share
        cells.append(_cell(percent, '.0f', (outcome.scan, f'{tissue}_share') in odd))
    failed = outcome.status == 'failed'
    picture = f'{figures_folder(outcome.scan)}/{outcome.scan}_mask.png'
    thumbnail = f'{figures_folder(outcome.scan)}/{outcome.scan}_thumbnail.png'
    there = not failed and (output_dir / thumbnail).is_file()
    verdict = level(outcome.flags, figures.get('confidence'), figures.get(VOLUME))
    verdict = 'failed' if failed else verdict
    return {
        'name': outcome.scan,
        'verdict': verdict,
        'rank': ('failed', BAD, LOOK, GOOD).index(verdict),
        'species': figures.get('species', ''),
        'cells': cells,
        'flags': outcome.flags,
        'reason': outcome.reason,
        'report': '' if failed else f'{outcome.scan}.html',
        'picture': picture,
        'thumbnail': thumbnail if there else '',
    }


def _cell(value: float | None, digits: str, odd: bool) -> dict:
    if value is None:
        return {'value': '', 'text': '–', 'odd': False}
    return {'value': f'{value:.6g}', 'text': format(value, digits), 'odd': odd}


def _strips(outcomes: Sequence, odd: set) -> list[dict]:
    """Lay the values of all scans on lines, one a quantity; equal ones above each other."""
    plots = []
    for name, words in QUANTITIES.items():
        known = [(o.scan, _values(o)[name]) for o in outcomes if name in _values(o)]
        if len(known) < FEWEST:
            continue
        low, high = min(v for _, v in known), max(v for _, v in known)
        digits = '.0f' if name == VOLUME else '.2f'
        stacked: dict[int, int] = {}
        dots = []
        for scan, value in known:
            x = 10 + round(280 * (value - low) / (high - low or 1))
            step = stacked[x // 4] = stacked.get(x // 4, -1) + 1
            y = 40 - 4 * (step % 9)
            dots.append(
                {
                    'x': x,
                    'y': y,
                    'name': scan,
                    'text': format(value, digits),
                    'odd': (scan, name) in odd,
                }
            )
        plots.append(
            {'name': words, 'dots': dots, 'low': format(low, digits), 'high': format(high, digits)}
        )
    return plots
