"""The verdict on a scan: its warnings, and the colour of the banner of its report.

Thresholds were set on eight rats of ``benchmarks/verdict.py``; docs/report.md has the figures of
the seven others, and says what was known of those before.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from secondglance.imaging.grids import ANTERIOR, holds_signal, voxel_volume
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.mask.methods import is_placed
from secondglance.imaging.mask.quality import GOOD_DICE
from secondglance.imaging.mask.selection import DOUBTFUL
from secondglance.imaging.pieces import IN_SLICE
from secondglance.reports.data import RunRecord

GOOD, LOOK, BAD = 'good', 'look', 'bad'
"""Green, amber and red: nothing stood out; something to look at; the mask is not to be trusted."""

SHARES = {'WM': (0.05, 0.5), 'GM': (0.35, 0.88), 'CSF': (0.005, 0.35)}
"""Shares of the brain that tissues have in scans of rats and mice; beyond, something is wrong."""

POSTERIOR_CUT, ANTERIOR_CUT = 0.87, 0.5
"""Brain area in the first and in the last slice, of the largest slice, above which the field of
view cuts the brain. The brain stem goes on beyond the first slice of most scans, and is no reason.
"""

EDGE_SHARE = 0.15
"""Share of the outline of a slice's mask that lies on the edge of the field of view, from which on
the field of view cuts the brain."""

FAINT = 0.5
"""Median intensity of the brain in a slice, of that in the slices beside it, below which the slice
has lost signal."""

DARK, DARK_SHARE = 0.4, 0.1
"""Intensity, of the median of the brain in its slice, below which a pixel is dark; and share of
dark pixels above which signal drops out."""

HOLE_SHARE = 0.025
"""Share of the brain in a slice that is one dark area at its rim, above which signal drops out if
a neighbouring slice has such an area beside it. Set on eight rats: as they are 0.018 or less."""

RIM_PIXELS = 2
"""Width of the rim of a brain, and distance of what lies beside each other in two slices."""

ZIGZAG_MM = 0.25
"""Distance of a slice's mask from the middle of its neighbours', median over slices, mm in the
size of a rat, above which the animal moved between slices."""

LEAST_PIXELS = 20
"""Of brain in a slice, below which its intensity is not judged."""

TIP = 0.1
"""Area of brain in an end slice, of the largest slice, below which it is a tip of the brain."""

BAD_SLICE = 0.2
"""Probability of a good mask below which a slice is named: nearly all slices with a Dice below
0.85, and 1 in 200 of those of 0.9 or more."""


LOW_CONFIDENCE = 0.5
"""Mean confidence of the placement below which a scan is flagged."""

SECOND_BRAIN = 0.35
"""Share of the largest piece of brain from which on another piece is another animal's."""

LEAST_BRAIN_MM3 = 200.0
"""In the size of a rat; smaller pieces are not counted."""

SLICE_NAMES = ('sagittal', 'coronal', 'horizontal')
"""Slices across each canonical axis."""

USUAL_BRAIN_MM3 = {'rat': 1800.0, 'mouse': 470.0}
"""Brains of adult animals, mm³."""

BRAIN_MM3 = (1000.0, 2800.0)
"""Brains that are usual in scans of rats, mm³; parts beyond a field of view make them small."""

REVERSED_SLICES = (
    'The slices seem to run the other way than the header says: are front and back where they '
    'should be?'
)

TURNED_HEAD = (
    'The head lies turned by {} degrees from what the header says, and is shown upright: are its '
    'axes right?'
)

NOT_CORONAL = (
    'By the header, slices are {}: the networks are trained on coronal slices. Are the axes '
    'right? If the scan has other slices, choose with --slice-axis, or check the mask with care.'
)

TWO_BRAINS = (
    'There seem to be {} brains in the field of view, the largest of {:.0f} mm³ and {:.0f} mm³: '
    'crop the image to one animal.'
)


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

    Parameters
    ----------
    numbers : iterable of int

    Returns
    -------
    str

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


def scan_warnings(
    image: NDArray, mask: NDArray, first_brain: NDArray, affine: NDArray, record: RunRecord
) -> list[str]:
    """Warn of what may be wrong with a scan: its header, its mask, its results.

    Parameters
    ----------
    image, mask : (N, H, W) arrays
        Head and brain mask as a stack; zero beyond the field of view.
    first_brain : (N, H, W) bool array
        What the first glance takes for brain.
    affine : (4, 4) array
        Of the stack (H, W, N), mm.
    record : RunRecord

    Returns
    -------
    list of str
        A sentence each.
    """
    size, turned = record.pose.relative_size, 90 * record.pose.quarter_turns
    return [
        *([TURNED_HEAD.format(turned)] if turned and record.settings['turn'] == 'auto' else []),
        *slice_warnings(affine),
        *brain_warnings(image, first_brain, voxel_volume(affine), size),
        *([REVERSED_SLICES] if record.donor['scale'] < 0 else []),
        *placement_warnings(
            record.placement, record.confidence, size, record.engine['header_scale']
        ),
        *result_warnings(
            image=image,
            mask=mask,
            placement=record.placement,
            confounds=record.confounds,
            volumes=record.volumes,
            pixel_mm=float(np.linalg.norm(affine[:3, 0])),
            scan_pixel_mm=record.engine['pixel_mm'],
            relative_size=size,
        ),
    ]


def result_warnings(
    *,
    image: NDArray,
    mask: NDArray,
    placement: list[dict],
    confounds: list[dict],
    volumes: list[dict],
    pixel_mm: float,
    scan_pixel_mm: float,
    relative_size: float = 1.0,
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
    scan_pixel_mm : float
        Side of a pixel of the scan, mm of the animal.
    relative_size : float
        Of the species, beside a rat's.

    Returns
    -------
    list of str
        A sentence each; slices and volumes are named.
    """
    return [
        *doubtful_slices(placement, mask),
        *lost_slices(image, mask),
        *faint_slices(image, mask),
        *dark_slices(image, mask),
        *displaced_slices(mask, pixel_mm / relative_size),
        *cut_brain(image, mask),
        *jumps(confounds, scan_pixel_mm),
        *unusual_tissues(volumes),
    ]


def slice_warnings(affine: np.ndarray) -> list[str]:
    """Say where slices are not coronal by the header.

    Parameters
    ----------
    affine : (4, 4) array
        Of a stack (H, W, N).

    Examples
    --------
    >>> slice_warnings(np.diag([0.3, 0.3, 1, 1]))[0][:34]
    'By the header, slices are horizont'
    """
    across = int(np.abs(affine[:3, 2]).argmax())
    return [] if across == ANTERIOR else [NOT_CORONAL.format(SLICE_NAMES[across])]


def brain_warnings(
    images: np.ndarray, brain: np.ndarray, voxel: float, relative_size: float = 1.0
) -> list[str]:
    """Say where the first glance sees more than one brain.

    Parameters
    ----------
    images : (N, H, W) array
        The head.
    brain : (N, H, W) bool array
        What the first glance takes for brain.
    voxel : float
        Volume of a voxel, mm³.
    relative_size : float
        Of the species, beside a rat's.

    Returns
    -------
    list of str
    """
    # Lost slices do not cut a brain in two
    labels, count = ndimage.label(brain[holds_signal(images)])
    volumes = np.sort(np.bincount(labels.ravel(), minlength=count + 1)[1:] * voxel)[::-1]
    least = max(LEAST_BRAIN_MM3 * relative_size**3, SECOND_BRAIN * volumes[:1].sum())
    large = volumes[volumes > least]
    if len(large) < 2:
        return []
    return [TWO_BRAINS.format(len(large), *large[:2])]


def unusual_brain(brain_mm3: float, header_scale: float = 1.0) -> str:
    """Ask what may be wrong with a brain of unusual volume; voxel sizes are one cause.

    Parameters
    ----------
    brain_mm3 : float
    header_scale : float
        By how much the lengths of the header were taken to be too large.

    Examples
    --------
    >>> 'by --voxel-scale 0.5 the' in unusual_brain(8 * 1800.0)
    True
    >>> 'by --voxel-scale 0.2 the' in unusual_brain(1800.0 / 8, header_scale=10)
    True
    """
    rat, mouse = (
        f'{(usual / brain_mm3) ** (1 / 3) / header_scale:.2g}'
        for usual in USUAL_BRAIN_MM3.values()
    )
    return (
        f'A brain of {brain_mm3:.0f} mm³ is unusual for the species: does the field of view hold '
        'the whole brain, is --species right, and are the voxel sizes of the header? If not, by '
        f"--voxel-scale {rat} the brain would be as large as a rat's, by {mouse} as a mouse's."
    )


def placement_warnings(
    rows: list[dict], confidence: dict, relative_size: float = 1.0, header_scale: float = 1.0
) -> list[str]:
    """Warn of what may be wrong with a brain mask.

    Parameters
    ----------
    rows : list of dict
        A row a slice, with ``donor_slice``, ``confidence`` and ``replaced``.
    confidence : dict
        Of the whole mask: ``Method`` and ``MethodAskedFor``, ``Confidence``, ``BrainVolume``.
    relative_size : float
        Of the species, beside a rat's.
    header_scale : float
        By how much the lengths of the header were taken to be too large.

    Returns
    -------
    list of str
    """
    volume = confidence['BrainVolume'] / relative_size**3
    if volume == 0:
        return ['No brain was found: the mask is empty.']
    warnings = []
    if confidence['MethodAskedFor'] == 'auto' and confidence['Method'] != 'network':
        warnings.append(
            f'The mask is that of {confidence["Method"]}: that of the network is doubtful.'
        )
    if confidence['Confidence'] < DOUBTFUL:
        warnings.append(
            f'The mask is doubtful: its Dice is at least {GOOD_DICE} with a probability of '
            f'{confidence["Confidence"]:.2f} only.'
        )
    if not BRAIN_MM3[0] < volume < BRAIN_MM3[1]:
        warnings.append(unusual_brain(confidence['BrainVolume'], header_scale))
    matched = [row for row in rows if row['donor_slice'] >= 0]
    if is_placed(confidence['Method']):
        if not matched:
            return ['No slice of any donor matched: the mask is empty.']
        trust = float(np.mean([row['confidence'] for row in matched]))
        if trust < LOW_CONFIDENCE:
            warnings.append(f'The shifts of the slices disagree (mean confidence {trust:.2f}).')
        beyond = len(rows) - len(matched)
        if beyond:
            warnings.append(f'{beyond} slices lie beyond the donor and have no mask.')
    return [*warnings, *overruled_slices(rows, confidence['Method'])]


def overruled_slices(rows: list[dict], method: str) -> list[str]:
    """Name slices of which the own shift of the donor's mask was replaced, where it is the mask.

    Parameters
    ----------
    rows : list of dict
        A row a slice, with ``slice``, ``donor_slice`` and ``replaced``.
    method : str
        Of the mask.

    Returns
    -------
    list of str
        One sentence, or none.

    Examples
    --------
    >>> rows = [{'slice': n, 'donor_slice': n, 'replaced': n == 3} for n in range(9)]
    >>> overruled_slices(rows, 'network'), overruled_slices(rows, 'correlation')[0][:35]
    ([], '1 of 9 slices had an outlier shift ')
    """
    matched = [row for row in rows if row['donor_slice'] >= 0]
    replaced = [row['slice'] for row in matched if row['replaced']]
    if not replaced or not is_placed(method):
        return []
    return [
        f'{len(replaced)} of {len(matched)} slices had an outlier shift of the donor mask '
        f'that was replaced: slice{"s" * (len(replaced) > 1)} {ranges(replaced)}.'
    ]


def doubtful_slices(placement: list[dict], mask: NDArray) -> list[str]:
    """Name slices where the mask is probably bad.

    Parameters
    ----------
    placement : list of dict
        A row a slice, with ``slice`` and ``probability`` in [0, 1].
    mask : (N, H, W) bool array

    Returns
    -------
    list of str
        One sentence, or none.

    Examples
    --------
    >>> rows = [{'slice': 0, 'probability': 0.1}, {'slice': 1, 'probability': 0.9}]
    >>> doubtful_slices(rows, np.ones((2, 8, 8), bool))
    ['The mask is probably wrong in slice 0.']
    """
    found = probably_wrong(placement, mask)
    return [f'The mask is probably wrong in {_slices(found)}.'] if found else []


def probably_wrong(placement: list[dict], mask: NDArray) -> list[int]:
    """List slices where the mask is probably bad, but for the tips of the brain.

    A tip holds less than `TIP` of the largest area, and lies beyond all slices with more: there, a
    few pixels decide.

    Parameters
    ----------
    placement : list of dict
        A row a slice, with ``slice`` and ``probability``.
    mask : (N, H, W) bool array
    """
    areas = mask.sum((1, 2))
    large = np.flatnonzero(areas >= TIP * max(1, areas.max()))
    if not large.size:
        return []
    return [
        int(row['slice'])
        for row in placement
        if row['probability'] < BAD_SLICE and large[0] <= row['slice'] <= large[-1]
    ]


def lost_slices(image: NDArray, mask: NDArray) -> list[str]:
    """Name slices without signal beside slices of brain; where the head ends, none is lost.

    Parameters
    ----------
    image : (N, H, W) array
        The head; zero beyond the field of view.
    mask : (N, H, W) bool array
        Of the brain.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    holds = np.flatnonzero(holds_signal(image))
    lost = np.setdiff1d(np.arange(len(image)), holds)
    brain = np.flatnonzero(mask.any((1, 2)))
    inside = [
        int(n)
        for n in lost
        if brain.size
        and holds.size
        and brain[0] - 1 <= n <= brain[-1] + 1
        and holds[0] < n < holds[-1]
    ]
    return [f'The signal is lost in {_slices(inside)}.'] if inside else []


def faint_slices(image: NDArray, mask: NDArray) -> list[str]:
    """Name slices in which the brain is much darker than in the slices beside them.

    Parameters
    ----------
    image : (N, H, W) array
        The head; zero beyond the field of view.
    mask : (N, H, W) bool array
        Of the brain.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    level = _brain_levels(image, mask)
    found = []
    for n in range(1, len(level) - 1):
        beside = np.concatenate([level[max(0, n - 2) : n], level[n + 1 : n + 3]])
        beside = beside[np.isfinite(beside)]
        if beside.size > 1 and level[n] < FAINT * np.median(beside):
            found.append(n)
    return [f'The signal is weak in {_slices(found)}.'] if found else []


def dark_slices(image: NDArray, mask: NDArray) -> list[str]:
    """Name slices in which signal drops out in a part of the brain.

    Either much of a slice is dark, or neighbouring slices have a dark area at the rim of the
    brain, one beside the other; ventricles and vessels inside are dark in some contrasts.

    Parameters
    ----------
    image : (N, H, W) array
        The head; zero beyond the field of view.
    mask : (N, H, W) bool array
        Of the brain.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    found = set()
    holes = np.zeros(mask.shape, bool)
    for n, level in enumerate(_brain_levels(image, mask)):
        if not level > 0:
            continue
        smooth = ndimage.gaussian_filter(np.asarray(image[n], np.float32), 1.0)
        dark = mask[n] & (smooth < DARK * level)
        if dark.sum() > DARK_SHARE * mask[n].sum():
            found.add(n)
        hole = _largest_at_rim(dark, mask[n])
        if hole.sum() > HOLE_SHARE * mask[n].sum():
            holes[n] = hole
    for n in range(len(mask) - 1):
        if (ndimage.binary_dilation(holes[n], iterations=RIM_PIXELS) & holes[n + 1]).any():
            found |= {n, n + 1}
    return [f'The signal drops out in a part of {_slices(sorted(found))}.'] if found else []


def _largest_at_rim(dark: NDArray, brain: NDArray) -> NDArray[np.bool_]:
    """Largest piece of the dark pixels of a slice that reaches the rim of the brain."""
    labels, count = ndimage.label(dark)
    rim = brain & ~ndimage.binary_erosion(brain, iterations=RIM_PIXELS)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[np.setdiff1d(np.arange(count + 1), labels[rim & dark])] = 0
    largest = int(sizes.argmax())
    return (labels == largest) & dark


def displaced_slices(mask: NDArray, pixel_mm: float) -> list[str]:
    """Warn if neighbouring slices lie from side to side, as of a head that moved between them.

    Parameters
    ----------
    mask : (N, H, W) bool array
    pixel_mm : float
        In the size of a rat.
    """
    middles = np.array(
        [np.argwhere(one).mean(0) if one.any() else (np.nan, np.nan) for one in mask]
    )
    if len(middles) < 3:
        return []
    aside = np.hypot(*(middles[1:-1] - (middles[:-2] + middles[2:]) / 2).T) * pixel_mm
    aside = aside[np.isfinite(aside)]
    if not aside.size or np.median(aside) <= ZIGZAG_MM:
        return []
    return [
        'Neighbouring slices lie from side to side, as if the head had moved between them: the '
        f'middle of the mask by {np.median(aside):.2f} mm in the size of a rat, as a median.'
    ]


def _brain_levels(image: NDArray, mask: NDArray) -> NDArray[np.float64]:
    """Median intensity of the brain in each slice; NaN where there is little brain."""
    return np.array(
        [
            np.median(one[inside]) if inside.sum() >= LEAST_PIXELS else np.nan
            for one, inside in zip(image, mask, strict=True)
        ]
    )


def end_shares(mask: NDArray) -> tuple[float, float]:
    """Brain area in the first and in the last slice, of the largest; zeros without brain.

    Parameters
    ----------
    mask : (N, H, W) bool array

    Returns
    -------
    (float, float)
        In [0, 1].
    """
    areas = mask.sum((1, 2))
    if not areas.any():
        return 0.0, 0.0
    return float(areas[0] / areas.max()), float(areas[-1] / areas.max())


def cut_brain(image: NDArray, mask: NDArray) -> list[str]:
    """Warn if a part of the brain lies beyond the field of view.

    Parameters
    ----------
    image : (N, H, W) array
        The head; zero beyond the field of view.
    mask : (N, H, W) bool array
        Of the brain.

    Returns
    -------
    list of str
        A sentence for the ends and one for the sides, where they cut the brain.
    """
    warnings = []
    if not mask.any():
        return []
    pairs = zip((0, len(mask) - 1), end_shares(mask), (POSTERIOR_CUT, ANTERIOR_CUT), strict=True)
    ends = [(n, share) for n, share, most in pairs if share > most]
    if ends and len(mask) > 2:
        told = ' and '.join(f'{share:.0%} in slice {n}' for n, share in ends)
        warnings.append(
            'The field of view cuts the brain: it extends beyond the end slices '
            f'(brain area, of the largest slice: {told}).'
        )
    scanned = np.any(np.asarray(image) != 0, axis=0)
    sides = [np.flatnonzero(scanned.any(axis=axis)) for axis in (1, 0)]
    if not all(side.size for side in sides):
        return warnings
    edge = np.zeros(mask.shape[1:], bool)
    for axis, side in enumerate(sides):
        along = edge if axis == 0 else edge.T
        along[[side[0], side[-1]]] = True
    rims = mask & ~ndimage.binary_erosion(mask, IN_SLICE)
    shares = (mask & edge).sum((1, 2)) / np.maximum(rims.sum((1, 2)), LEAST_PIXELS)
    cut = np.flatnonzero(shares > EDGE_SHARE)
    if cut.size:
        warnings.append(f'The brain mask reaches the edge of the image in {_slices(cut)}.')
    return warnings


def jumps(confounds: list[dict], pixel_mm: float) -> list[str]:
    """Name volumes before which the head moved by more than half a pixel.

    Parameters
    ----------
    confounds : list of dict
        A row a volume, with ``volume`` and ``framewise_displacement``, mm.
    pixel_mm : float
        Side of a pixel, mm of the animal.

    Returns
    -------
    list of str
        One sentence, or none.
    """
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

    Parameters
    ----------
    volumes : list of dict
        A row a tissue and one for the ``brain``: ``label``, ``volume_mm3`` and, where there are
        fractions, ``volume_from_fractions_mm3``.

    Returns
    -------
    list of str
        A sentence a tissue.
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
