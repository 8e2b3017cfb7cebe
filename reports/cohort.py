"""One page to look through a whole study: every mask, the doubtful first."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from secondglance.files.atomic import write_whole
from secondglance.imaging.labels import TISSUES
from secondglance.reports.data import figures_folder
from secondglance.reports.page import environment

VOLUME = 'brain_mm3'


def write_cohort_page(outcomes: Sequence, output_dir: Path) -> Path:
    """Write ``cohort.html``, which shows the figures of the scans' own reports.

    Parameters
    ----------
    outcomes : sequence of secondglance.pipelines.execution.job.Outcome
    output_dir : Path
        Where the reports are.

    Returns
    -------
    Path
        Of the page.
    """
    usual = _usual_volumes(outcomes)
    page = (
        environment()
        .get_template('cohort.html')
        .render(
            scans=[_shown(outcome, usual, output_dir) for outcome in in_order(outcomes)],
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


def _usual_volumes(outcomes: Sequence) -> dict[str, float]:
    """Median volume of the brains of each species, mm³."""
    volumes: dict[str, list[float]] = {}
    for figures in (outcome.figures for outcome in outcomes):
        if VOLUME in figures:
            volumes.setdefault(figures['species'], []).append(figures[VOLUME])
    return {species: median(values) for species, values in volumes.items()}


def _shown(outcome, usual: dict[str, float], output_dir: Path) -> dict:
    """Give what the page tells of a scan; its picture where its report has one."""
    figures = outcome.figures
    facts = []
    if VOLUME in figures:
        brain, middle = figures[VOLUME], usual[figures['species']]
        facts.append(figures['species'])
        facts.append(f'Dice at least 0.95 with probability {figures["confidence"]:.2f}')
        facts.append(f'brain {brain:.0f} mm³')
        if middle > 0:
            facts[-1] += f', {brain / middle:.2f} of the median'
        if brain > 0:
            facts += [f'{t} {figures[f"{t}_mm3"] / brain:.0%}' for t in TISSUES]
    picture = f'{figures_folder(outcome.scan)}/{outcome.scan}_mask.png'
    return {
        'name': outcome.scan,
        'facts': facts,
        'flags': outcome.flags,
        'reason': outcome.reason,
        'report': f'{outcome.scan}.html' if outcome.status != 'failed' else '',
        'picture': picture if (output_dir / picture).is_file() else '',
    }
