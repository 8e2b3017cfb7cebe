"""Motion correction of a series: on the head, and again on the brain where that differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray

from secondglance.imaging.grids import slice_grid
from secondglance.imaging.motion import (
    AGREEMENT,
    looks_like_noise,
    motion_parameters,
    resample_motion,
    residual_displacement,
    unlike_mean,
    within_volume_motion,
)

PARAMETERS = ('trans_x', 'trans_y', 'trans_z', 'rot_x', 'rot_y', 'rot_z')
"""Columns of rigid motion: mm, and radians, about the middle of the field of view."""

MOTION_COLUMNS = ('volume', *PARAMETERS, 'head_against_brain', 'within_volume', 'excluded')
"""Columns of the table of motion."""


@dataclass(frozen=True)
class MotionEstimate:
    """Rigid motion of the volumes of a series.

    Attributes
    ----------
    matrices : (B, 4, 4) array
        World mm of a volume to world mm of the reference.
    reference : int
        Volume that the others are brought to.
    version : str
        Of the engine that found them; empty where none is known.
    mean : (X, Y, Z) array or None
        Of the volumes that they bring together, where it is at hand.
    """

    matrices: NDArray[np.float64]
    reference: int
    version: str = ''
    mean: NDArray[np.float32] | None = None


Estimate = Callable[[NDArray, MotionEstimate | None, NDArray | None], MotionEstimate]
"""An engine: from volumes (X, Y, Z, B), an earlier estimate to improve, and the voxels
(X, Y, Z) of the reference that are used, to their motion; without the last two, on the head."""


@dataclass(frozen=True)
class CorrectedSeries:
    """Volumes of a series, each brought to the reference.

    Attributes
    ----------
    volumes : (X, Y, Z, B) float32 array
    motion : MotionEstimate
        By which they were brought there.
    by_head : (B, 4, 4) array or None
        Matrices estimated on the head, where they were estimated on the brain as well.
    apart : (B,) array or None
        Mean distance of both estimates in the brain, mm.
    region : (X, Y, Z) bool array or None
        Voxels that `motion` was estimated on; None: the head.
    lost : (B,) bool array
        Volumes that could not be brought to the others.
    within : (B,) array
        Distance between parts of the slices of a volume, mm.
    """

    volumes: NDArray[np.float32]
    motion: MotionEstimate
    by_head: NDArray[np.float64] | None
    apart: NDArray[np.float64] | None
    region: NDArray[np.bool_] | None
    lost: NDArray[np.bool_]
    within: NDArray[np.float64]


def find_noise(volumes: NDArray) -> NDArray[np.bool_]:
    """Tell volumes of noise alone, (B,), in a series (X, Y, Z, B).

    A single volume, and a series of noise alone, is not told: nothing would be left of it.
    """
    n_volumes = volumes.shape[3]
    noise = np.array([n_volumes > 1 and looks_like_noise(v) for v in np.moveaxis(volumes, 3, 0)])
    return noise & ~noise.all()


def correct_motion(
    volumes: NDArray,
    affine: NDArray,
    estimate: Estimate,
    find_brain: Callable[[NDArray], NDArray | None] | None = None,
    *,
    judge: bool = True,
    slice_axis: str = 'auto',
    n_threads: int = 1,
) -> CorrectedSeries:
    """Bring the volumes of a series to one of them.

    Parameters
    ----------
    volumes : (X, Y, Z, B) array
    affine : (4, 4) array
        Voxel to world mm.
    estimate : callable
        An engine, see `Estimate`; not asked for a single volume.
    find_brain : callable, optional
        From volumes corrected on the head to the brain with a margin, (X, Y, Z) bool; None where
        there is none. With it, motion is estimated again on the brain, for muscle moves by itself.
    judge : bool
        Whether volumes that are unlike the mean count as lost.
    slice_axis : {'auto', 'i', 'j', 'k'}
        Voxel axis along which slices lie.
    n_threads : int
        Volumes at the same time; the result does not depend on it.

    Returns
    -------
    CorrectedSeries
    """
    alone = volumes.shape[3] == 1
    motion = MotionEstimate(np.eye(4)[None], 0) if alone else estimate(volumes, None, None)
    by_head = apart = region = None
    corrected = resample_motion(volumes, affine, motion.matrices, n_threads=n_threads)
    if find_brain is not None and not alone:
        region = find_brain(corrected)
    if region is not None:
        by_head, on_head = motion.matrices, motion
        mean = corrected.mean(axis=3, dtype=np.float64).astype(np.float32)
        motion = estimate(volumes, replace(on_head, mean=mean), region)
        points = apply_affine(affine, np.argwhere(region))
        apart = residual_displacement(by_head, motion.matrices, points)
        if np.mean(apart) < AGREEMENT * np.prod(voxel_sizes(affine)) ** (1 / 3):
            # No muscle moved by itself: the head has more voxels, and less noise
            motion, region = on_head, None
        else:
            corrected = resample_motion(volumes, affine, motion.matrices, n_threads=n_threads)
    lost = unlike_mean(corrected, region) if judge else np.zeros(volumes.shape[3], bool)
    lost[motion.reference] = False
    grid = slice_grid(volumes.shape[:3], affine, 1.0, slice_axis=slice_axis)
    within = within_volume_motion(
        *(volumes, affine, motion.matrices, grid.slice_axis),
        corrected=corrected,
        region=region,
        keep=~lost,
        n_threads=n_threads,
    )
    return CorrectedSeries(corrected, motion, by_head, apart, region, lost, within)


def motion_table(
    found: CorrectedSeries, places: list[int], middle: NDArray, left_out: dict[int, str]
) -> list[dict]:
    """Tabulate the motion of a series.

    Parameters
    ----------
    found : CorrectedSeries
    places : list of int
        Of its volumes in the scan.
    middle : (3,) array
        World mm, about which rotations are told.
    left_out : dict of int to str
        Volumes that are not among them, by their place, and why.

    Returns
    -------
    list of dict
        A row of `MOTION_COLUMNS` a volume, in the order of the scan; ``excluded`` is ``n/a`` for
        those in the mean, and what is not known of a volume is None.
    """
    rows = {
        place: dict.fromkeys(MOTION_COLUMNS) | {'excluded': why} for place, why in left_out.items()
    }
    for t, (place, values) in enumerate(
        zip(places, motion_parameters(found.motion.matrices, middle), strict=True)
    ):
        rows[place] = dict.fromkeys(MOTION_COLUMNS) | {'excluded': 'n/a'}
        if found.lost[t]:
            rows[place]['excluded'] = 'registration'
            continue
        rows[place] |= dict(zip(PARAMETERS, map(float, values), strict=True))
        rows[place]['head_against_brain'] = None if found.apart is None else float(found.apart[t])
        rows[place]['within_volume'] = float(found.within[t])
    return [row | {'volume': place} for place, row in sorted(rows.items())]
