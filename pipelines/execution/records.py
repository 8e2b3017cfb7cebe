"""What a scan was made from, kept beside its results: what is finished is not made again."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from secondglance.files.atomic import write_whole
from secondglance.files.bids import Scan, description_of
from secondglance.files.digests import digest_of
from secondglance.files.json_object import read_object
from secondglance.files.labels import find_label_table
from secondglance.files.written import (
    SHARED,
    edited_by_hand,
    find_edited,
    is_edited,
    log_path,
    written_digests,
)
from secondglance.pipelines.settings import Method


@dataclass(frozen=True)
class Record:
    """A scan that was finished, or that failed.

    Attributes
    ----------
    key : str
        Digest of inputs, weights, donors, parameters and version.
    seconds : float
        What it took.
    flags : tuple of str
        Warnings of its report.
    figures : dict
        What a cohort's table shows of it.
    failure : str
        Why it failed; empty where it was finished.
    """

    key: str
    seconds: float
    flags: tuple[str, ...] = ()
    figures: dict = field(default_factory=dict)
    failure: str = ''


def recipe(method: Method) -> str:
    """Digest of all that is the same for every scan of a call: parameters, files, version.

    Files count by content, wherever they lie.
    """
    plain = method.resolved()
    for item in fields(method):
        value = getattr(method, item.name)
        if _has_path(value):
            plain[item.name] = _content(value)
    return _digest(plain)


def scan_key(recipe: str, inputs: dict[str, str]) -> str:
    """Digest of a recipe and of the contents of a scan's own files.

    Parameters
    ----------
    recipe : str
        From :func:`recipe`.
    inputs : dict of str
        Role of a file → digest of its content.
    """
    return _digest([recipe, inputs])


def record_path(folder: Path, scan: Scan) -> Path:
    """Where a scan is on record.

    Parameters
    ----------
    folder : Path
        The output folder; of a scan that failed, the work folder.
    scan : Scan
    """
    return log_path(folder, scan.stem, scan.suffix)


def refuse_edited(folder: Path, scan: Scan) -> None:
    """Refuse to overwrite a scan's results if a person edited one of them.

    Parameters
    ----------
    folder : Path
        The output folder.
    scan : Scan

    Raises
    ------
    SurroundingsError
        With the name of the file.
    """
    if edited := find_edited(folder, written_digests(folder, scan.stem, scan.suffix)):
        raise edited_by_hand(edited[0])


def write_record(
    folder: Path,
    scan: Scan,
    reference: Path | None,
    recipe: str,
    *,
    outputs: Sequence[Path] = (),
    seconds: float = 0.0,
    flags: Sequence[str] = (),
    figures: dict | None = None,
    failure: str = '',
    replaced: str | None = None,
) -> None:
    """Note what became of a scan, what it was made from, and what came out.

    Parameters
    ----------
    folder : Path
        The output folder; of a failure, which leaves no output, the work folder.
    scan : Scan
    reference : Path or None
    recipe : str
        From :func:`recipe`.
    outputs : sequence of Path
        What was written for this scan.
    seconds : float
    flags : sequence of str
    figures : dict, optional
    failure : str
    replaced : str, optional
        From :func:`replacement`.
    """
    paths = {role: path for role, path in _inputs(scan, reference).items() if path.is_file()}
    digests = {role: digest_of(path) for role, path in paths.items()}
    content = {
        'scan': scan.name,
        'data_set': data_set_name(scan),
        'key': scan_key(recipe, digests),
        'seconds': round(seconds, 2),
        'flags': list(flags),
        'figures': figures or {},
        'failure': failure,
        'replaced': replaced,
        'inputs': {
            role: [str(path), *_stamp(path), digests[role]] for role, path in paths.items()
        },
        'outputs': {
            str(path.relative_to(folder)): [path.stat().st_size, digest_of(path)]
            for path in outputs
            # Shared by all subjects, written by each
            if path.name not in SHARED
        },
    }
    write_whole(record_path(folder, scan), json.dumps(content, indent=1) + '\n')


def image_of_record(folder: Path, scan: Scan) -> str | None:
    """Find the other animal's image if results under a scan's name were made from one.

    An image of another path and content is another's. So is one of the same path, as of two
    containers, if its data set has another name; without one it may be a new export of the same
    scan, which :func:`replacement` is to say.

    Parameters
    ----------
    folder : Path
        The output folder.
    scan : Scan

    Returns
    -------
    str or None
        Its path, and its data set where that tells them apart. None where there is no record, or
        where it is of the scan's own image, here or elsewhere.
    """
    former = _former(folder, scan)
    if former is None:
        return None
    path, _, name = former
    own = data_set_name(scan)
    if path != str(scan.path):
        return path
    return f'{path} of the data set {name!r}' if name and own and name != own else None


def replacement(folder: Path, scan: Scan) -> str | None:
    """Say that the result of another content of a scan's image is replaced, where it will be.

    Parameters
    ----------
    folder : Path
        The output folder.
    scan : Scan

    Returns
    -------
    str or None
        A sentence with both images. None where there is no former result, or it is of this image
        and replaced none before.
    """
    former = _former(folder, scan)
    if former is None:
        return read_object(record_path(folder, scan)).get('replaced') or None
    path, digest, _ = former
    return (
        f'A former result under this name was replaced: it was of {path} with SHA-256 '
        f'{digest[:12]}…, this is of {scan.path} with {digest_of(scan.path)[:12]}…. Are both of '
        'one scan?'
    )


def data_set_name(scan: Scan) -> str:
    """Name of the data set that a scan lies in, by its description; empty where it has none."""
    for folder in list(scan.path.parents)[:4]:
        if (folder / 'dataset_description.json').is_file():
            return str(description_of(folder).get('Name') or '')
    return ''


def _former(folder: Path, scan: Scan) -> tuple[str, str, str] | None:
    """Path, digest and data set of the image on record, if its content is not the scan's."""
    try:
        content = read_object(record_path(folder, scan))
        path, *stamp, digest = content['inputs']['image']
        if path == str(scan.path) and stamp == _stamp(scan.path):
            return None
        same = digest == digest_of(scan.path)
        return None if same else (str(path), str(digest), str(content.get('data_set') or ''))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def finished_scans(folder: Path) -> dict[str, Record]:
    """Read the records of all scans in an output folder.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    dict of Record
        By name of the scan, sorted; of scans with complete results, whatever made them.
    """
    found = {}
    for path in sorted(Path(folder).glob('logs/*.json')):
        try:
            content = read_object(path)
            if 'key' in content and all(
                (Path(folder) / name).is_file() for name in content['outputs']
            ):
                found[str(content.get('scan', path.stem))] = _record(content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def _record(content: dict, flags: Sequence[str] = ()) -> Record:
    return Record(
        content['key'],
        content['seconds'],
        (*content['flags'], *flags),
        dict(content['figures']),
        str(content['failure']),
    )


def find_record(folder: Path, scan: Scan, reference: Path | None, recipe: str) -> Record | None:
    """Find the record of a scan that still says what would be made of it.

    Inputs with the size and time of the record are not read again; every output must be
    there with the size and the digest that were recorded, or edited by hand, which is flagged.

    Parameters
    ----------
    folder : Path
        The output folder; of a failure the work folder.
    scan : Scan
    reference : Path or None
    recipe : str
        From :func:`recipe`.

    Returns
    -------
    Record or None
        None if there is none, if anything changed, or if something is missing.
    """
    folder = Path(folder)
    try:
        content = read_object(record_path(folder, scan))
        digests = {}
        for role, path in _inputs(scan, reference).items():
            known, *stamp, digest = content['inputs'].get(role, ('', ''))
            same = known == str(path) and stamp == _stamp(path)
            digests[role] = digest if same else digest_of(path)
        if scan_key(recipe, digests) != content['key']:
            return None
        edited = []
        for name, (size, digest) in content['outputs'].items():
            path = folder / name
            if path.stat().st_size != size or digest_of(path) != digest:
                if not is_edited(path, (digest,)):
                    return None
                edited.append(f'{path.name} was edited by hand and is kept as it is.')
        return _record(content, edited)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _inputs(scan: Scan, reference: Path | None) -> dict[str, Path]:
    files = {'image': scan.path, 'bval': scan.bval, 'bvec': scan.bvec, 'reference': reference}
    if reference is not None:
        files['label table'] = find_label_table(reference)
    return {role: Path(path) for role, path in files.items() if path is not None}


def _stamp(path: Path) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def _has_path(value: object) -> bool:
    if isinstance(value, tuple | list):
        return any(_has_path(item) for item in value)
    return isinstance(value, Path)


def _content(value: object) -> object:
    """Replace every path by the digest of its file."""
    if isinstance(value, tuple | list):
        return [_content(item) for item in value]
    if isinstance(value, Path) and value.is_dir():
        return {path.name: _content(path) for path in sorted(value.iterdir()) if path.is_file()}
    if isinstance(value, Path):
        return digest_of(value)
    return value


def _digest(content: object) -> str:
    """Digest of plain values.

    Examples
    --------
    >>> _digest({'a': 1, 'b': 2}) == _digest({'b': 2, 'a': 1})
    True
    """
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
