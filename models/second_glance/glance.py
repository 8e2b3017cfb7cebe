"""The second glance at a stack: tissue fractions, place in the atlas, regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from secondglance.imaging.pieces import IN_SLICE
from secondglance.imaging.regions import RegionAtlas
from secondglance.imaging.smooth_transform import SmoothTransform, fit_transform
from secondglance.models.inference import each_batch, slices_at_once
from secondglance.models.second_glance.channels import ACROSS, MASK, BrainInput, brain_input
from secondglance.models.second_glance.network import OUTPUTS, split_outputs
from secondglance.models.weights import LoadedModel


@dataclass(frozen=True)
class SecondGlance:
    """Result of the second glance, on the pixels of the stack.

    Attributes
    ----------
    fractions : (N, H, W, 3) float32 array
        Of WM, GM and CSF; they sum to one inside the mask and are zero outside.
    amounts : (N, H, W, 3) float32 array
        Part of each pixel that is WM, GM and CSF: their sum is the part that is brain, in [0, 1],
        below one at the rim, also in pixels beside the mask.
    coordinates : (N, H, W, 3) float32 array
        Place in the rat atlas by the smooth transform, mm; NaN outside the mask.
    regions : (N, H, W) int16 array or None
        Labels of the atlas that was given.
    transform : SmoothTransform
        From a place in the stack (see `stack_axes`), mm, to the rat atlas.
    misfit_mm : float
        Median distance of predicted coordinates from the smooth transform.
    """

    fractions: NDArray[np.float32]
    amounts: NDArray[np.float32]
    coordinates: NDArray[np.float32]
    regions: NDArray[np.int16] | None
    transform: SmoothTransform
    misfit_mm: float


def stack_axes(
    shape: tuple[int, int, int], positions_mm: ArrayLike, in_plane_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Find the places of rows, slices and columns of a stack, mm from its middle.

    These are the axes, left to right, posterior to anterior and ventral to dorsal, in which a
    stack's transform is given.

    Parameters
    ----------
    shape : (N, H, W)
    positions_mm : (N,) array
        Of the slices.
    in_plane_mm : float
        Side of a pixel.

    Returns
    -------
    across, along, up : (H,), (N,) and (W,) arrays
        Left to right, posterior to anterior, ventral to dorsal; mm.
    """
    _, height, width = shape
    across = (np.arange(height, dtype=np.float64) - (height - 1) / 2) * in_plane_mm
    up = (np.arange(width, dtype=np.float64) - (width - 1) / 2) * in_plane_mm
    return across, np.asarray(positions_mm, float), up


def second_glance(
    images: ArrayLike,
    mask: ArrayLike,
    positions_mm: ArrayLike,
    in_plane_mm: float,
    species: str,
    network: LoadedModel,
    atlas: RegionAtlas | None = None,
    *,
    mirror: bool = True,
    device: str = 'cpu',
) -> SecondGlance:
    """Segment the tissues inside a brain mask, and predict atlas coordinates.

    Parameters
    ----------
    images : (N, H, W) array
        Upright coronal slices in any unit: left to right along H, ventral to dorsal along W.
    mask : (N, H, W) array
        Probability of brain; brain is where it is at least 0.5.
    positions_mm : (N,) array
        Of the slices, ascending towards the nose, mm.
    in_plane_mm : float
        Pixel size, mm.
    species : {'rat', 'mouse'}
    network : LoadedModel
        Of the kind `secondglance.models.weights.SECOND_GLANCE`.
    atlas : RegionAtlas, optional
        Atlas in which regions are looked up.
    mirror : bool
        Whether the mirrored brain is shown to the network as well, and both are averaged.
    device : str
        Torch device.

    Returns
    -------
    SecondGlance

    Raises
    ------
    InputError
        If the mask is empty, or holds too few pixels to find its place.
    """
    images, brain = np.asarray(images, np.float32), np.asarray(mask) >= 0.5
    given = brain_input(images, brain, positions_mm, in_plane_mm, species, network.spacing)
    fractions, places, share = predict_brain(network, given, mirror=mirror, device=device)

    transform, misfit = _fit(given, places, images.shape, positions_mm)
    axes = stack_axes(images.shape, positions_mm, in_plane_mm)
    smooth = transform.apply_grid(*axes).transpose(1, 0, 2, 3)

    on_stack = np.clip(given.grid.to_stack(fractions), 1e-4, None)
    on_stack /= on_stack.sum(axis=1, keepdims=True)
    on_stack = np.ascontiguousarray(np.moveaxis(on_stack, 1, -1))
    inside = on_stack * brain[..., None]
    # A person draws pixels as brain from about a third on: some of the brain lies beside the mask,
    # but none where the background was removed
    held = brain | (ndimage.binary_dilation(brain, IN_SLICE) & (images != 0))
    part = np.clip(given.grid.to_stack(share), 0, 1) * held
    regions = None
    if atlas is not None:
        regions = np.zeros(brain.shape, np.int16)
        regions[brain] = atlas.look_up(smooth[brain], inside[brain])
    return SecondGlance(
        inside,
        on_stack * part[..., None],
        np.where(brain[..., None], smooth, np.nan).astype(np.float32),
        regions,
        transform,
        misfit,
    )


def predict_brain(
    network: LoadedModel, given: BrainInput, *, mirror: bool = True, device: str = 'cpu'
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Run the network on a brain, on the network's own grid.

    Parameters
    ----------
    network : LoadedModel
        Of the second glance.
    given : BrainInput
    mirror : bool
        Whether the mean is taken with the mirrored brain, which takes twice the time.
    device : str

    Returns
    -------
    fractions : (N, 3, h, w) float32 array
        Of WM, GM and CSF, in [0, 1]; they sum to one.
    places : (N, 3, h, w) float32 array
        Coordinates in the rat atlas, mm.
    share : (N, h, w) float32 array
        Of each pixel that is brain, in [0, 1].
    """
    net = network.quick.to(device)
    shown = [torch.from_numpy(given.channels)]
    if mirror:
        turned = shown[0].flip(2).clone()
        turned[:, ACROSS] *= -1
        shown.append(turned)
    found = []
    for way, channels in enumerate(shown):
        n, _, height, width = channels.shape
        # Fractions, coordinates and share of brain
        parts = torch.empty(n, len(OUTPUTS), height, width)

        def glance(
            slices: slice, channels: torch.Tensor = channels, parts: torch.Tensor = parts
        ) -> None:
            batch = channels[slices].to(device)
            with torch.no_grad():
                logits, places, share = split_outputs(net(batch).float(), batch)
                ends = [logits.softmax(dim=1), places, share.sigmoid()]
                parts[slices] = torch.cat(ends, dim=1).cpu()

        each_batch(glance, n, device, slices_at_once(device, (height, width)))
        if way:
            parts = parts.flip(2)
            parts[:, 3] *= -1
        found.append(parts)
    mean = torch.stack(found).mean(dim=0).numpy()
    return mean[:, :3], mean[:, 3:6], mean[:, 6]


def _fit(
    given: BrainInput, places: NDArray, shape: tuple[int, ...], positions_mm: ArrayLike
) -> tuple[SmoothTransform, float]:
    """Fit the smooth transform in the axes of `stack_axes`; median misfit, mm."""
    grid = given.grid
    inside = given.channels[:, MASK] > 0.5
    n, row, column = np.nonzero(inside)
    middle = [(size - 1) / 2 for size in shape[1:]]
    shift = [(c - m) * grid.in_plane_mm for c, m in zip(grid.centre, middle, strict=True)]
    points = np.column_stack(
        [
            grid.offsets_mm(0)[row] + shift[0],
            np.asarray(positions_mm, float)[n],
            grid.offsets_mm(1)[column] + shift[1],
        ]
    )
    targets = places[n, :, row, column]
    transform = fit_transform(points, targets)
    some = slice(None, None, max(1, len(points) // 2000))
    away = np.linalg.norm(transform.apply(points[some]) - targets[some], axis=1)
    return transform, float(np.median(away))
