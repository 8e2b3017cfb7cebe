"""ANTs on arrays: coil field, and registration of an atlas to a brain."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.files.extras import install_extra
from secondglance.imaging.errors import InputError

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SEED = 1

_MASK_WEIGHT = 0.6
"""Of the outline of the brain beside the image, in the deformable step."""

_PURE = 0.7
"""Prior above which a voxel is used to estimate the intensity of its tissue."""

_FEW = 30
"""Least number of voxels from which an intensity is estimated."""

_BY_OUTLINE: dict[str, Any] = {
    'type_of_transform': 'Affine',
    'aff_metric': 'meansquares',
    'aff_iterations': (200, 100, 50),
    'aff_shrink_factors': (6, 4, 2),
    'aff_smoothing_sigmas': (3, 2, 1),
}
_BY_IMAGE: dict[str, Any] = {
    'type_of_transform': 'Affine',
    'aff_metric': 'mattes',
    'aff_iterations': (60, 40),
    'aff_shrink_factors': (4, 2),
    'aff_smoothing_sigmas': (2, 1),
}
_DEFORMABLE: dict[str, Any] = {
    'type_of_transform': 'SyNOnly',
    'syn_metric': 'CC',
    'syn_sampling': 2,
    'flow_sigma': 3,
    'total_sigma': 0,
    'grad_step': 0.2,
}


def import_ants() -> Any:
    """Import ANTs, or say in one sentence how to install it.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import ants
    except ImportError as error:
        raise InputError(
            f'Labels are made with ANTs, which is not installed: {install_extra("label")}.'
        ) from error
    return ants


def ants_version() -> str:
    """Version of antspyx."""
    from importlib.metadata import version

    return version('antspyx')


def to_ants(voxels: ArrayLike, affine: ArrayLike) -> Any:
    """Turn an array into an image of ANTs, in mm of ITK's world (left and posterior positive).

    Parameters
    ----------
    voxels : (X, Y, Z) array
    affine : (4, 4) array
        Voxel to mm, right and anterior positive.

    Returns
    -------
    ants.ANTsImage
    """
    ants = import_ants()
    lps = _LPS @ np.asarray(affine, float)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    # Headers round; ITK refuses axes that are not at right angles
    left, _, right = np.linalg.svd(direction)
    return ants.from_numpy(
        np.ascontiguousarray(np.asarray(voxels, np.float32)),
        origin=lps[:3, 3].tolist(),
        spacing=spacing.tolist(),
        direction=left @ right,
    )


def remove_coil_field(voxels: ArrayLike, mask: ArrayLike, affine: ArrayLike) -> NDArray:
    """Divide by the coil field inside a mask (N4, Tustison et al. 2010).

    Parameters
    ----------
    voxels : (X, Y, Z) array
    mask : (X, Y, Z) bool array
    affine : (4, 4) array

    Returns
    -------
    (X, Y, Z) float32 array
        The 99.5th percentile inside the mask was set to one before; at most 1.3 of it is kept.
    """
    ants = import_ants()
    mask = np.asarray(mask, bool)
    voxels = np.asarray(voxels, np.float32)
    high = np.percentile(voxels[mask], 99.5)
    scaled = to_ants(np.clip(voxels / high, 0, 1.3), affine)
    return ants.n4_bias_field_correction(
        scaled,
        mask=to_ants(mask, affine),
        shrink_factor=2,
        convergence={'iters': [50, 50, 30], 'tol': 1e-6},
        spline_param=[1, 1, 1],
    ).numpy()


class AtlasTransform:
    """Where each point of a scan lies in an atlas; files of ANTs that are removed at the end.

    Use it with ``with``.
    """

    def __init__(self, files: Sequence[str], made: Sequence[str]):
        self._files, self._made = list(files), list(made)

    def __enter__(self) -> AtlasTransform:
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._made:
            Path(name).unlink(missing_ok=True)

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Bring points (N, 3) of the scan's world to the atlas', mm, both RAS+."""
        import pandas as pd

        ants = import_ants()
        flip = np.array([-1.0, -1.0, 1.0])
        table = pd.DataFrame(np.asarray(points, float) * flip, columns=['x', 'y', 'z'])
        moved = ants.apply_transforms_to_points(
            3, table, self._files, whichtoinvert=[False] * len(self._files)
        )
        return moved.to_numpy()[:, :3] * flip


def register_atlas(
    voxels: ArrayLike,
    mask: ArrayLike,
    affine: ArrayLike,
    maps: ArrayLike,
    atlas_affine: ArrayLike,
    *,
    brain_size: float = 1.0,
    iterations: Sequence[int] = (30, 25, 5),
) -> AtlasTransform:
    """Register the tissue maps of an atlas to a brain.

    Affine by the outline; affine by mutual information with an image made of the maps, with the
    intensities that the tissues have in the scan; then SyN (Avants et al. 2008) by local
    correlation with that image, and by the outline.

    Parameters
    ----------
    voxels : (X, Y, Z) array
        Without coil field.
    mask : (X, Y, Z) bool array
    affine : (4, 4) array
    maps : (3, A, B, C) array
        Priors of WM, GM and CSF.
    atlas_affine : (4, 4) array
    brain_size : float
        Length of a brain beside a rat's; distances scale with it.
    iterations : sequence of int
        Of SyN at each resolution.

    Returns
    -------
    AtlasTransform
    """
    ants = import_ants()
    brain, outline = _cropped(voxels, mask, affine, 0.25 * brain_size)
    inside = outline.numpy() > 0.5
    priors, atlas_outline = _priors(maps, atlas_affine, brain_size)
    rim, atlas_rim = (_smooth(one, 0.3 * brain_size) for one in (outline, atlas_outline))
    made: list[str] = []

    def register(fixed: Any, moving: Any, **settings: Any) -> list[str]:
        found = ants.registration(fixed, moving, random_seed=_SEED, **settings)
        made.extend(found['fwdtransforms'] + found['invtransforms'])
        return found['fwdtransforms']

    def painted(means: NDArray) -> Any:
        return priors[0].new_image_like(
            sum(one.numpy() * float(mean) for one, mean in zip(priors, means, strict=True))
        )

    def intensities(transforms: list[str]) -> NDArray:
        moved = [ants.apply_transforms(brain, one, transforms).numpy() for one in priors]
        return tissue_intensities(brain.numpy()[inside], np.stack(moved, -1)[inside])

    try:
        by_outline = register(rim, atlas_rim, **_BY_OUTLINE)
        by_image = register(
            brain,
            painted(intensities(by_outline)),
            initial_transform=by_outline[0],
            **_BY_IMAGE,
        )
        deformed = register(
            brain,
            painted(intensities(by_image)),
            initial_transform=by_image[0],
            reg_iterations=tuple(iterations),
            multivariate_extras=[['MeanSquares', rim, atlas_rim, _MASK_WEIGHT, 0]],
            **_DEFORMABLE,
        )
    except BaseException:
        for name in made:
            with contextlib.suppress(OSError):
                Path(name).unlink()
        raise
    return AtlasTransform(deformed, made)


def _cropped(
    voxels: ArrayLike, mask: ArrayLike, affine: ArrayLike, spacing: float
) -> tuple[Any, Any]:
    """Brain and its outline, resampled to a spacing in mm and cropped around the brain."""
    ants = import_ants()
    image = _coarse(to_ants(voxels, affine), spacing)
    outline = _coarse(to_ants(np.asarray(mask, bool), affine), spacing)
    inside = outline.numpy() > 0.5
    places = np.nonzero(inside)
    low = [max(0, int(at.min()) - 4) for at in places]
    high = [min(n, int(at.max()) + 5) for at, n in zip(places, inside.shape, strict=True)]
    image, outline = (ants.crop_indices(one, low, high) for one in (image, outline))
    return image.new_image_like(image.numpy() * (outline.numpy() > 0.5)), outline


def _priors(maps: ArrayLike, affine: ArrayLike, brain_size: float) -> tuple[list[Any], Any]:
    """Tissue maps of the atlas, 0.3 mm of a rat apart, and the outline of its brain."""
    priors = [
        _coarse(_smooth(to_ants(one, affine), 0.1 * brain_size), 0.3 * brain_size)
        for one in np.asarray(maps)
    ]
    total = sum(one.numpy() for one in priors)
    return priors, priors[0].new_image_like((total > 0.5).astype(np.float32))


def _coarse(image: Any, spacing: float) -> Any:
    return import_ants().resample_image(image, (spacing,) * 3, False, 0)


def _smooth(image: Any, sigma: float) -> Any:
    return import_ants().smooth_image(image, sigma, sigma_in_physical_coordinates=True)


def tissue_intensities(values: ArrayLike, priors: ArrayLike) -> NDArray[np.float64]:
    """Estimate the intensity of each tissue where its prior is high.

    Parameters
    ----------
    values : (N,) array
    priors : (N, 3) array

    Returns
    -------
    (3,) array
        Medians; with too few such voxels, of those with the highest prior.

    Examples
    --------
    >>> prior = np.repeat(np.eye(3), 40, axis=0)
    >>> tissue_intensities(np.repeat([1.0, 2.0, 4.0], 40), prior).tolist()
    [1.0, 2.0, 4.0]
    """
    values, priors = np.asarray(values, float), np.asarray(priors, float)
    means = []
    for prior in priors.T:
        chosen = prior > _PURE
        if chosen.sum() < _FEW:
            chosen = prior >= np.sort(prior)[-min(_FEW, len(prior))]
        means.append(np.median(values[chosen]))
    return np.array(means)


def bring_together(
    fixed: ArrayLike, moving: ArrayLike, mask: ArrayLike, affines: Sequence[ArrayLike], maps: Any
) -> NDArray[np.float32]:
    """Bring maps of one scan of an animal to another by the rigid motion between the images.

    Parameters
    ----------
    fixed, moving : (X, Y, Z) array
    mask : (X, Y, Z) bool array
        Of the brain in `fixed`.
    affines : two (4, 4) arrays
    maps : (X, Y, Z, K) array
        On the grid of `moving`.

    Returns
    -------
    (X, Y, Z, K) float32 array
        On the grid of `fixed`.
    """
    ants = import_ants()
    target, source = to_ants(fixed, affines[0]), to_ants(moving, affines[1])
    found = ants.registration(
        target,
        source,
        type_of_transform='Rigid',
        mask=to_ants(np.asarray(mask, bool), affines[0]),
        random_seed=_SEED,
    )
    try:
        moved = [
            ants.apply_transforms(target, to_ants(one, affines[1]), found['fwdtransforms'])
            for one in np.moveaxis(np.asarray(maps), -1, 0)
        ]
        return np.stack([one.numpy() for one in moved], axis=-1)
    finally:
        for name in {*found['fwdtransforms'], *found['invtransforms']}:
            Path(name).unlink(missing_ok=True)
