"""One page to look through a whole study: every mask, the doubtful first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from secondglance.files.atomic import write_whole
from secondglance.imaging.labels import TISSUES
from secondglance.reports.data import figures_folder
from secondglance.reports.page import page_templates
from secondglance.reports.scan_result import ScanResult
from secondglance.reports.verdict import BAD, GOOD, LOOK, level

VOLUME = 'brain_mm3'

OUTLIER = 3.5
"""Robust standard deviations from the median beyond which a value is an outlier (Iglewicz and
Hoaglin 1993)."""

FEWEST = 5
"""Scans of a species from which on outliers are looked for."""


@dataclass(frozen=True)
class Quantity:
    """What is compared between the scans of a species.

    Attributes
    ----------
    words : str
        Below its distribution, and in flags.
    heading : str
        Of its column.
    digits : str
        Format of its values.
    worse : {'both', 'low', 'high'}
        Outliers on this side are flagged.
    least : float
        Robust standard deviation that is taken at least: smaller differences are no outliers.
    relative : bool
        Whether `least` is a share of the median.
    factor : float
        From a value to what the column shows.
    """

    words: str
    heading: str
    digits: str = '.2f'
    worse: str = 'both'
    least: float = 0.02
    relative: bool = True
    factor: float = 1.0


QUANTITIES = {
    'confidence': Quantity(
        'Probability that the mask is good', 'mask good', '.2f', 'low', 0.05, relative=False
    ),
    VOLUME: Quantity('Brain volume, mm³', 'brain, mm³', '.0f'),
    **{
        f'{tissue}_share': Quantity(
            f'{tissue}, share of the brain', f'{tissue}, %', '.0f', factor=100.0
        )
        for tissue in TISSUES
    },
    'motion_mean_mm': Quantity(
        'Mean framewise displacement, mm', 'motion, mm', '.3f', 'high', 0.02, relative=False
    ),
    'brain_dice': Quantity(
        'Dice of the brain mask with the reference', 'Dice', '.3f', 'low', 0.005, relative=False
    ),
}
"""By name in the figures of a scan."""

BESIDE = '× median'
"""Heading of the brain volume over the median of the species."""


def write_cohort_page(outcomes: Sequence[ScanResult], output_dir: Path) -> Path:
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
    headings = _headings(outcomes)
    page = (
        page_templates()
        .get_template('cohort.html')
        .render(
            scans=[
                _shown(outcome, usual, odd, output_dir, headings) for outcome in in_order(outcomes)
            ],
            columns=[
                *(('scan', False), ('verdict', False), ('species', False)),
                *((heading, True) for heading in headings),
                *(('rating', False), ('to look at', False)),
            ],
            plots=_strips(outcomes, odd),
            n_failed=sum(outcome.status == 'failed' for outcome in outcomes),
            n_flagged=sum(bool(outcome.flags) for outcome in outcomes),
        )
    )
    write_whole(output_dir / 'cohort.html', page)
    return output_dir / 'cohort.html'


def in_order(outcomes: Sequence[ScanResult]) -> list:
    """Put what failed first, then what is flagged, each the less sure before the surer.

    Parameters
    ----------
    outcomes : sequence of ScanResult

    Returns
    -------
    list of ScanResult
    """

    def key(outcome: ScanResult) -> tuple:
        sure = outcome.figures.get('confidence', 0.0)
        return outcome.status != 'failed', not outcome.flags, sure, outcome.scan

    return sorted(outcomes, key=key)


def outliers(outcomes: Sequence[ScanResult]) -> set[tuple[str, str]]:
    """Find values that are unlike those of the other scans of the species.

    Parameters
    ----------
    outcomes : sequence of ScanResult
        Those of one study.

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
                groups.setdefault(outcome.figures.get('species', ''), []).append(
                    (outcome.scan, value)
                )
        for group in groups.values():
            low, high = usual_range(name, [value for _, value in group])
            found |= {(scan, name) for scan, value in group if not low <= value <= high}
    return found


def usual_range(name: str, values: Sequence[float]) -> tuple[float, float]:
    """Range in which values of a species are no outliers.

    Parameters
    ----------
    name : str
        One of `QUANTITIES`.
    values : sequence of float

    Returns
    -------
    (float, float)
        Infinite where there are too few values, and on a side that is never worse.

    Examples
    --------
    >>> low, high = usual_range('motion_mean_mm', [0.02, 0.03, 0.03, 0.04, 0.9])
    >>> low, round(high, 3)
    (-inf, 0.1)
    """
    about = QUANTITIES[name]
    if len(values) < FEWEST:
        return -np.inf, np.inf
    middle = median(values)
    # 1.4826: from a normal's median absolute deviation to its standard deviation
    spread = 1.4826 * median(abs(value - middle) for value in values)
    spread = max(spread, about.least * (abs(middle) if about.relative else 1.0))
    low = middle - OUTLIER * spread if about.worse != 'high' else -np.inf
    high = middle + OUTLIER * spread if about.worse != 'low' else np.inf
    return low, high


def flag_outliers(outcomes: Sequence[ScanResult]) -> list:
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
        told = [f'{QUANTITIES[n].words} ({_shown_value(n, _values(outcome)[n])})' for n in names]
        added = tuple(f'Unlike the other scans of the study: {words}.' for words in told)
        flagged.append(replace(outcome, flags=(*outcome.flags, *added)) if added else outcome)
    return flagged


def _values(outcome: ScanResult) -> dict[str, float]:
    """What is compared of a scan; nothing of one that failed."""
    figures = outcome.figures
    found = {name: figures[name] for name in QUANTITIES if name in figures}
    if figures.get(VOLUME, 0) > 0:
        found |= {
            f'{tissue}_share': figures[f'{tissue}_mm3'] / figures[VOLUME] for tissue in TISSUES
        }
    return found


def _usual_volumes(outcomes: Sequence[ScanResult]) -> dict[str, float]:
    """Median volume of the brains of each species, mm³."""
    volumes: dict[str, list[float]] = {}
    for figures in (outcome.figures for outcome in outcomes):
        if VOLUME in figures:
            volumes.setdefault(figures['species'], []).append(figures[VOLUME])
    return {species: median(values) for species, values in volumes.items()}


def _headings(outcomes: Sequence[ScanResult]) -> dict[str, str]:
    """Headings of the columns of numbers, and their quantities; without those that none has."""
    headings = {}
    known = {name for outcome in outcomes for name in _values(outcome)}
    for name, about in QUANTITIES.items():
        # Motion and Dice are not of every study
        if name in known or name not in ('motion_mean_mm', 'brain_dice'):
            headings[about.heading] = name
        if name == VOLUME:
            headings[BESIDE] = name
    return headings


def _shown_value(name: str, value: float) -> str:
    return format(value, '.0f' if name == VOLUME else '.3g')


def verdict_of(outcome: ScanResult) -> str:
    """Verdict of a scan: ``failed``, or that of its report with the flags of the study.

    Parameters
    ----------
    outcome : ScanResult

    Returns
    -------
    {'failed', 'bad', 'look', 'good'}
    """
    if outcome.status == 'failed':
        return 'failed'
    return level(outcome.flags, outcome.figures.get('confidence'), outcome.figures.get(VOLUME))


def _shown(
    outcome: ScanResult, usual: dict, odd: set, output_dir: Path, headings: dict[str, str]
) -> dict:
    """Give what the page tells of a scan; its picture where its report has one."""
    figures, values = outcome.figures, _values(outcome)
    middle = usual.get(figures.get('species', ''), 0)
    beside = values[VOLUME] / middle if VOLUME in values and middle > 0 else None
    cells = []
    for heading, name in headings.items():
        if heading == BESIDE:
            cells.append(_cell(beside, '.2f', False))
            continue
        value = values.get(name)
        about = QUANTITIES[name]
        shown = None if value is None else about.factor * value
        cells.append(_cell(shown, about.digits, (outcome.scan, name) in odd))
    failed = outcome.status == 'failed'
    picture = f'{figures_folder(outcome.scan)}/{outcome.scan}_mask.png'
    thumbnail = f'{figures_folder(outcome.scan)}/{outcome.scan}_thumbnail.png'
    there = not failed and (output_dir / thumbnail).is_file()
    verdict = verdict_of(outcome)
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


def _strips(outcomes: Sequence[ScanResult], odd: set) -> list[dict]:
    """Lay the values of all scans on lines, one a quantity and species; equal ones stacked."""
    species = sorted({o.figures['species'] for o in outcomes if 'species' in o.figures})
    plots = []
    for name, about in QUANTITIES.items():
        for one in species:
            known = [
                (o.scan, _values(o)[name])
                for o in outcomes
                if o.figures.get('species') == one and name in _values(o)
            ]
            if len(known) >= FEWEST:
                words = f'{about.words} ({one})' if len(species) > 1 else about.words
                plots.append(_strip(name, words, known, odd))
    return plots


def _strip(name: str, words: str, known: list[tuple[str, float]], odd: set) -> dict:
    """Lay values on a line, with their median and the range without outliers."""
    values = [value for _, value in known]
    low, high = min(values), max(values)

    def across(value: float) -> int:
        return 10 + round(280 * (min(max(value, low), high) - low) / (high - low or 1))

    stacked: dict[int, int] = {}
    dots = []
    for scan, value in known:
        x = across(value)
        step = stacked[x // 4] = stacked.get(x // 4, -1) + 1
        y = 40 - 4 * (step % 9)
        told = _shown_value(name, value)
        dots.append({'x': x, 'y': y, 'name': scan, 'text': told, 'odd': (scan, name) in odd})
    first, last = (across(end) for end in usual_range(name, values))
    return {
        'name': words,
        'dots': dots,
        'low': _shown_value(name, low),
        'high': _shown_value(name, high),
        'median': _shown_value(name, median(values)),
        'middle': across(median(values)),
        'first': first,
        'last': last,
        'n_odd': sum(dot['odd'] for dot in dots),
    }
