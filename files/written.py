"""What was written for a scan: what a person edited since is known, and never replaced."""

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from secondglance.files.atomic import write_whole
from secondglance.files.digests import digest_of
from secondglance.files.json_object import read_object
from secondglance.imaging.errors import SurroundingsError

SHARED = ('dataset_description.json', '.bidsignore')
"""Files that belong to all scans of an output folder."""

_TEXTS = ('.tsv', '.txt', '.toml', '.html', '.svg', '.bval', '.bvec')
_END_OF_PNG = b'IEND\xaeB`\x82'

_UNREADABLE = (
    *(OSError, EOFError, ValueError, RecursionError, zlib.error),
    *(ImageFileError, HeaderDataError, WrapStructError),
)
"""What is raised by content that is cut, or filled with anything."""


def log_path(folder: Path, stem: str, suffix: str, ending: str = '.json') -> Path:
    """Where a scan's log of a kind is, below an output folder.

    Parameters
    ----------
    folder : Path
        The output folder.
    stem, suffix : str
        Of the scan.
    ending : str
        Of the kind.

    Returns
    -------
    Path
    """
    return Path(folder) / 'logs' / f'{stem}_{suffix}{ending}'


def edited_by_hand(path: Path) -> SurroundingsError:
    """Say of an output that a person edited it, and what to do."""
    return SurroundingsError(
        f'{path} is not as secondglance wrote it and was likely edited by hand, so it is not '
        'replaced: move it elsewhere, such as derivatives/reference, or give another --output-dir.'
    )


def written_digests(folder: Path, stem: str, suffix: str) -> dict[str, set[str]]:
    """Read which files were written for a scan.

    Parameters
    ----------
    folder : Path
        The output folder.
    stem, suffix : str
        Of the scan.

    Returns
    -------
    dict of set of str
        Name below the folder → digests that it may have. Two while it is being replaced.
    """
    found: dict[str, set[str]] = {}
    recorded = read_object(log_path(folder, stem, suffix)).get('outputs')
    if isinstance(recorded, dict):
        for name, entry in recorded.items():
            if isinstance(entry, list) and len(entry) == 2:
                found.setdefault(name, set()).add(str(entry[1]))
    for name, digests in read_object(_list_path(folder, stem, suffix)).items():
        if isinstance(digests, list):
            found.setdefault(name, set()).update(map(str, digests))
    return found


def note_written(
    folder: Path, stem: str, suffix: str, digests: Mapping[str, Iterable[str]]
) -> None:
    """List the digests of the files of a scan, before and after they are put in their place.

    Parameters
    ----------
    folder : Path
    stem, suffix : str
    digests : mapping
        Name below the folder → digests that it may have.
    """
    content = {name: sorted(set(known)) for name, known in digests.items() if name not in SHARED}
    write_whole(_list_path(folder, stem, suffix), json.dumps(content, indent=1) + '\n')


def find_edited(folder: Path, written: Mapping[str, set[str]]) -> list[Path]:
    """Find the files that a person changed since they were written.

    Parameters
    ----------
    folder : Path
        The output folder.
    written : mapping
        From :func:`written_digests`.

    Returns
    -------
    list of Path
    """
    paths = {name: Path(folder) / name for name in written if name not in SHARED}
    return [path for name, path in paths.items() if is_edited(path, written[name])]


def is_edited(path: Path, digests: Iterable[str]) -> bool:
    """Tell whether a file is there, whole, and not as it was written.

    A file that a failing disk cut or filled with zeros was edited by nobody.

    Parameters
    ----------
    path : Path
    digests : iterable of str
        That it may have.
    """
    return path.is_file() and digest_of(path) not in set(digests) and not is_damaged(path)


def is_damaged(path: Path) -> bool:
    """Tell whether a file is not what its name says: cut, filled with zeros, or unreadable.

    Parameters
    ----------
    path : Path
        An image, a table, a text or a figure.
    """
    content = path.read_bytes()
    if not content.strip(b'\0'):
        return True
    try:
        if path.suffix == '.gz':
            content = gzip.decompress(content)
        if '.nii' in path.suffixes:
            np.asarray(nib.Nifti1Image.from_stream(io.BytesIO(content)).dataobj)
        elif path.suffix == '.json':
            json.loads(content)
        elif path.suffix in _TEXTS:
            return b'\0' in content
        elif path.suffix == '.png':
            return not content.endswith(_END_OF_PNG)
    except _UNREADABLE:
        return True
    return False


def _list_path(folder: Path, stem: str, suffix: str) -> Path:
    return log_path(folder, stem, suffix, '_files.json')
