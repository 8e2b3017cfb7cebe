"""Tissue labels in files: which value means which tissue, written and read."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.files.bids import inherited, parse_name
from secondglance.files.nifti import read_volume
from secondglance.files.tables import table_text
from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import CLASSES
from secondglance.imaging.reference import as_labels


@dataclass(frozen=True)
class Label:
    """A row of ``dseg.tsv``: the value in the file, and what it means.

    Attributes
    ----------
    index : int
        Value of the voxels.
    name : str
    abbreviation : str
        One of `secondglance.imaging.labels.CLASSES`, or BG.
    color : str
        ``#rrggbb``; the same as in the report.
    mapping : int
        Label of the BIDS standard (Common image-derived labels, BIDS 1.10).
    """

    index: int
    name: str
    abbreviation: str
    color: str
    mapping: int


LABELS: tuple[Label, ...] = (
    Label(0, 'Background', 'BG', '#000000', 0),
    Label(1, 'Grey Matter', 'GM', '#56b4e9', 1),
    Label(2, 'White Matter', 'WM', '#e69f00', 2),
    Label(3, 'Cerebrospinal Fluid', 'CSF', '#cc79a7', 3),
)
"""Values in the label files of this product, as BIDS has them."""

IN_WORDS = ', '.join(f'{label.index} {label.name.lower()}' for label in LABELS)
"""``0 background, 1 grey matter, …``"""

WITHOUT_TABLE = (
    'No table (dseg.tsv) beside {path} says what its labels are: they are read as BIDS has them, '
    f'{IN_WORDS}.'
)

_VALUE = np.array(
    [0, *(next(x.index for x in LABELS if x.abbreviation == name) for name in CLASSES[1:])],
    np.uint8,
)
"""Value in a file of each class, in the order of `CLASSES`."""

_CLASS = np.argsort(_VALUE)
"""Place in `CLASSES` of each value in a file."""

_OF_STANDARD = {0: 0, 4: 0, 5: 0, 6: 0, **{int(v): k for k, v in enumerate(_VALUE)}}
_OF_STANDARD |= dict.fromkeys((8, 9), CLASSES.index('GM'))
"""Standard label → class: also bone, soft tissue, non-brain, cortical and subcortical grey."""

_OF_WORD = {'background': 0, 'bg': 0, 'none': 0, 'clear label': 0, 'outside': 0}
_OF_WORD |= {name.lower(): place for place, name in enumerate(CLASSES)}
_OF_WORD |= dict.fromkeys(('white matter', 'white'), CLASSES.index('WM'))
_OF_WORD |= dict.fromkeys(('grey matter', 'gray matter', 'grey', 'gray'), CLASSES.index('GM'))
_OF_WORD |= dict.fromkeys(
    ('cerebrospinal fluid', 'cerebro-spinal fluid', 'fluid'), CLASSES.index('CSF')
)


@dataclass(frozen=True)
class Reference:
    """Labels that were read from a file.

    Attributes
    ----------
    labels : (X, Y, Z) int array
        Places in `secondglance.imaging.labels.CLASSES`; of a brain mask, 0 and 1.
    tissues : bool
        Whether the labels separate the tissues; False for a brain mask.
    table : Path or None
        The table that said what the values are; None where they were read as BIDS has them.
    """

    labels: NDArray[np.int64]
    tissues: bool
    table: Path | None = None


def file_labels(labels: ArrayLike) -> NDArray[np.uint8]:
    """Turn places in `CLASSES` to the values that a file holds.

    Examples
    --------
    >>> [CLASSES[place] for place in (0, 1, 2, 3)], file_labels([0, 1, 2, 3]).tolist()
    (['background', 'WM', 'GM', 'CSF'], [0, 2, 1, 3])
    """
    return _VALUE[np.asarray(labels)]


def class_labels(values: ArrayLike) -> NDArray[np.int64]:
    """Turn the values of a file of this product to places in `CLASSES`.

    Examples
    --------
    >>> class_labels(file_labels([0, 1, 2, 3])).tolist()
    [0, 1, 2, 3]
    """
    return _CLASS[np.asarray(values).astype(np.int64)]


def labels_table() -> str:
    """Text of the ``dseg.tsv`` that goes beside labels.

    Examples
    --------
    >>> labels_table().splitlines()[1].split()
    ['0', 'Background', 'BG', '#000000', '0']
    """
    return table_text([asdict(label) for label in LABELS])


def find_label_table(path: Path) -> Path | None:
    """Find the table of the labels of a file.

    Parameters
    ----------
    path : Path
        NIfTI with labels.

    Returns
    -------
    Path or None
        Of the same name; else that which applies by BIDS' inheritance, up to the data set's
        root; else ``dseg.tsv`` beside the file. None where there is none, or for a mask.
    """
    bare = path.name.removesuffix('.gz').removesuffix('.nii')
    if bare.endswith('mask'):
        return None
    own = path.with_name(f'{bare}.tsv')
    if own.is_file():
        return own
    root = _root_of(path)
    if parse_name(path)[0] and (found := inherited(path, root, '.tsv')) is not None:
        return found
    plain = path.with_name('dseg.tsv')
    return plain if plain.is_file() else None


def _root_of(path: Path) -> Path:
    """Root of the data set that a file is in: by its description, else above ``sub-…``."""
    for folder in path.parents:
        if (folder / 'dataset_description.json').is_file():
            return folder
    above = (folder.parent for folder in path.parents if folder.name.startswith('sub-'))
    return next(above, path.parent)


def read_label_table(path: Path) -> dict[int, int | None]:
    """Read which class each label is.

    Parameters
    ----------
    path : Path
        Table with ``index`` and one of ``mapping`` (labels of the BIDS standard), ``tissue``,
        ``abbreviation`` or ``name`` (WM, white matter, grey matter, …).

    Returns
    -------
    dict of int to int
        Label → place in `CLASSES`; None for what is none of them.

    Raises
    ------
    InputError
        If it is no such table, or names no tissue.
    """
    try:
        with path.open(newline='', encoding='utf-8-sig') as stream:
            rows = list(csv.DictReader(stream, delimiter='\t'))
        classes = {int(row['index']): _class_of(row) for row in rows}
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(
            f'{path} is no table of labels: it needs the columns index (whole numbers) and name, '
            'separated by tabs.'
        ) from error
    if len(classes) != len(rows):
        raise InputError(f'{path} has an index twice; give each label its own.')
    if not any(classes.values()):
        raise InputError(
            f'{path} names no label that is grey matter, white matter or CSF: add a column '
            'mapping with 1, 2 and 3, as BIDS has them.'
        )
    return classes


def _class_of(row: dict[str, str | None]) -> int | None:
    """Class that a row says; the standard's number counts more than words."""
    mapping = (row.get('mapping') or '').strip()
    if mapping not in ('', 'n/a'):
        return _OF_STANDARD.get(int(mapping))
    for column in ('tissue', 'abbreviation', 'name'):
        word = (row.get(column) or '').strip().lower().replace('_', ' ')
        if word in _OF_WORD:
            return _OF_WORD[word]
    return None


def read_reference(path: Path, table: Path | None = None) -> Reference:
    """Read tissue labels, or a brain mask.

    Parameters
    ----------
    path : Path
        Labels, or a mask: zeros and any one other value.
    table : Path, optional
        What the labels are; by default that of :func:`find_label_table`. Where there is none,
        labels are those of the BIDS standard, as in `LABELS`.

    Returns
    -------
    Reference

    Raises
    ------
    InputError
        If a file cannot be read, or holds a label that nothing says the class of.
    """
    _, voxels = read_volume(path, mask=True)
    voxels = voxels if voxels.ndim == 3 else voxels[..., 0]
    table = table or find_label_table(path)
    if table is not None:
        return Reference(_by_table(voxels, path, table), True, table)
    labels = as_labels(voxels)
    if labels.min() < 0 or labels.max() >= len(LABELS):
        raise InputError(
            f'Reference {path} must hold {IN_WORDS}, or be a brain mask of 0 and 1, or have a '
            f'table of its labels (dseg.tsv) beside it; it holds {labels.min()} to '
            f'{labels.max()}.'
        )
    tissues = bool(labels.max() > 1)
    return Reference(class_labels(labels) if tissues else labels, tissues)


def _by_table(voxels: NDArray, path: Path, table: Path) -> NDArray[np.int64]:
    labels = np.rint(voxels).astype(np.int64)
    classes = {0: 0, **read_label_table(table)}
    known = np.array(sorted(one for one in classes if classes[one] is not None))
    places = np.searchsorted(known, labels).clip(max=len(known) - 1)
    unknown = known[places] != labels
    if unknown.any():
        raise InputError(
            f'Reference {path} holds label {labels[unknown].min()}, which {table} does not call '
            'grey matter, white matter, CSF or background: add it there, or remove it.'
        )
    return np.array([classes[one] for one in known.tolist()])[places]
