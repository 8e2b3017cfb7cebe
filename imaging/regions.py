"""Regions of an atlas, looked up by coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.labels import TISSUES

_REACH_MM = 0.2
"""How far around a place labels are counted, mm of the rat atlas."""

_OFFSETS = np.array(
    [(0, 0, 0)]
    + [tuple(s * np.eye(3, dtype=int)[a]) for a in range(3) for s in (-1, 1)]
    + [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)],
    dtype=float,
)

_ANY = 1 / 3
"""Share that a region of mixed tissue is taken to explain."""

_LEAST = 0.05


@dataclass(frozen=True)
class Region:
    """One region of an atlas.

    Attributes
    ----------
    index : int
        Its label.
    name, abbreviation : str
    color : str
        As ``#rrggbb``.
    tissue : str
        ``WM``, ``GM`` or ``CSF`` where it is all of one tissue, else empty.
    """

    index: int
    name: str
    abbreviation: str
    color: str
    tissue: str = ''


@dataclass(frozen=True)
class RegionAtlas:
    """Labelled regions of one brain.

    Attributes
    ----------
    labels : (X, Y, Z) int16 array
        Zero outside all regions.
    affine : (4, 4) array
        Voxel to the atlas' world, mm.
    regions : tuple of Region
    to_rat : (4, 4) array
        From the atlas' world to the rat atlas', in which coordinates are predicted.
    name : str
    """

    labels: NDArray[np.int16]
    affine: NDArray[np.float64]
    regions: tuple[Region, ...]
    to_rat: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    name: str = ''

    def look_up(
        self, coordinates: ArrayLike, fractions: ArrayLike | None = None
    ) -> NDArray[np.int16]:
        """Region at places of the rat atlas.

        Labels within 0.2 mm are counted. A region that is all of one tissue counts by the share
        of that tissue, where `fractions` are given: so a ventricle ends where its fluid does.

        Parameters
        ----------
        coordinates : (..., 3) array
            In the rat atlas, mm.
        fractions : (..., 3) array, optional
            Of WM, GM and CSF.

        Returns
        -------
        (...) int16 array
        """
        coordinates = np.asarray(coordinates, float)
        shape = coordinates.shape[:-1]
        to_voxel = np.linalg.inv(self.to_rat @ self.affine)
        flat = coordinates.reshape(-1, 3)
        voxel = flat @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        if fractions is None:
            return self._at(voxel).reshape(shape)
        steps = _OFFSETS * _REACH_MM @ to_voxel[:3, :3].T
        votes = np.exp(-(_OFFSETS**2).sum(axis=1) / 2)
        candidates = np.stack([self._at(voxel + step) for step in steps])
        shares = np.asarray(fractions, float).reshape(-1, 3)
        explained = np.column_stack([np.full(len(shares), _ANY), shares])
        kinds = self._kinds()[candidates]
        worth = np.take_along_axis(explained, kinds.T, axis=1).T + _LEAST
        best = np.zeros(len(flat), np.int16)
        most = np.full(len(flat), -1.0)
        for candidate, share in zip(candidates, worth, strict=True):
            count = ((candidates == candidate) * votes[:, None]).sum(axis=0)
            better = count * share > most
            best = np.where(better, candidate, best)
            most = np.where(better, count * share, most)
        return best.reshape(shape)

    def _at(self, voxel: NDArray) -> NDArray[np.int16]:
        index = np.rint(voxel).astype(int)
        limit = np.array(self.labels.shape)
        inside = ((index >= 0) & (index < limit)).all(axis=-1)
        x, y, z = np.where(inside[:, None], index, 0).T
        return np.where(inside, self.labels[x, y, z], 0).astype(np.int16)

    def _kinds(self) -> NDArray[np.int64]:
        """By label: 0 mixed, 1 WM, 2 GM, 3 CSF."""
        kinds = np.zeros(int(self.labels.max()) + 1, int)
        for region in self.regions:
            if region.tissue in TISSUES and region.index < len(kinds):
                kinds[region.index] = TISSUES.index(region.tissue) + 1
        return kinds


def region_volumes(
    labels: ArrayLike, regions: tuple[Region, ...], voxel_mm3: float
) -> list[dict[str, object]]:
    """Volume of each region of an atlas, mm³.

    Parameters
    ----------
    labels : array of int
    regions : tuple of Region
    voxel_mm3 : float

    Returns
    -------
    list of dict
        ``index``, ``name``, ``abbreviation``, ``volume_mm3``; also regions that are not there.
    """
    labels = np.asarray(labels).ravel()
    most = max((region.index for region in regions), default=0)
    counts = np.bincount(labels[labels > 0], minlength=most + 1)
    return [
        {
            'index': region.index,
            'name': region.name,
            'abbreviation': region.abbreviation,
            'volume_mm3': float(counts[region.index] * voxel_mm3),
        }
        for region in regions
    ]
