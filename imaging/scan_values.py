"""Whether the values of a volume are those of a scan, or of a mask or labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.errors import InputError

FEWEST_VALUES = 8
"""A volume with fewer different values is a mask or labels: those of a scan with three bits."""

LABELLED = 0.25
"""Of neighbours, share that are equal, times the share of the others that are no close values.

From it on a volume is of labels. Scans with 3 to 8 bits have 0.10 or less: values next to each
other in the list of all are neighbours in space, too. Masks that were interpolated have 0.8,
labels of 37 and of 222 structures 0.7 and 0.5, on a grid four times as coarse 0.6 and 0.4.
"""

EQUAL = 0.9
"""Share of neighbours that are equal, from which on a volume is of labels, whatever their numbers.

Scans with 4 bits have 0.84 or less, 37 structures of a mouse 0.93.
"""

SATURATED = 0.05
"""Share of the voxels beyond the background with the largest value, from which on it is said.

Maps of grey and white matter have 0.24 and 0.07; scans with 3 to 8 bits less than 0.02.
"""

NEGATIVE = 0.25
"""Lowest value, of the highest, below which it is said: magnitudes are above zero, and
interpolation leaves them hardly below."""

_CLOSE = 2
"""Values that are no farther apart in the list of all values are close."""

_SLICES = 12

_FEWEST_PAIRS = 100


def check_scan_values(volume: ArrayLike) -> list[str]:
    """Refuse a mask or labels that are given as a scan.

    Parameters
    ----------
    volume : (X, Y, Z) array
        Its most frequent value is taken for the background.

    Returns
    -------
    list of str
        What a person should know of the values, a sentence each.

    Raises
    ------
    InputError
        If the volume has fewer than `FEWEST_VALUES` different values, or consists of areas of one
        value.

    Examples
    --------
    >>> scan = np.arange(1000).reshape(10, 10, 10) * 7 % 101
    >>> check_scan_values(scan)
    []
    >>> check_scan_values(np.minimum(scan, 60))[0].partition(':')[0]
    '68% of the voxels that are not background have the largest value (60)'
    """
    volume = np.asarray(volume, np.float32)
    few = np.unique(np.linspace(0, volume.shape[2] - 1, _SLICES).round().astype(int))
    values, ranks, counts = np.unique(volume[..., few], return_inverse=True, return_counts=True)
    if len(values) < FEWEST_VALUES:
        values, counts = np.unique(volume, return_counts=True)
    if len(values) < FEWEST_VALUES:
        told = ', '.join(f'{value:g}' for value in values[:-1]) + f' and {values[-1]:g}'
        raise InputError(
            f'holds nothing but the values {told}, as a mask or labels do: give the scan itself '
            '(a mask can be its --reference).'
        )
    background = int(counts.argmax())
    equal, apart = _neighbours(ranks.reshape(*volume.shape[:2], len(few)), background)
    if equal >= EQUAL or equal * apart >= LABELLED:
        raise InputError(
            f'consists of areas of one value ({equal:.0%} of neighbouring voxels are equal), as '
            'a mask or labels do: give the scan itself.'
        )
    return [*_cut_off(values, counts, background), *_negative(values)]


def _cut_off(values: NDArray, counts: NDArray, background: int) -> list[str]:
    """Say where many voxels have the largest value."""
    largest = counts[-1] / max(1, counts.sum() - counts[background])
    if largest < SATURATED:
        return []
    return [
        f'{largest:.0%} of the voxels that are not background have the largest value '
        f'({values[-1]:g}): were bright values cut off, or is it a map of probabilities?'
    ]


def _negative(values: NDArray) -> list[str]:
    """Say where values are far below zero.

    Examples
    --------
    >>> _negative(np.array([-3.0, 100.0]))
    []
    >>> _negative(np.array([-30000.0, 30000.0]))[0][:47]
    'Values go down to -30000, where intensities are'
    """
    if values[0] >= -NEGATIVE * values[-1]:
        return []
    return [
        f'Values go down to {values[0]:g}, where intensities are above 0: were unsigned numbers '
        'saved as signed ones, was something subtracted, or is it a phase?'
    ]


def _neighbours(ranks: NDArray, background: int) -> tuple[float, float]:
    """Of neighbours in a slice, neither of them background: share equal; of others, far apart."""
    pairs = equal = apart = 0
    for first, second in ((ranks[1:], ranks[:-1]), (ranks[:, 1:], ranks[:, :-1])):
        both = (first != background) & (second != background)
        distance = np.abs(first - second)[both]
        pairs += distance.size
        equal += int((distance == 0).sum())
        apart += int((distance > _CLOSE).sum())
    if pairs < _FEWEST_PAIRS:
        return 0.0, 0.0
    return equal / pairs, apart / max(1, pairs - equal)
