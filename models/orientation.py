"""Which way up a head lies: the headers of rodents' scans often say otherwise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.slices import SliceGrid, slice_grid
from secondglance.models.inference import predict
from secondglance.models.weights import LoadedModel

_SLICES = 6
"""Slices that are looked at, from the middle three fifths of a stack."""

_SURER = 0.85
"""A head is turned where that leaves no more than this share of the network's doubt."""

_SEEN = 0.01
"""Where less than this share of the pixels is taken for brain there is none to set upright."""


def quarter_turns(model: LoadedModel, stack: NDArray, device: str = 'cpu') -> int:
    """Find by how many quarter turns a head must be turned in plane to lie upright.

    Scanners ask how a patient lies, and what is answered for a rodent may put its dorsal side
    anywhere. A network that has seen most heads upright doubts least where a head is.

    Parameters
    ----------
    model : LoadedModel
        Of the first glance.
    stack : (N, H, W) array
        Whole head, at the network's spacing.
    device : str

    Returns
    -------
    int
        0 to 3; ``numpy.rot90(stack, turns, axes=(1, 2))`` is upright. Zero in case of doubt.
    """
    doubts = [_doubt(model, np.rot90(_middle(stack), k, (1, 2)), device) for k in range(4)]
    turns = int(np.argmin(doubts))
    return turns if doubts[turns] < _SURER * doubts[0] else 0


def upright_grid(
    model: LoadedModel, voxels: NDArray, affine: NDArray, spacing: float, device: str = 'cpu'
) -> SliceGrid:
    """Lay slices over a volume so that the head in them is upright.

    Parameters
    ----------
    model : LoadedModel
        Of the first glance.
    voxels : (X, Y, Z) array
    affine : (4, 4) array
        Voxel to world mm, RAS+.
    spacing : float
        Of the stack in plane, mm: the model's own, for a rat.
    device : str

    Returns
    -------
    SliceGrid
    """
    as_told = slice_grid(voxels.shape, affine, spacing)
    turns = quarter_turns(model, as_told.to_stack(voxels), device)
    return slice_grid(voxels.shape, affine, spacing, quarter_turns=turns) if turns else as_told


def _middle(stack: NDArray) -> NDArray:
    """A few slices from the middle of a stack."""
    n = len(stack)
    return stack[np.unique(np.linspace(0.2 * n, 0.8 * n - 1, _SLICES).clip(0, n - 1).astype(int))]


def _doubt(model: LoadedModel, stack: NDArray, device: str) -> float:
    """Mean cross-entropy of the likeliest class with itself, where there may be brain."""
    probabilities = predict(model, np.ascontiguousarray(stack), device)
    if (probabilities[:, 0] < 0.5).mean() < _SEEN:
        return np.inf
    maybe = probabilities[:, 0] < 0.95
    return float(-np.log(probabilities.max(axis=1)[maybe].clip(1e-6)).mean())
