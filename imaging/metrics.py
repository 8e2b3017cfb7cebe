"""Scores of a segmentation against a reference."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree, distance

from secondglance.imaging.labels import CLASSES

MOST_PAIRS = 250_000
"""Of pixels on two outlines, of which all distances are measured: quicker than a search tree."""

SCORES = ('accuracy', 'specificity', 'sensitivity', 'precision', 'dsc', 'hd95_mm')


def segmentation_metrics(
    prediction: ArrayLike,
    reference: ArrayLike,
    voxel_size: Sequence[float],
    labels: Sequence[str] = CLASSES,
) -> list[dict]:
    """Score every tissue, and the brain, of a volume.

    Parameters
    ----------
    prediction, reference : (X, Y, Z) int arrays
        Labels, 0 being background.
    voxel_size : three floats
        mm.
    labels : sequence of str
        Names of the labels; the first is background.

    Returns
    -------
    list of dict
        A row a tissue and one for ``brain`` (any label but 0), each with ``label`` and the
        scores: accuracy (TP + TN) / all, specificity TN / (TN + FP), sensitivity
        TP / (TP + FN), precision TP / (TP + FP), DSC 2 TP / (2 TP + FP + FN), and the 95 %
        Hausdorff distance in mm. A score with a denominator of zero is NaN.

    Notes
    -----
    What Matos et al. 2019 print as specificity is precision.
    """
    prediction, reference = np.asarray(prediction), np.asarray(reference)
    if prediction.shape != reference.shape:
        raise ValueError(f'shapes differ: {prediction.shape} and {reference.shape}')
    rows = []
    for value, name in [*enumerate(labels)][1:]:
        rows.append({'label': name, **scores(prediction == value, reference == value, voxel_size)})
    rows.append({'label': 'brain', **scores(prediction > 0, reference > 0, voxel_size)})
    return rows


def per_slice_metrics(
    prediction: ArrayLike,
    reference: ArrayLike,
    voxel_size: Sequence[float],
    axis: int = 2,
    labels: Sequence[str] = CLASSES,
    *,
    backwards: bool = False,
) -> list[dict]:
    """Score every slice by itself.

    Parameters
    ----------
    prediction, reference, labels
        As of :func:`segmentation_metrics`.
    voxel_size : sequence of float
        mm, along all axes.
    axis : int
        Along which slices lie.
    backwards : bool
        Count slices from the last voxel along `axis`: where a file runs from anterior to
        posterior, the first slice is then the most posterior one, as in all tables.

    Returns
    -------
    list of dict
        Rows as of :func:`segmentation_metrics`, with ``slice``.
    """
    found, true = (
        np.ascontiguousarray(np.moveaxis(np.asarray(volume), axis, 0))
        for volume in (prediction, reference)
    )
    in_plane = [size for a, size in enumerate(voxel_size) if a != axis]
    rows = []
    for index in range(len(found)):
        at = -1 - index if backwards else index
        scored = segmentation_metrics(found[at], true[at], in_plane, labels)
        rows += [{'slice': index, **row} for row in scored]
    return rows


def scores(found: NDArray, true: NDArray, voxel_size: Sequence[float]) -> dict[str, float]:
    """Score one mask against another.

    Parameters
    ----------
    found, true : bool arrays of one shape
    voxel_size : sequence of float
        mm, along each axis.

    Returns
    -------
    dict of str to float
        As of :func:`segmentation_metrics`; NaN where a score has no meaning.

    Examples
    --------
    >>> round(scores(np.array([1, 1, 0, 0]) > 0, np.array([1, 0, 0, 0]) > 0, [1])['dsc'], 3)
    0.667
    """
    tp = int(np.count_nonzero(found & true))
    fp = int(np.count_nonzero(found & ~true))
    fn = int(np.count_nonzero(~found & true))
    tn = found.size - tp - fp - fn
    return {
        'accuracy': _ratio(tp + tn, found.size),
        'specificity': _ratio(tn, tn + fp),
        'sensitivity': _ratio(tp, tp + fn),
        'precision': _ratio(tp, tp + fp),
        'dsc': _ratio(2 * tp, 2 * tp + fp + fn),
        'hd95_mm': hausdorff_95(found, true, voxel_size),
    }


def dice(found: NDArray, true: NDArray) -> float:
    """Dice of two masks alone, without the distances that :func:`scores` measures.

    Parameters
    ----------
    found, true : bool arrays of one shape

    Returns
    -------
    float
        In [0, 1]; NaN where both are empty.

    Examples
    --------
    >>> round(dice(np.array([1, 1, 0, 0]) > 0, np.array([1, 0, 0, 0]) > 0), 3)
    0.667
    """
    both = int(np.count_nonzero(found & true))
    return _ratio(2 * both, int(np.count_nonzero(found)) + int(np.count_nonzero(true)))


def relative_error(found: NDArray, true: NDArray) -> float:
    """Error of a mask's volume, as a share of the true one; NaN where nothing is true.

    Examples
    --------
    >>> relative_error(np.array([1, 1, 1, 0]) > 0, np.array([1, 1, 0, 0]) > 0)
    0.5
    """
    n_true = int(np.count_nonzero(true))
    return _ratio(int(np.count_nonzero(found)) - n_true, n_true)


def hausdorff_95(found: NDArray, true: NDArray, voxel_size: Sequence[float]) -> float:
    """95 % Hausdorff distance of two masks: the larger of the two directed 95th percentiles.

    Parameters
    ----------
    found, true : bool arrays of one shape
    voxel_size : sequence of float
        mm.

    Returns
    -------
    float
        mm; NaN if a mask is empty.
    """
    if not (found.any() and true.any()):
        return float('nan')
    # Only the box around the two masks matters
    box = ndimage.find_objects((found | true).astype(np.uint8))[0]
    edges = [
        np.argwhere(mask & ~ndimage.binary_erosion(mask)) * np.asarray(voxel_size, float)
        for mask in (found[box], true[box])
    ]
    one, other = edges
    if len(one) * len(other) <= MOST_PAIRS:
        away = distance.cdist(one, other)
        nearest = away.min(axis=1), away.min(axis=0)
    else:
        nearest = cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]
    return float(max(np.percentile(found, 95) for found in nearest))


def tissue_volumes(
    segmentation: ArrayLike,
    voxel_volume: float,
    labels: Sequence[str] = CLASSES,
    *,
    amounts: ArrayLike | None = None,
) -> list[dict]:
    """Measure the tissues.

    Parameters
    ----------
    segmentation : (X, Y, Z) int array
    voxel_volume : float
        mm³.
    labels : sequence of str
    amounts : (X, Y, Z, C) array, optional
        Part of each voxel that is each tissue, in the order of `labels` without the first; at the
        rim of the brain their sum is below one.

    Returns
    -------
    list of dict
        ``label``, ``voxels``, ``volume_mm3`` and, with `amounts`,
        ``volume_from_fractions_mm3``, which counts each voxel by its parts; the last row is the
        brain.

    Examples
    --------
    >>> rows = tissue_volumes([1, 2], 0.5, amounts=[[0.75, 0.25, 0], [0.25, 0.5, 0]])
    >>> [(row['label'], row['volume_from_fractions_mm3']) for row in rows]
    [('WM', 0.5), ('GM', 0.375), ('CSF', 0.0), ('brain', 0.875)]
    """
    counts = np.bincount(np.asarray(segmentation).ravel(), minlength=len(labels))
    named = [*zip(labels[1:], counts[1:], strict=False), ('brain', counts[1:].sum())]
    rows: list[dict] = [
        {'label': name, 'voxels': int(n), 'volume_mm3': float(n * voxel_volume)}
        for name, n in named
    ]
    if amounts is not None:
        shares = np.asarray(amounts, float)
        totals = shares.reshape(-1, shares.shape[-1]).sum(axis=0) * voxel_volume
        for row, volume in zip(rows, [*totals, totals.sum()], strict=True):
            row['volume_from_fractions_mm3'] = float(volume)
    return rows


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float('nan')
