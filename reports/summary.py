"""The table of a report that says what a scan is, and how it was run."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secondglance import __version__
from secondglance.imaging.grids import holds_signal
from secondglance.imaging.mask.methods import is_placed
from secondglance.imaging.mask.quality import GOOD_DICE
from secondglance.imaging.species import AUTO
from secondglance.reports.data import RunRecord
from secondglance.reports.verdict import end_shares, probably_wrong, ranges


def image_name(engine: dict, volumes: str = 'b0 volumes') -> str:
    """Say in a few words what the image of a scan is.

    Parameters
    ----------
    engine : dict
        What corrected the motion: ``n_b0`` volumes were averaged.
    volumes : str
        What the volumes of the scan are called.

    Returns
    -------
    str

    Examples
    --------
    >>> image_name({'n_b0': 1}), image_name({'n_b0': 4})
    ('Image', 'Mean of 4 b0 volumes')
    """
    return 'Image' if engine['n_b0'] == 1 else f'Mean of {engine["n_b0"]} {volumes}'


def summary_table(
    record: RunRecord, stack: NDArray, mask: NDArray, affine: NDArray, volumes: str = 'b0 volumes'
) -> dict[str, str]:
    """Say what a scan is, and how it was run.

    Parameters
    ----------
    record : RunRecord
    stack, mask : (N, H, W) arrays
        Head and brain mask.
    affine : (4, 4) array
        Of the stack (H, W, N), mm.
    volumes : str
        What the volumes of the scan are called.

    Returns
    -------
    dict of str
        Name of each row and its text, in the order of the table.
    """
    settings, engine, donor = record.settings, record.engine, record.donor
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    turned = 90 * record.pose.quarter_turns
    estimated = ', as it looks' if settings['species'] == AUTO else ''
    return {
        'Species': record.pose.species + estimated,
        'Motion correction': f'{engine["engine"]} {engine["engine_version"]}'.strip(),
        'b0 volumes' if volumes == 'b0 volumes' else 'Volumes': str(engine['n_b0']),
        'Slices': f'{len(stack)}, {spacing[2]:.3g} mm apart, at {spacing[0]:.3g} mm'
        + (f', turned by {turned}°' if turned else '')
        + _without_signal(stack),
        'Donor': f'{Path(settings["donors"][donor["donor"]]).parent.name} '
        f'(of {len(donor["scores"])}; correlation {max(donor["scores"]):.2f})',
        'Mask method': settings['mask_taken'],
        'Brain': f'{record.confidence["BrainVolume"]:.0f} mm³; Dice at least {GOOD_DICE} with '
        f'probability {record.confidence["Confidence"]:.2f}',
        'Doubtful slices': _counted(probably_wrong(record.placement, mask), len(record.placement)),
        'Replaced shifts': _replaced(record.placement, record.confidence['Method']),
        'Brain in end slices': '{:.0%} and {:.0%} of the largest area'.format(*end_shares(mask)),
        'Saliency': f'{settings["saliency"]}, target {settings["target"]}',
        'Weights': _with_checksum(settings, 'weights'),
        'Refinement': _with_checksum(settings, 'refinement'),
        'Device': settings['device'],
        'Version': f'secondglance {__version__}',
    }


def _with_checksum(settings: dict, name: str) -> str:
    """Name of a file of weights, and the first digits of its checksum."""
    return f'{Path(settings[name]).name} {settings[f"{name}_checksum"][:12]}'


def _without_signal(stack: np.ndarray) -> str:
    """Slices that hold nothing, where there are any."""
    lost = np.flatnonzero(~holds_signal(stack))
    return f', without signal: {", ".join(map(str, lost))}' if len(lost) else ''


def _counted(found: list[int], n: int) -> str:
    """Count slices and name them.

    Examples
    --------
    >>> _counted([], 9), _counted([3], 9), _counted([3, 4, 5], 9)
    ('none of 9', '1 of 9: slice 3', '3 of 9: slices 3–5')
    """
    if not found:
        return f'none of {n}'
    return f'{len(found)} of {n}: slice{"s" * (len(found) > 1)} {ranges(found)}'


def _replaced(rows: list[dict], method: str) -> str:
    """Slices with an outlier shift of the donor mask, and whether the mask depends on it.

    Examples
    --------
    >>> rows = [{'slice': 0, 'replaced': True}, {'slice': 1, 'replaced': False}]
    >>> _replaced(rows, 'correlation'), _replaced(rows[1:], 'network')
    ('1 of 2: slice 0', 'none of 1')
    >>> _replaced(rows, 'network')
    '1 of 2: slice 0; the mask is not the placed one, and does not depend on them'
    """
    found = [int(row['slice']) for row in rows if row['replaced']]
    told = _counted(found, len(rows))
    if found and not is_placed(method):
        told += '; the mask is not the placed one, and does not depend on them'
    return told
