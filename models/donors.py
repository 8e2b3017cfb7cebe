"""Donors: saliency of other animals' heads under the current weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from secondglance.files.bids import find_donor
from secondglance.files.geometry import species_of_mask
from secondglance.files.heads import read_head
from secondglance.imaging.species import BRAIN_SIZE


def look_at_donors(model, folders: Sequence[Path], device: str = 'cpu') -> list[tuple[str, Any]]:
    """Look at the heads of donors as at subjects.

    Parameters
    ----------
    model : secondglance.models.weights.LoadedModel
    folders : sequence of path
        Each with an image and its brain mask.
    device : str

    Returns
    -------
    list of (str, secondglance.imaging.placement.donors.Donor)
        Each, in the size of a rat, with the subject that it is: a donor's folder ends with the
        label of its animal.

    Raises
    ------
    InputError
        As of `read_head`.
    """
    from secondglance.models.segment import look_at_donor

    donors = []
    for folder in folders:
        image, mask = find_donor(folder)
        size = BRAIN_SIZE[species_of_mask(mask)]
        head = read_head(image, mask, model.spacing * size)
        positions = head.grid.positions / size
        seen = look_at_donor(model, head.stack, head.brain, positions, device=device)
        donors.append((f'sub-{folder.name.rpartition("-")[2]}', seen))
    return donors
