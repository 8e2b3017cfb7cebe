"""How the mask of a slice was found, step by step: enhancement, kernel, correlation, masks."""

from dataclasses import dataclass
from html import escape

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy import ndimage

from secondglance.imaging.enhancement import EnhancementSteps, enhancement_steps, weight_of
from secondglance.imaging.intensity import head_mask
from secondglance.imaging.placement.donors import surfaces_of
from secondglance.imaging.published import PEAK, WIDTH
from secondglance.reports import figures
from secondglance.reports.charts import Histogram, Line, Panel, chart
from secondglance.reports.data import ReportData

MOST_SLICES_SHOWN = 24
"""Slices of which the steps are shown; of more, these are spread evenly over the brain."""

BINS = 40

MOST_SIDE = 160
"""Pixels of a picture; longer ones are thinned."""

PLACED_COLOUR = (86, 180, 233)
REFERENCE_COLOUR = (255, 255, 255)
OUTLINES = {
    'final mask': figures.MASK_COLOUR,
    'placed mask of the donor': PLACED_COLOUR,
    'reference': REFERENCE_COLOUR,
}
"""Outlines of masks, in the pictures and in their legend."""


@dataclass(frozen=True)
class SliceSteps:
    """The steps of one slice, as drawings.

    Attributes
    ----------
    number : int
        Of the slice.
    histograms : list of Markup
        Magnitude, its logarithm, standard score, enhanced saliency.
    kernel, surface : Markup
        Empty where the donor does not reach.
    highest : float
        Correlation in the drawing of the surface, at its brightest.
    masks : Markup
    words : str
        Figures of the slice, in a sentence.
    """

    number: int
    histograms: list[Markup]
    kernel: Markup
    surface: Markup
    highest: float
    masks: Markup
    words: str


def slice_steps(data: ReportData) -> list[SliceSteps]:
    """Draw the steps of a scan's slices.

    Parameters
    ----------
    data : ReportData

    Returns
    -------
    list of SliceSteps
        Of at most `MOST_SLICES_SHOWN` slices; empty where no placement is known.
    """
    if data.kernels is None or data.placed is None:
        return []
    shown = slices_shown(data.mask)
    heads = head_mask(data.image)
    surfaces, first = surfaces_of(data.enhanced, data.kernels[:, 0], shown)
    grey = figures.grey(data.image)
    rows = {int(row['slice']): row for row in data.placement}
    made = []
    for n, surface in zip(shown, surfaces, strict=True):
        row = rows.get(n, {})
        reached = bool(data.kernels[n, 1].any())
        masks = {'final mask': data.mask[n], 'placed mask of the donor': data.placed[n]}
        if data.reference is not None:
            masks['reference'] = data.reference[n] > 0
        made.append(
            SliceSteps(
                number=n,
                histograms=_histograms(data, n, heads[n]),
                kernel=_kernel(data, n) if reached else Markup(),
                surface=_surface(data, surface, first, row) if reached else Markup(),
                highest=float(_middle(surface)[0].max()),
                masks=draw_slice(
                    grey[n], data.aspect, masks, f'Slice {n} with the outlines of its masks'
                ),
                words=_words(row, reached),
            )
        )
    return made


def slices_shown(mask: NDArray) -> list[int]:
    """Choose slices over the length of the brain, the one with most brain among them.

    Parameters
    ----------
    mask : (N, H, W) bool array

    Returns
    -------
    list of int
        Ascending, at most `MOST_SLICES_SHOWN`.

    Examples
    --------
    >>> slices_shown(np.ones((3, 2, 2), bool)), len(slices_shown(np.ones((99, 2, 2), bool)))
    ([0, 1, 2], 24)
    """
    areas = mask.sum((1, 2))
    inside = np.flatnonzero(areas) if areas.any() else np.arange(len(areas))
    chosen = inside[0] + np.arange(inside[-1] + 1 - inside[0])
    if len(chosen) > MOST_SLICES_SHOWN:
        chosen = chosen[np.linspace(0, len(chosen) - 1, MOST_SLICES_SHOWN).round().astype(int)]
        largest = int(areas.argmax()) if areas.any() else len(areas) // 2
        chosen[np.abs(chosen - largest).argmin()] = largest
    return [int(n) for n in chosen]


def outline(mask: NDArray, aspect: float = 1.0) -> str:
    """Trace a mask along the edges of its pixels, as an SVG path.

    Parameters
    ----------
    mask : (rows, columns) bool array
        As displayed: the first row is the top.
    aspect : float
        Height of a pixel; its width is one.

    Examples
    --------
    >>> outline(np.array([[False, True]]))
    'M1 0h1M1 1h1M1 0v1M2 0v1'
    """
    padded = np.pad(np.asarray(mask, bool), 1)
    parts = []
    for turned in (False, True):
        edges = np.diff(padded, axis=1 if turned else 0)
        edges = edges[1:-1].T if turned else edges[:, 1:-1]
        # Ends of runs, in order: every second one is a start
        lines, ends = np.nonzero(np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8)))
        for line, start, stop in zip(
            lines[::2].tolist(), ends[::2].tolist(), ends[1::2].tolist(), strict=True
        ):
            if turned:
                parts.append(f'M{line} {start * aspect:g}v{(stop - start) * aspect:g}')
            else:
                parts.append(f'M{start} {line * aspect:g}h{stop - start}')
    return ''.join(parts)


def _histograms(data: ReportData, n: int, head: NDArray) -> list[Markup]:
    """Histograms of the head's pixels, and of those on the outline of the brain mask."""
    peak = float(data.settings.get('enhance_peak', PEAK))
    width = float(data.settings.get('enhance_width', WIDTH))
    steps = enhancement_steps(data.saliency[n][head], peak=peak, width=width)
    if steps is None:
        return []
    wide = ndimage.binary_dilation(data.mask[n]) & ~ndimage.binary_erosion(data.mask[n])
    return [
        _histogram(n, wide[head], *about)
        for about in (
            (steps.magnitude, '|gradient|, of 0 to 255', ()),
            (steps.compressed, 'ln(1 + |gradient|)', ()),
            (steps.score, 'standard score', _weight_lines(steps, peak, width)),
            (steps.enhanced, 'enhanced saliency', ()),
        )
    ]


def _weight_lines(steps: EnhancementSteps, peak: float, width: float) -> tuple[Line, ...]:
    """Draw what a score becomes, as high as the axis."""
    x = np.linspace(steps.score.min(), steps.score.max(), 80)
    return (Line(x, weight_of(x, peak, width), 'becomes', 3, mark='', dashed=True),)


def _histogram(
    n: int, rim: NDArray, values: NDArray, xlabel: str, lines: tuple[Line, ...]
) -> Markup:
    reach = float(values.min()), float(values.max())
    areas = []
    for colour, (label, chosen) in enumerate((('head', values), ('rim of the mask', values[rim]))):
        counts, edges = np.histogram(chosen, BINS, reach)
        areas.append(Histogram(edges, counts / max(1, counts.max()), label, colour))
    panel = Panel(lines, xlabel, 'pixels, of the most', (0, 1.02), areas=areas)
    middle = f'median {np.median(values):.2g}'
    if rim.any():
        middle += f', on the rim of the mask {np.median(values[rim]):.2g}'
    return chart(panel, f'Histogram of slice {n}: {xlabel}; {middle}')


def _kernel(data: ReportData, n: int) -> Markup:
    kernel, mask = _about(data.kernels[n])  # type: ignore[index]
    colours = figures.heat(np.zeros((*kernel.shape, 3), np.uint8), kernel)
    words = 'Kernel: enhanced saliency of the donor inside its mask'
    return draw_slice(colours, data.aspect, {'placed mask of the donor': mask >= 0.5}, words)


def _about(stack: NDArray, margin: int = 6) -> NDArray:
    """Cut a kernel and its mask, (2, h, w), out of their frame."""
    box = []
    for axis in (1, 0):
        inside = np.flatnonzero(stack[1].any(axis=axis))
        box.append(slice(max(0, inside[0] - margin), inside[-1] + 1 + margin))
    return stack[:, box[0], box[1]]


def _surface(data: ReportData, surface: NDArray, first: NDArray, row: dict) -> Markup:
    """Draw the middle half of the shifts, with a cross at the highest correlation."""
    part, low = _middle(surface)
    first = first + low
    colours = figures.heat(np.zeros((*part.shape, 3), np.uint8), part / max(part.max(), 1e-9))
    marks = []
    for kind, start in (('cross', 'found'), ('ring', 'shift')):
        names = f'{start}_x_mm', f'{start}_y_mm'
        if not all(name in row for name in names):
            continue
        x, y = (
            row[name] / side - low
            for name, side, low in zip(names, data.spacing, first, strict=True)
        )
        right, down = x + 0.5, (part.shape[1] - 0.5 - y) * data.aspect
        if kind == 'cross':
            marks.append(
                f'<path class="mark" d="M{right - 7:.1f} {down:.1f}h5m4 0h5'
                f'M{right:.1f} {down - 7:.1f}v5m0 4v5"/>'
            )
        else:
            marks.append(f'<circle class="mark" cx="{right:.1f}" cy="{down:.1f}" r="4.5"/>')
    words = f'Correlation at every shift; {_peak_words(row)}'
    return draw_slice(colours, data.aspect, {}, words, ''.join(marks))


def _middle(surface: NDArray) -> tuple[NDArray, NDArray[np.int64]]:
    """Take the middle half of the shifts, and where it begins."""
    low = np.array(surface.shape) // 4
    high = np.array(surface.shape) - low
    return surface[low[0] : high[0], low[1] : high[1]], low


def _peak_words(row: dict) -> str:
    if 'peak' not in row:
        return 'bright is high'
    shift = f'{row["found_x_mm"]:.1f}, {row["found_y_mm"]:.1f} mm'
    return f'peak {row["peak"]:.2f} at {shift}, {row["peak_ratio"]:.2f} times the second'


def draw_slice(
    colours: NDArray[np.uint8],
    aspect: float,
    masks: dict[str, NDArray],
    words: str,
    marks: str = '',
) -> Markup:
    """Draw a slice, dorsal up, with outlines above it.

    Parameters
    ----------
    colours : (H, W, 3) uint8 array
    aspect : float
        Height of a pixel over its width.
    masks : dict of (H, W) bool arrays
        By name, as of `OUTLINES`.
    words : str
        What the picture shows, for those who do not see it.
    marks : str
        SVG elements above, in pixels.

    Returns
    -------
    Markup
        An SVG element.
    """
    shown = colours.transpose(1, 0, 2)[::-1]
    height, width = shown.shape[:2]
    step = -(-max(height, width) // MOST_SIDE)
    source = figures.picture_uri(np.ascontiguousarray(shown[::step, ::step]))
    paths = ''.join(
        f'<path style="stroke: rgb{OUTLINES[name]}" d="{outline(mask.T[::-1], aspect)}"/>'
        for name, mask in masks.items()
    )
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="slice" role="img" '
        f'viewBox="0 0 {width} {height * aspect:g}" aria-label="{escape(words)}">'
        f'<image href="{source}" width="{width}" height="{height * aspect:g}" '
        f'preserveAspectRatio="none"/>{paths}{marks}</svg>'
    )


def _words(row: dict, reached: bool) -> str:
    """Tell the figures of a slice."""
    if not reached:
        return 'The donor does not reach this slice: no mask was placed.'
    if 'peak' not in row:
        return ''
    told = f'Slice {int(row["donor_slice"])} of the donor; {_peak_words(row)}'
    if row.get('replaced'):
        told += f'; an outlier, replaced by {row["shift_x_mm"]:.1f}, {row["shift_y_mm"]:.1f} mm'
    if 'agreement' in row:
        told += f'. Dice of placed and final mask {row["agreement"]:.2f}'
    return f'{told}.'
