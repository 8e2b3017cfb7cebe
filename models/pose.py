"""Orientation and species of a head, which headers of rodent scans often lack or give wrongly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.intensity import near_head
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import AUTO, BRAIN_SIZE, MOUSE_SECTION_MM2, species_of_section
from secondglance.models.inference import predict, window_of_head
from secondglance.models.weights import LoadedModel

_SLICES = 6
"""Slices that are segmented, from the middle three fifths of a stack."""


TURN_BELOW = 0.85
"""A head is turned if that reduces the network's uncertainty to this share or less."""


CLEAR = 1.25
"""Times `MOUSE_SECTION_MM2` from which on the section at a rat's pixel size is a rat's: there it
is 124 to 175 mm² in nine rats and 3 to 60 mm² in twelve mice, turned and noisy ones among them."""


_SEEN = 0.01
"""Least share of the head that must be labelled brain to estimate its orientation."""


@dataclass(frozen=True)
class PoseFit:
    """How well a few slices fit a network in one pose.

    Attributes
    ----------
    doubt : float
        Mean cross-entropy of the most probable class near the brain; infinite without a brain.
    section : float
        Of the brain, its largest, mm².
    """

    doubt: float
    section: float


def find_pose(
    model: LoadedModel,
    stack_at: Callable[[float], NDArray],
    *,
    species: str = AUTO,
    quarter_turns: int | None = None,
    device: str = 'cpu',
) -> Pose:
    """Estimate the species, and the number of quarter turns that make the head upright.

    The patient position in a rodent's header is often wrong. The network was trained mostly on
    upright heads, so it is least uncertain about an upright one. The species is estimated from the
    largest coronal section of the brain, at the pixel size of lower uncertainty. A clear rat is
    not looked at with the pixels of a mouse, of which there are more than twice as many.

    Parameters
    ----------
    model : LoadedModel
        Of the first glance.
    stack_at : callable
        From the spacing of the pixels, mm, to the whole head as a stack (N, H, W).
    species : str
        ``auto`` to find it, or one of `BRAIN_SIZE`.
    quarter_turns : int, optional
        Where it is known.
    device : str

    Returns
    -------
    Pose
        If uncertain: not turned, and a rat.
    """
    asked = range(4) if quarter_turns is None else (quarter_turns,)
    looks: dict[str, dict[int, PoseFit]] = {}
    best: dict[str, PoseFit] = {}
    for name in BRAIN_SIZE if species == AUTO else (species,):
        at = model.spacing * BRAIN_SIZE[name]
        few = middle_slices(stack_at(at))
        few = few[:, *window_of_head(few, model.stride)]
        looks[name] = {k: fit_of_pose(model, np.rot90(few, k, (1, 2)), at, device) for k in asked}
        best[name] = min(looks[name].values(), key=lambda look: look.doubt)
        clear = best[name].section >= CLEAR * MOUSE_SECTION_MM2 and np.isfinite(best[name].doubt)
        if name == 'rat' and clear:
            break
    surest = min(best, key=lambda name: best[name].doubt)
    if species == AUTO:
        found = np.isfinite(best[surest].doubt)
        species = species_of_section(best[surest].section) if found else next(iter(BRAIN_SIZE))
    spacing = model.spacing * BRAIN_SIZE[species]
    if quarter_turns is not None:
        return Pose(species, spacing, quarter_turns=quarter_turns)
    doubts = [looks[species][k].doubt for k in asked]
    turns = int(np.argmin(doubts))
    upright = turns if doubts[turns] < TURN_BELOW * doubts[0] else 0
    return Pose(species, spacing, quarter_turns=upright)


def estimate_pose(
    model: LoadedModel,
    voxels: ArrayLike,
    affine: ArrayLike,
    *,
    species: str = AUTO,
    quarter_turns: int | None = None,
    slice_axis: str = 'auto',
    device: str = 'cpu',
) -> Pose:
    """Estimate species and orientation of the head in a volume, unless both are known.

    Parameters
    ----------
    model : LoadedModel
        Of the first glance.
    voxels : (X, Y, Z) array
    affine : (4, 4) array
        Voxel to world, mm of the animal.
    species : str
        ``auto`` to estimate it, or one of `BRAIN_SIZE`.
    quarter_turns : int, optional
        Where it is known.
    slice_axis : {'auto', 'i', 'j', 'k'}
    device : str

    Returns
    -------
    Pose
    """
    if species != AUTO and quarter_turns is not None:
        return Pose(species, model.spacing * BRAIN_SIZE[species], slice_axis, quarter_turns)
    volume, affine = np.asarray(voxels, np.float32), np.asarray(affine, float)

    def stack_at(spacing: float) -> NDArray:
        return Pose('rat', spacing, slice_axis).grid(volume.shape, affine).to_stack(volume)

    found = find_pose(model, stack_at, species=species, quarter_turns=quarter_turns, device=device)
    return replace(found, slice_axis=slice_axis)


def middle_slices(stack: NDArray) -> NDArray:
    """A few slices from the middle of a stack."""
    n = len(stack)
    return stack[np.unique(np.linspace(0.2 * n, 0.8 * n - 1, _SLICES).clip(0, n - 1).astype(int))]


def fit_of_pose(model: LoadedModel, stack: NDArray, spacing: float, device: str) -> PoseFit:
    """Mean cross-entropy of the most probable class near the brain, and the brain's section."""
    stack = np.ascontiguousarray(stack)
    probabilities = predict(model, stack, device)
    # Noise in air is ignored
    near = near_head(stack)
    brain = (probabilities[:, 0] < 0.5) & near
    section = float(brain.sum(axis=(1, 2)).max()) * spacing**2
    if not brain.any() or brain.sum() < _SEEN * near.sum():
        return PoseFit(np.inf, section)
    maybe = (probabilities[:, 0] < 0.95) & near
    doubt = float(-np.log(probabilities.max(axis=1)[maybe].clip(1e-6)).mean())
    return PoseFit(doubt, section)
