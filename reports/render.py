"""The visual report: one HTML page that holds its figures."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from markupsafe import Markup
from numpy.typing import NDArray

from secondglance.files.atomic import write_whole
from secondglance.imaging.glance_changes import changes
from secondglance.imaging.labels import TISSUES
from secondglance.reports import figures
from secondglance.reports.citations import bibtex
from secondglance.reports.data import ReportData
from secondglance.reports.page import page_templates
from secondglance.reports.plots import (
    lognormal_charts,
    motion_charts,
    placement_charts,
    score_charts,
)
from secondglance.reports.steps import OUTLINES, SliceSteps, slice_steps
from secondglance.reports.viewer import CHANGE_NAMES, viewer_data, viewer_within

MOST_BYTES = 3_700_000
"""Of the pictures of a page; with its text it stays below 4 MB, so that it can be mailed."""

ENCODERS = 2
"""Pictures that are encoded at the same time."""

MOSAICS_SHARE, STEPS_SHARE = 0.6, 0.2
"""Of these, what the pictures of all slices, and the steps of the mask, may have; the viewer has
the rest."""


def render_report(data: ReportData, html_path: Path, figures_dir: Path) -> None:
    """Write a scan's report.

    Parameters
    ----------
    data : ReportData
    html_path : Path
        The page, which holds its figures.
    figures_dir : Path
        Where the figures are written, too, for the cohort page. The page is written last.
    """
    figures_dir.mkdir(parents=True, exist_ok=True)
    prefix = html_path.stem
    base = figures.grey(data.image)
    box = figures.occupied_box(data.image, data.mask)
    mosaics = _mosaics(data, base)
    with ThreadPoolExecutor(ENCODERS) as pool:
        # Encoding leaves the interpreter free for what is drawn meanwhile; the longest first
        layers = pool.submit(viewer_data, data)
        drawn = {
            name: pool.submit(_draw, data, box, *shown, figures_dir / f'{prefix}_{name}.png')
            for name, shown in mosaics.items()
        }
        # The cohort page alone shows it
        small = figures.thumbnail(base, data.mask, data.aspect)
        figures.save_png(small, figures_dir / f'{prefix}_thumbnail.png')
        steps = _steps_within(data)
        charts = _charts(data)
        template = page_templates().get_template('report.html')
        # The cohort page shows the files; the report holds them and needs none
        inside = _within(pool, {name: job.result() for name, job in drawn.items()})
        left = MOST_BYTES - sum(map(len, inside.values())) - sum(map(_size_of, steps))
        viewer = viewer_within(data, left, layers.result())
    page = template.render(
        data=data,
        figures=inside,
        colours={n: figures.COLOURS[i] for i, n in enumerate(TISSUES, 1)},
        changes=dict(zip(CHANGE_NAMES, figures.CHANGES.values(), strict=True)),
        viewer=viewer,
        charts=charts,
        references=bibtex(data.methods, data.versions.get('secondglance', '')),
        ramps={kind: figures.ramp(kind) for kind in ('heat', 'signed')},
        steps=steps,
        step=min((one.number for one in steps), key=lambda n: abs(n - viewer['start']), default=0),
        outlines={name: OUTLINES[name] for name in _outlined(data)},
        fits=_counted(data.lognormal['best'] if data.lognormal else []),
    )
    write_whole(html_path, page)


def _mosaics(
    data: ReportData, base: NDArray
) -> dict[str, tuple[Callable[[], NDArray], NDArray | None]]:
    """Slices of each mosaic, as a call that colours them, and their outline."""
    return {
        'tissues': (lambda: figures.tissue_overlay(base, data.labels), None),
        'mask': (lambda: base, data.mask),
        'first': (lambda: figures.tissue_overlay(base, data.first_labels), None),
        'changed': (
            lambda: figures.changed(base, changes(data.first_labels, data.labels)),
            data.mask,
        ),
        'saliency': (lambda: figures.diverging(data.saliency), None),
        'enhanced': (lambda: figures.heat(base, data.enhanced), data.mask),
        'image': (lambda: base, None),
        **{
            f'explained{name}': (partial(figures.diverging, maps), data.mask)
            for name, maps in data.explained.items()
        },
    }


def _draw(
    data: ReportData,
    box: tuple[slice, slice, slice],
    colour: Callable[[], NDArray],
    outline: NDArray | None,
    path: Path,
) -> tuple[NDArray, str]:
    """Draw a mosaic, and write it; the picture, and its text for the page as fine as it can be."""
    slices = colour()[box]
    picture = figures.mosaic(slices, None if outline is None else outline[box], data.aspect)
    across = slices.shape[1] * data.spacing[0]
    picture = figures.annotate(picture, len(slices), across, data.edges)
    figures.save_png(picture, path)
    return picture, figures.data_uri(picture)


def _steps_within(data: ReportData) -> list[SliceSteps]:
    """Draw the steps of as many slices as their share of the page allows."""
    steps = slice_steps(data)
    while len(steps) > 1 and sum(map(_size_of, steps)) > STEPS_SHARE * MOST_BYTES:
        steps = steps[::2]
    return steps


def _size_of(one: SliceSteps) -> int:
    return sum(map(len, (one.kernel, one.surface, one.masks, *one.histograms)))


def _charts(data: ReportData) -> dict[str, list[Markup]]:
    """Draw the plots of what is known."""
    charts = {}
    if data.confounds and len(data.confounds['trans_x']) > 1:
        charts['motion'] = motion_charts(data.confounds)
    if data.placement:
        charts['placement'] = placement_charts(data.placement)
    if data.lognormal:
        charts['lognormal'] = lognormal_charts(data.lognormal)
    if data.slice_scores:
        charts['scores'] = score_charts(data.slice_scores)
    return charts


def _outlined(data: ReportData) -> list[str]:
    """Name the outlines that the pictures of the steps have."""
    return [name for name in OUTLINES if name != 'reference' or data.reference is not None]


def _within(pool: ThreadPoolExecutor, drawn: dict[str, tuple[NDArray, str]]) -> dict[str, str]:
    """Encode figures as finely as their share of the page allows."""
    inside = {name: text for name, (_, text) in drawn.items()}
    for quality in (60, 40, 20):
        if sum(map(len, inside.values())) <= MOSAICS_SHARE * MOST_BYTES:
            break
        encoded = pool.map(
            lambda shown: figures.data_uri(shown[0], quality),  # noqa: B023
            drawn.values(),
        )
        inside = dict(zip(drawn, encoded, strict=True))
    return inside


def _counted(names: list[str]) -> str:
    """Count names, the most frequent first.

    Examples
    --------
    >>> _counted(['gamma', 'weibull', 'gamma', ''])
    'gamma 2, weibull 1'
    """
    counts = Counter(name for name in names if name)
    return ', '.join(f'{name} {count}' for name, count in counts.most_common())
