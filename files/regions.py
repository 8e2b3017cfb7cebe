"""Reading and writing of atlases of regions."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from secondglance.files.json_object import read_object
from secondglance.files.labels import LABELS
from secondglance.files.nifti import read_volume
from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.regions import Region, RegionAtlas

_COLOR = re.compile(r'#[0-9a-fA-F]{6}')

HEADER = 'index\tname\tabbreviation\tcolor\tmapping\n'


def read_region_atlas(folder: str | Path) -> RegionAtlas:
    """Read an atlas of regions.

    Parameters
    ----------
    folder : path
        Holds ``*regions.nii.gz`` (or ``*dseg.nii.gz``), labels on a grid of its own, and a table
        of the same name, ``.tsv``, with columns ``index`` and ``name`` and, where there are,
        ``abbreviation``, ``color`` and ``tissue`` (WM, GM or CSF where a region is all of one).
        ``frame.json`` with ``to_rat``, a matrix of 4 by 4, says where its world lies in that of
        the rat atlas; where it is missing, they are the same.

    Returns
    -------
    RegionAtlas

    Raises
    ------
    InputError
        If a file is missing or does not fit the others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f'Atlas {folder} is not a folder; name one with regions.nii.gz and .tsv.')
    images = sorted(
        path
        for ending in ('regions', 'dseg')
        for path in folder.glob('*.nii*')
        if re.search(rf'{ending}\.nii(\.gz)?$', path.name)
    )
    if len(images) != 1:
        raise InputError(
            f'Atlas {folder} has {len(images)} files named *regions.nii.gz or *dseg.nii.gz; '
            'exactly one is needed.'
        )
    image, voxels = read_volume(images[0])
    labels = np.rint(voxels).astype(np.int64)
    if labels.ndim != 3 or labels.min() < 0 or labels.max() > np.iinfo(np.int16).max:
        raise InputError(
            f'{images[0]} has shape {labels.shape} and labels from {labels.min()} to '
            f'{labels.max()}; an atlas is one volume of labels from 0 to 32767.'
        )
    table = folder / (re.sub(r'\.nii(\.gz)?$', '', images[0].name) + '.tsv')
    return RegionAtlas(
        labels.astype(np.int16),
        np.asarray(image.affine, float),
        read_region_names(table),
        read_frame(folder),
        folder.name,
    )


def read_region_names(path: Path) -> tuple[Region, ...]:
    try:
        with path.open(newline='', encoding='utf-8-sig') as stream:
            rows = list(csv.DictReader(stream, delimiter='\t'))
        indices = [int(row['index']) for row in rows]
        names = [row['name'].strip() for row in rows]
    except OSError as error:
        raise InputError(f'The table of the atlas, {path}, cannot be read; add it.') from error
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise InputError(
            f'{path} is no table of regions; it needs columns index (whole numbers) and name.'
        ) from error
    if len(set(indices)) != len(indices):
        raise InputError(f'{path} has an index twice; give each region its own.')

    def column(name: str) -> list[str]:
        return [row.get(name) or '' for row in rows]

    regions = []
    for index, name, short, color, tissue in zip(
        indices, names, column('abbreviation'), column('color'), column('tissue'), strict=True
    ):
        if index == 0:
            continue
        shown = color if _COLOR.fullmatch(color) else _color(index)
        regions.append(
            Region(index, name, short or _short(name), shown, tissue if tissue in TISSUES else '')
        )
    return tuple(regions)


def read_frame(folder: Path) -> np.ndarray:
    """Read how the world of an atlas lies in the rat atlas', (4, 4); the identity where none.

    Parameters
    ----------
    folder : path
        Which may hold ``frame.json``.

    Returns
    -------
    (4, 4) array

    Raises
    ------
    InputError
        If the file holds no matrix that can be inverted.
    """
    path = folder / 'frame.json'
    if not path.exists():
        return np.eye(4)
    try:
        matrix = np.array(read_object(path)['to_rat'], float)
        if matrix.shape != (4, 4) or not abs(np.linalg.det(matrix)) > 1e-6:
            raise ValueError(matrix.shape)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'{path} must hold {{"to_rat": a matrix of 4 by 4 that can be inverted}}.'
        ) from error
    return matrix


def _short(name: str) -> str:
    """First letters of a name's words.

    Examples
    --------
    >>> _short('Left Olfactory bulb')
    'LOb'
    """
    return ''.join(word[0] for word in re.findall(r'[A-Za-z0-9]+', name)) or name


def _color(index: int) -> str:
    """A colour that differs from those of neighbouring indices.

    Examples
    --------
    >>> _color(1), _color(2)
    ('#3dbd62', '#bd3d3d')
    """
    import colorsys

    # The golden angle keeps hues of successive indices apart
    hue = (0.618034 * index - 0.236068) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.49, 0.51)
    return f'#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}'


def region_table(regions: tuple[Region, ...]) -> str:
    """Text of the table that goes beside a map of regions, as BIDS has it.

    ``mapping`` is the label of the BIDS standard; n/a for a region of more than one tissue.
    """
    standard = {label.abbreviation: label.mapping for label in LABELS}
    rows = (
        f'{r.index}\t{r.name}\t{r.abbreviation}\t{r.color}\t{standard.get(r.tissue, "n/a")}\n'
        for r in regions
    )
    return HEADER + ''.join(rows)
