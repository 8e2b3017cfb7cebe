"""Finding scans in a BIDS data set, and naming what is derived from them."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from secondglance.files.bids_filters import fits
from secondglance.files.json_object import read_object
from secondglance.imaging.errors import InputError

DATATYPES = ('anat', 'dwi', 'func', 'fmap', 'perf')
"""Folders of a subject, or of its sessions, that hold images."""

_LABEL = re.compile(r'[A-Za-z0-9]+')
_NAME = re.compile(r'(?:[A-Za-z0-9]+-[A-Za-z0-9]+_)+([A-Za-z0-9]+)')
# The order of entities in a file name, from the BIDS specification
_ENTITIES = (
    *('sub', 'ses', 'sample', 'task', 'tracksys', 'acq', 'nuc', 'voi', 'ce', 'trc', 'stain'),
    *('rec', 'dir', 'run', 'mod', 'echo', 'flip', 'inv', 'mt', 'part', 'proc', 'hemi', 'space'),
    *('split', 'recording', 'chunk', 'atlas', 'seg', 'scale', 'res', 'den', 'label', 'desc'),
)
# Suffixes of images that are alone in their folder: names of results need none
_ALONE = ('dwi', 'head')

_NO_SCANS = {
    **dict.fromkeys(('mask', 'defacemask', 'dseg', 'probseg'), 'masks and labels'),
    **dict.fromkeys(('phase', 'phase1', 'phase2', 'phasediff', 'fieldmap'), 'maps of a field'),
    'xfm': 'transforms',
}
"""Suffixes of images that do not show a head, and what these are."""


def _joined(entities: dict[str, str]) -> str:
    return '_'.join(f'{key}-{value}' for key, value in entities.items())


@dataclass(frozen=True)
class Scan:
    """One image of one subject, as named in its BIDS data set.

    Attributes
    ----------
    path : Path
    entities : dict of str
        Entities of the name in BIDS order, ``{'sub': '01', 'run': '1'}``.
    suffix : str
        Last part of the name, such as ``dwi``.
    datatype : str
        Folder of the subject, such as ``dwi`` or ``func``.
    bval : Path or None
        The ``.bval`` file that applies.

    Notes
    -----
    Relative paths are made absolute at once: an engine runs each stage in a folder of its own.
    """

    path: Path
    entities: dict[str, str]
    suffix: str
    datatype: str
    bval: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, 'path', Path(os.path.abspath(self.path)))
        if self.bval is not None:
            object.__setattr__(self, 'bval', Path(os.path.abspath(self.bval)))

    @property
    def subject(self) -> str:
        """Label of the subject with its prefix, ``sub-01``."""
        return f'sub-{self.entities["sub"]}'

    @property
    def base(self) -> str:
        """Entities joined as in the file name, without suffix: ``sub-01_run-1``."""
        return _joined(self.entities)

    @property
    def stem(self) -> str:
        """Beginning of the names of what is derived from the scan.

        It holds the suffix, so that results of two contrasts lie beside each other:
        ``sub-01_space-T2w``. Diffusion, and an image of unknown contrast, are alone in their
        folder and need none.
        """
        if self.suffix in _ALONE:
            return self.base
        return _joined(_in_order({**self.entities, 'space': self.suffix}))

    @property
    def name(self) -> str:
        """Entities, and suffix unless it is ``dwi``: what the report is named by."""
        return self.base if self.suffix == 'dwi' else f'{self.base}_{self.suffix}'

    @property
    def folder(self) -> Path:
        """Folder of the derivatives, below the output directory."""
        session = [f'ses-{self.entities["ses"]}'] if 'ses' in self.entities else []
        return Path(self.subject, *session, self.datatype)

    @property
    def bvec(self) -> Path | None:
        """Gradient directions beside the b-values, where there are."""
        path = self.bval.with_suffix('.bvec') if self.bval else None
        return path if path is not None and path.is_file() else None

    @property
    def within(self) -> Path:
        """Where a data set has the image, below its root."""
        return self.folder / self.path.name

    @property
    def data_set(self) -> Path | None:
        """Root of the data set that the image lies in; None where it lies in none."""
        parts = self.within.parts
        inside = self.path.is_absolute() and self.path.parts[-len(parts) :] == parts
        return self.path.parents[len(parts) - 1] if inside else None


def subject_label(label: str) -> str:
    """Strip the ``sub-`` prefix of a label and check what is left.

    Raises
    ------
    InputError
        If the label has a character that BIDS forbids, such as a path's.

    Examples
    --------
    >>> subject_label('sub-01'), subject_label('01')
    ('01', '01')
    """
    bare = label.removeprefix('sub-')
    if not _LABEL.fullmatch(bare):
        raise InputError(
            f'Subject label {label!r} is not of letters and digits alone: give it as in the '
            'name of its folder, for example --subject sub-01.'
        )
    return bare


def find_subjects(bids_dir: Path) -> list[str]:
    """List the labels, without prefix, of the subjects in a BIDS data set, sorted."""
    if not bids_dir.is_dir():
        raise InputError(f'{bids_dir} is not a folder: give --bids-dir a BIDS data set.')
    return sorted(p.name[4:] for p in bids_dir.glob('sub-*') if p.is_dir())


def description_of(folder: Path) -> dict:
    """Content of a folder's ``dataset_description.json``; empty where none can be read."""
    return read_object(folder / 'dataset_description.json')


def generated_by(folder: Path) -> list[str]:
    """Names of the programs that wrote a data set, by its ``dataset_description.json``."""
    try:
        return [str(one.get('Name')) for one in description_of(folder).get('GeneratedBy', [])]
    except (AttributeError, TypeError):
        return []


def is_derivative(folder: Path) -> bool:
    """Whether a data set's ``dataset_description.json`` calls it a derivative."""
    return description_of(folder).get('DatasetType', 'raw') != 'raw'


def parse_name(path: Path) -> tuple[dict[str, str], str]:
    """Split a BIDS file name in entities and suffix.

    Examples
    --------
    >>> parse_name(Path('sub-01_task-rest_run-2_sbref.nii.gz'))
    ({'sub': '01', 'task': 'rest', 'run': '2'}, 'sbref')
    """
    *pairs, suffix = path.name.split('.')[0].split('_')
    entities = dict(pair.split('-', 1) for pair in pairs if '-' in pair)
    return entities, suffix


def inherited(path: Path, bids_dir: Path, extension: str) -> Path | None:
    """Find the side-car that applies to an image by BIDS' inheritance principle.

    The nearest folder counts; there the one that shares most entities with the image.

    Parameters
    ----------
    path : Path
        Of the image.
    bids_dir : Path
        Root of its data set, above which nothing is looked for.
    extension : str
        Of the side-car, such as ``.bval``.

    Returns
    -------
    Path or None

    Raises
    ------
    InputError
        If two apply equally.
    """
    entities, suffix = parse_name(path)
    folder = path.parent
    while True:
        fitting: dict[int, list[Path]] = {}
        for candidate in sorted(folder.glob(f'*{suffix}{extension}')):
            its_entities, its_suffix = parse_name(candidate)
            if its_suffix == suffix and its_entities.items() <= entities.items():
                fitting.setdefault(len(its_entities), []).append(candidate)
        if fitting:
            best = fitting[max(fitting)]
            if len(best) > 1:
                raise InputError(
                    f'{best[0]} and {best[1]} both apply to {path}: keep one, or name it as the '
                    'image.'
                )
            return best[0]
        if folder in (bids_dir, folder.parent):
            return None
        folder = folder.parent


class FilesMet:
    """Files by the first path that leads to each: links and hard links lead to the same.

    Parameters
    ----------
    notes : list of str, optional
        Takes a sentence for each path that is left out.
    """

    def __init__(self, notes: list[str] | None = None) -> None:
        self._first: dict[object, Path] = {}
        self._notes = notes

    def again(self, path: Path) -> bool:
        """Tell whether a path leads to a file that was added before, and note that."""
        first = self._first.get(self._identity(path))
        if first is not None and self._notes is not None:
            self._notes.append(f'{path} is the same file as {first} and is left out.')
        return first is not None

    def add(self, path: Path) -> None:
        """Remember where a path leads."""
        self._first.setdefault(self._identity(path), path)

    def _identity(self, path: Path) -> object:
        # What is not here is refused later, by its name
        about = path.stat() if path.exists() else None
        return (about.st_dev, about.st_ino) if about else str(path)


def each_once(scans: Sequence[Scan], notes: list[str] | None = None) -> list[Scan]:
    """Leave out scans of a file that one before them is of, with a note of each."""
    met, kept = FilesMet(notes), []
    for scan in scans:
        if not met.again(scan.path):
            met.add(scan.path)
            kept.append(scan)
    return kept


def find_scans(
    bids_dir: str | Path,
    subject: str,
    suffix: str = 'dwi',
    session: str | Sequence[str] | None = None,
    run: str | None = None,
    notes: list[str] | None = None,
    filters: Mapping[str, list] | None = None,
) -> list[Scan]:
    """Find the images of a subject; other subjects' folders are never opened.

    Parameters
    ----------
    bids_dir : Path
    subject : str
        Label, with or without prefix.
    suffix : str
        Which image: dwi, bold, sbref, T2w, …
    session, run : str, optional
        Keep these alone, with or without ``ses-`` and ``run-``; of sessions also several.
    notes : list of str, optional
        Takes a sentence for what is left out.
    filters : mapping of list, optional
        Keep what has these entities alone, as of
        :func:`secondglance.files.bids_filters.read_filters`.

    Returns
    -------
    list of Scan
        Sorted by path, at least one. Only ``[ses-*/]<datatype>/`` is searched.

    Raises
    ------
    InputError
        If there is no such subject (those that are get listed) or no such image; if the name of
        an image is not one of BIDS, belongs to another subject or session, or to two files.
    """
    label = subject_label(subject)
    _check_suffix(suffix)
    bids_dir = Path(bids_dir)
    folder = _subject_folder(bids_dir, label)
    wanted = _wanted(session, run, filters)
    found: dict[str, Scan] = {}
    left_out = ''
    met = FilesMet(notes)
    for path in _links_last(_images(folder)):
        if not re.fullmatch(rf'(?s).*_{suffix}\.nii(\.gz)?', path.name):
            continue
        if met.again(path):
            continue
        scan = _scan(path, label, suffix, bids_dir)
        if not fits(scan.entities, wanted):
            continue
        met.add(path)
        if scan.entities.get('part', 'mag') != 'mag' and 'part' not in wanted:
            left_out = f'{path.name} is not a magnitude image and is left out.'
            if notes is not None:
                notes.append(left_out)
            continue
        if scan.name in found:
            raise InputError(
                f'{found[scan.name].path} and {path} are both {scan.name}: remove one, or give '
                'one of them an entity of its own, such as acq-.'
            )
        found[scan.name] = scan
    if not found:
        if left_out:
            raise InputError(f'sub-{label} has no other image in {folder}: {left_out}')
        raise _no_image(folder, suffix, wanted)
    return sorted(found.values(), key=lambda scan: scan.path)


def _links_last(paths: list[Path]) -> list[Path]:
    """Sort paths so that those through linked folders, then linked files, follow the others."""

    def links(path: Path) -> tuple[bool, bool, Path]:
        return os.path.realpath(path.parent) != str(path.parent), path.is_symlink(), path

    return sorted(paths, key=links)


def _subject_folder(bids_dir: Path, label: str) -> Path:
    """Folder of a subject, which must be there."""
    folder = bids_dir / f'sub-{label}'
    if not folder.is_dir():
        there = find_subjects(bids_dir)
        listed = ', '.join(f'sub-{s}' for s in there[:20]) + (' …' if len(there) > 20 else '')
        raise InputError(f'sub-{label} is not in {bids_dir}: it holds {listed or "no subject"}.')
    return folder


def _wanted(
    session: str | Sequence[str] | None, run: str | None, filters: Mapping[str, list] | None
) -> dict[str, list]:
    """Values that are wanted of each entity, prefixes removed."""
    wanted: dict[str, list] = {**(filters or {})}
    wanted.pop('suffix', None)
    if session:
        labels = [session] if isinstance(session, str) else session
        wanted['ses'] = [label.removeprefix('ses-') for label in labels]
    if run:
        wanted['run'] = [run.removeprefix('run-')]
    return wanted


def _no_image(folder: Path, suffix: str, wanted: Mapping[str, list]) -> InputError:
    """Error for a subject that has no such image: it names what there is."""
    there = sorted({parse_name(p)[1] for p in _images(folder)})
    return InputError(
        f'{folder.name} has no image named …_{suffix}.nii.gz'
        + ''.join(f' with {_told(key, values)}' for key, values in wanted.items())
        + f' in {folder}: choose with --suffix (there are: {", ".join(there) or "none"})'
        + _others(folder, suffix, wanted)
        + '.'
    )


def _told(key: str, values: list) -> str:
    """Say which values of an entity are wanted."""
    return ' or '.join(f'no {key}' if value is None else f'{key}-{value}' for value in values)


def usual_suffix(bids_dir: Path, subject: str) -> str:
    """Suffix of the images to take of a subject where none was asked for.

    Parameters
    ----------
    bids_dir : Path
    subject : str
        Label, with or without prefix.

    Returns
    -------
    str
        ``dwi``; of a subject that has images of one other kind alone, that kind.
    """
    kinds = {parse_name(path)[1] for path in _images(bids_dir / f'sub-{subject_label(subject)}')}
    kinds -= set(_NO_SCANS)
    return next(iter(kinds)) if len(kinds) == 1 else 'dwi'


def _check_suffix(suffix: str) -> None:
    if not _LABEL.fullmatch(suffix):
        raise InputError(f'Suffix {suffix!r} is not of letters and digits alone: such as T2w.')
    if suffix in _NO_SCANS:
        raise InputError(
            f'Suffix {suffix!r} is of {_NO_SCANS[suffix]}, not of scans: give that of a scan, '
            'such as T2w.'
        )


def _images(folder: Path) -> list[Path]:
    """NIfTI files of a subject, linked folders included."""
    patterns = [f'{ses}{kind}/*.nii{gz}' for ses in ('', 'ses-*/') for kind in DATATYPES
                for gz in ('', '.gz')]  # fmt: skip
    return sorted(
        path for pattern in patterns for path in folder.glob(pattern) if path.name[0] != '.'
    )


def _scan(path: Path, label: str, suffix: str, bids_dir: Path) -> Scan:
    """Scan of an image, its name checked."""
    bare = path.name.removesuffix('.gz').removesuffix('.nii')
    if not _is_bids(bare) or not bare.startswith('sub-'):
        raise InputError(
            f'{path} is not named as BIDS asks, sub-<label>[_<key>-<value>]_{suffix}, of letters '
            'and digits alone and no key twice: rename it.'
        )
    entities, _ = parse_name(path)
    if entities['sub'] != label:
        raise InputError(f'{path} is in the folder of sub-{label}: move it, or rename it.')
    # Of the folder right above the datatype's: a data set may lie in a ses-… folder itself
    above = path.parent.parent.name
    session = above.removeprefix('ses-') if above.startswith('ses-') else None
    if session is not None and not _LABEL.fullmatch(session):
        raise InputError(
            f'{path.parent.parent} is not named as BIDS asks, ses-<label>, of letters and digits '
            'alone: rename it.'
        )
    if session is not None and entities.setdefault('ses', session) != session:
        raise InputError(
            f'{path} is of session {entities["ses"]} in the folder of ses-{session}: move it, or '
            'rename it.'
        )
    bval = inherited(path, bids_dir, '.bval')
    return Scan(path, _in_order(entities), suffix, path.parent.name, bval)


def _is_bids(bare: str) -> bool:
    """Tell whether a name is one of BIDS, each entity once.

    Examples
    --------
    >>> _is_bids('sub-1_acq-a_T2w'), _is_bids('sub-1_acq-a_acq-b_T2w'), _is_bids('rat 1')
    (True, False, False)
    """
    keys = [pair.split('-')[0] for pair in bare.split('_')[:-1]]
    return _NAME.fullmatch(bare) is not None and len(set(keys)) == len(keys)


def _others(folder: Path, suffix: str, wanted: Mapping[str, list]) -> str:
    """Name the sessions and runs that there are, where others were asked for."""
    told = []
    for key, word in (('ses', 'sessions'), ('run', 'runs')):
        if key in wanted:
            images = [p for p in _images(folder) if parse_name(p)[1] == suffix]
            values = {parse_name(p)[0].get(key) for p in images}
            if key == 'ses':
                values |= {p.name[4:] for p in folder.glob('ses-*')}
            listed = ', '.join(sorted(v for v in values if v)) or 'none'
            told.append(f'; {word}: {listed}')
    return ''.join(told)


def scan_of_file(path: str | Path, suffix: str | None = None) -> Scan:
    """Take one image that need not lie in a data set, nor be named as in one.

    Parameters
    ----------
    path : Path
        The letters and digits of its name become the subject's label, unless it is named by BIDS.
    suffix : str, optional
        What the image is; where not given, what its name says, ``dwi`` where a ``.bval`` of its
        name lies beside it, or ``head``.

    Returns
    -------
    Scan

    Raises
    ------
    InputError
        If the name has no letter and no digit, or `suffix` others.

    Examples
    --------
    >>> scan_of_file(Path('scans/rat_12.nii.gz')).name, scan_of_file(Path('sub-3_T2w.nii')).name
    ('sub-rat12_head', 'sub-3_T2w')
    """
    if suffix is not None:
        _check_suffix(suffix)
    path = Path(path)
    bare = path.name.removesuffix('.gz').removesuffix('.nii')
    entities, own_suffix = parse_name(path)
    beside = path.parent / f'{bare}.bval'
    # A link to what is not here belongs to the image too, and is named when it is read
    bval = beside if beside.is_file() or beside.is_symlink() else None
    if _is_bids(bare) and _LABEL.fullmatch(entities.get('sub', '')):
        entities = _in_order(entities)
        suffix = suffix or own_suffix
        _check_suffix(suffix)
    else:
        label = ''.join(_LABEL.findall(bare.removeprefix('sub-')))
        if not label:
            from secondglance.files.nifti import check_there

            check_there(path)
            raise InputError(
                f'{path} has no letter from A to Z and no digit in its name: rename it.'
            )
        entities = {'sub': label}
        suffix = suffix or ('head' if bval is None else 'dwi')
    datatype = {'dwi': 'dwi', 'bold': 'func', 'sbref': 'func'}.get(suffix, 'anat')
    return Scan(path, entities, suffix, datatype, bval)


def _in_order(entities: dict[str, str]) -> dict[str, str]:
    """Entities in the order of the specification, those that it does not know last."""
    ordered = {key: entities[key] for key in _ENTITIES if key in entities}
    return ordered | {k: v for k, v in entities.items() if k not in ordered}


def find_reference(reference: Path, scan: Scan) -> Path | None:
    """Find the reference segmentation of a scan.

    Parameters
    ----------
    reference : Path
        The file itself, or a derivatives folder that holds ``…_dseg`` or
        ``…_desc-brain_mask`` under the scan's own name.
    scan : Scan

    Returns
    -------
    Path or None
        None where a folder has none for this scan.
    """
    if reference.is_file():
        return reference
    for ending in ('_dseg', '_desc-brain_mask'):
        for extension in ('.nii.gz', '.nii'):
            for stem in (scan.base, scan.stem):
                candidate = reference / scan.folder / f'{stem}{ending}{extension}'
                if candidate.is_file():
                    return candidate
    return None


def find_donor(folder: str | Path) -> tuple[Path, Path]:
    """Find the image and the brain mask of a donor in its folder.

    Returns
    -------
    image, mask : Path

    Raises
    ------
    InputError
        Unless it is a folder that holds two NIfTI files, one of them with ``mask`` in its name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f'Donor {folder} is not a folder: check its name.')
    files = sorted(p for p in folder.glob('*.nii*') if p.is_file())
    masks = [p for p in files if 'mask' in p.name]
    images = [p for p in files if 'mask' not in p.name]
    if len(masks) != 1 or len(images) != 1:
        raise InputError(
            f'Donor {folder} must hold two NIfTI files, an image and a brain mask with "mask" in '
            f'its name; found {[p.name for p in files]}.'
        )
    return images[0], masks[0]
