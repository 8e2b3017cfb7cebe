"""The brain with a margin: voxels on which motion is estimated."""

from __future__ import annotations

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from secondglance.imaging.pieces import largest_piece
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import BRAIN_SIZE
from secondglance.models.inference import predict
from secondglance.models.segment import brain_probability
from secondglance.models.weights import LoadedModel

REGION_MARGIN_MM = 0.3
"""By which the brain of a rat is dilated: its edge tells of motion, the muscle beyond does not."""

LEAST_VOXELS = 1000
"""Least number of voxels on which motion can be estimated."""


def brain_region(
    model: LoadedModel, voxels: ArrayLike, affine: ArrayLike, pose: Pose, device: str = 'cpu'
) -> NDArray[np.bool_] | None:
    """Take a first glance at a head, and give the brain with a margin.

    Parameters
    ----------
    model : LoadedModel
        Of the first glance.
    voxels : (X, Y, Z) array
    affine : (4, 4) array
        Voxel to world, mm of the animal.
    pose : Pose
        How the head lies.
    device : str

    Returns
    -------
    (X, Y, Z) bool array or None
        The largest piece of brain, dilated by `REGION_MARGIN_MM` in the size of a rat; None where
        fewer than `LEAST_VOXELS` are brain.
    """
    volume = np.asarray(voxels, np.float32)
    grid = pose.grid(volume.shape, affine)
    stack = grid.to_stack(volume)
    probability = brain_probability(predict(model, stack, device), stack)
    brain = largest_piece(grid.to_native(probability) >= 0.5)
    if brain.sum() < LEAST_VOXELS:
        return None
    brain = ndimage.binary_fill_holes(brain)
    far = ndimage.distance_transform_edt(~brain, sampling=voxel_sizes(np.asarray(affine, float)))
    return far <= REGION_MARGIN_MM * BRAIN_SIZE[pose.species]
