"""Warnings about a scan's results, and their urgency."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.grids import holds_signal
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.mask.selection import DOUBTFUL

GOOD, LOOK, BAD = 'good', 'look', 'bad'
"""Green, amber and red: nothing stood out; something to look at; the mask is not to be trusted."""

SHARES = {'WM': (0.05, 0.5), 'GM': (0.35, 0.88), 'CSF': (0.005, 0.35)}
"""Shares of the brain that tissues have in scans of rats and mice; beyond, something is wrong."""

CUT_SHARE = 0.25
"""Share of the largest slice of brain above which an end slice says that the brain goes on."""

CUT_PIXELS = 3
"""Pixels of brain on the edge of the field of view, from which on it cuts a slice."""


def level(flags: Sequence[str], confidence: float | None, brain_mm3: float | None) -> str:
    """Say how urgent it is to look at a scan; report and cohort page judge by it alike.

    Parameters
    ----------
    flags : sequence of str
    confidence : float or None
        Probability that the mask is good; None where it is not known.
    brain_mm3 : float or None

    Returns
    -------
    {'good', 'look', 'bad'}

    Examples
    --------
    >>> level([], 0.98, 1800.0), level(['Slice 3 …'], 0.98, 1800.0), level(['…'], 0.3, 1800.0)
    ('good', 'look', 'bad')
    """
    if brain_mm3 == 0 or (confidence is not None and confidence < DOUBTFUL):
        return BAD
    return LOOK if flags else GOOD


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers in order, neighbours as ranges.

    Examples
    --------
    >>> ranges([5, 0, 1, 2, 7, 8])
    '0–2, 5, 7, 8'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f'{run[0]}–{run[-1]}' if len(run) > 2 else ', '.join(map(str, run)) for run in runs]
    return ', '.join(parts)


def result_warnings(
    *,
    image: NDArray,
    mask: NDArray,
    placement: list[dict],
    confounds: list[dict],
    volumes: list[dict],
    pixel_mm: float,
) -> list[str]:
    """Warn of what may be wrong in the results of a scan.

    Parameters
    ----------
    image, mask : (N, H, W) arrays
        Head and brain mask as a stack; zero beyond the field of view.
    placement : list of dict
        A row a slice, with ``slice`` and ``probability``.
    confounds : list of dict
        A row a volume, with ``volume`` and ``framewise_displacement``, mm.
    volumes : list of dict
        A row a tissue and one for the ``brain``, with ``label``, ``volume_mm3`` and, where
        fractions are known, ``volume_from_fractions_mm3``.
    pixel_mm : float
        Side of a pixel of the stack.

    Returns
    -------
    list of str
        A sentence each; slices and volumes are named.
    """
    return [
        *doubtful_slices(placement),
        *lost_slices(image, mask),
        *cut_brain(image, mask),
        *jumps(confounds, pixel_mm),
        *unusual_tissues(volumes),
    ]


def doubtful_slices(placement: list[dict]) -> list[str]:
    """Name slices where the mask is probably bad.

    Examples
    --------
    >>> doubtful_slices([{'slice': 3, 'probability': 0.2}, {'slice': 4, 'probability': 0.9}])
    ['The mask is more likely wrong than right in slice 3.']
    """
    found = [row['slice'] for row in placement if row['probability'] < DOUBTFUL]
    return [f'The mask is more likely wrong than right in {_slices(found)}.'] if found else []


def lost_slices(image: NDArray, mask: NDArray) -> list[str]:
    """Name slices without signal that lie between slices of brain."""
    lost = np.flatnonzero(~holds_signal(image))
    brain = np.flatnonzero(mask.any((1, 2)))
    inside = [int(n) for n in lost if brain.size and brain[0] - 1 <= n <= brain[-1] + 1]
    return [f'The signal is lost in {_slices(inside)}.'] if inside else []


def cut_brain(image: NDArray, mask: NDArray) -> list[str]:
    """Warn if the brain extends beyond the field of view."""
    warnings = []
    areas = mask.sum((1, 2))
    if not areas.any():
        return []
    ends = [n for n in (0, len(areas) - 1) if areas[n] > CUT_SHARE * areas.max()]
    if ends and len(areas) > 2:
        shares = ' and '.join(f'{areas[n] / areas.max():.0%} in slice {n}' for n in ends)
        warnings.append(
            'The field of view cuts the brain: it extends beyond the end slices '
            f'(brain area, of the largest slice: {shares}).'
        )
    scanned = np.any(np.asarray(image) != 0, axis=0)
    sides = [np.flatnonzero(scanned.any(axis=axis)) for axis in (1, 0)]
    if not all(side.size for side in sides):
        return warnings
    edge = np.zeros(mask.shape[1:], bool)
    for axis, side in enumerate(sides):
        along = edge if axis == 0 else edge.T
        along[[side[0], side[-1]]] = True
    cut = np.flatnonzero((mask & edge).sum((1, 2)) >= CUT_PIXELS)
    if cut.size:
        warnings.append(f'The brain mask reaches the edge of the image in {_slices(cut)}.')
    return warnings


def jumps(confounds: list[dict], pixel_mm: float) -> list[str]:
    """Name volumes before which the head moved by more than half a pixel."""
    moved = [
        (row['volume'], row['framewise_displacement'])
        for row in confounds
        if isinstance(row.get('framewise_displacement'), int | float)
        and row['framewise_displacement'] > pixel_mm / 2
    ]
    if not moved:
        return []
    most = max(displacement for _, displacement in moved)
    many = len(moved) > 1
    return [
        f'The head moved by more than half a pixel ({pixel_mm / 2:.2g} mm) before '
        f'volume{"s" * many} {ranges(int(volume) for volume, _ in moved)}'
        f'{f", {most:.2f} mm at most" if many else f": {most:.2f} mm"}.'
    ]


def unusual_tissues(volumes: list[dict]) -> list[str]:
    """Name tissues with a share of the brain outside the range of rodents.

    Shares are of the fractions where there are: labels miss what fills less than half a voxel.
    """
    known = {
        row['label']: row.get('volume_from_fractions_mm3', row['volume_mm3']) for row in volumes
    }
    brain = known.get('brain', 0)
    if not brain:
        return []
    warnings = []
    for tissue in TISSUES:
        share = known.get(tissue, 0) / brain
        low, high = SHARES[tissue]
        if not low <= share <= high:
            warnings.append(
                f'{tissue} fills {share:.0%} of the brain; {low:.1%} to {high:.0%} are usual.'
            )
    return warnings


def _slices(numbers: Iterable[int]) -> str:
    """Name slices.

    Examples
    --------
    >>> _slices([4]), _slices([1, 2, 3])
    ('slice 4', 'slices 1–3')
    """
    numbers = [int(n) for n in numbers]
    return f'slice{"s" * (len(numbers) > 1)} {ranges(numbers)}'
