"""Publication of a subject's results in the output folder, all or none."""

import contextlib
import filecmp
import gzip
import json
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    DynamicTraitedSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from nipype.interfaces.io import add_traits

from secondglance import __version__
from secondglance.files.atomic import no_room
from secondglance.files.bids import description_of
from secondglance.files.digests import digest_of
from secondglance.files.written import (
    SHARED,
    edited_by_hand,
    is_edited,
    note_written,
    written_digests,
)
from secondglance.imaging.errors import SurroundingsError
from secondglance.reports.data import figures_folder

_STALE_SECONDS = 24 * 3600

_COMPRESSORS = 2
"""Files that are compressed at the same time."""


def publish(
    files: dict[str, Path | str | bytes], output_dir: Path, scan: tuple[str, str] | None = None
) -> list[Path]:
    """Put files below a folder: all of them, or none.

    Everything is first written beside its place; only when that worked are the names changed,
    so that a reader never sees half a file, and a full disk leaves what was there before.
    What a person edited since it was written is not replaced.

    Parameters
    ----------
    files : dict
        Name below `output_dir` → a file to copy, or the bytes to write.
    output_dir : Path
    scan : tuple of str, optional
        Stem and suffix of the scan, by which its files are listed in ``logs/``. Without it
        nothing is listed, and every file is replaced.

    Returns
    -------
    list of Path
        What is now there, in the order of `files`.

    Raises
    ------
    SurroundingsError
        If the folder cannot be written, the disk is full, or a file was edited by hand.
    """
    output_dir = Path(output_dir)
    written = written_digests(output_dir, *scan) if scan else {}
    targets: list[Path] = []
    staging = None
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        _sweep(output_dir)
        staging = Path(tempfile.mkdtemp(prefix='.secondglance-', dir=output_dir))
        targets = [output_dir / name for name in files]
        all_waiting = [staging / str(index) for index in range(len(files))]
        with ThreadPoolExecutor(_COMPRESSORS) as pool:
            found = pool.map(_stage, files.values(), targets, all_waiting)
            digests = {name: {digest} for name, digest in zip(files, found, strict=True)}
        staged = []
        for name, target, waiting in zip(files, targets, all_waiting, strict=True):
            # By content: a time stamp says nothing of a disk that failed, or of an edit
            if target.is_file() and filecmp.cmp(waiting, target, shallow=False):
                waiting.unlink()
                continue
            if scan and name not in SHARED:
                written = _checked(target, name, written, output_dir, scan)
            staged.append((waiting, target))
        if scan:
            # First the list, of both the old and the new: a process that is killed in between
            # leaves nothing that looks like a person's
            both = {name: known | written.get(name, set()) for name, known in digests.items()}
            note_written(output_dir, *scan, written | both)
        for waiting, target in staged:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(waiting, target)
        if scan:
            note_written(output_dir, *scan, written | digests)
    except OSError as error:
        if said := no_room(error, output_dir):
            raise SurroundingsError(said) from error
        raise SurroundingsError(
            f'{output_dir} cannot be written ({error.strerror}): choose another --output-dir.'
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return targets


def _stage(source: Path | str | bytes, target: Path, waiting: Path) -> str:
    """Write a file beside its place, compressed where its name says so; its digest."""
    if isinstance(source, bytes):
        waiting.write_bytes(source)
    else:
        stamp = os.stat(source).st_mtime_ns
        _copy(Path(source), waiting, compress=target.suffix == '.gz')
        os.utime(waiting, ns=(stamp, stamp))
    return digest_of(waiting)


def _checked(
    target: Path,
    name: str,
    written: dict[str, set[str]],
    output_dir: Path,
    scan: tuple[str, str],
) -> dict[str, set[str]]:
    """Refuse to replace what a person edited; what was written by now is returned."""
    if is_edited(target, written.get(name, ())):
        # Another attempt may have written it this moment
        written = written_digests(output_dir, *scan)
        if is_edited(target, written.get(name, ())):
            raise edited_by_hand(target)
    return written


def _sweep(output_dir: Path) -> None:
    """Remove what a process that was killed had written and not yet put in its place."""
    for left in output_dir.glob('.secondglance-*'):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _copy(source: Path, target: Path, compress: bool) -> None:
    if compress and source.suffix != '.gz':
        # No time stamp and no name inside: the same result is the same bytes
        target.write_bytes(gzip.compress(source.read_bytes(), compresslevel=6, mtime=0))
    else:
        shutil.copyfile(source, target)


NOT_IN_BIDS = (
    '*.html',
    'cohort.*',
    'figures',
    '*_xfm.*',
    '*_saliency.*',
    '*_timeseries.*',
    '*_slices.*',
    '*_volumes.*',
    '*_scores.*',
    '*_head.*',
    '*_boldref.*',
    # Known of raw data alone
    '*.bval',
    '*.bvec',
)
"""What the validator does not know yet, for ``.bidsignore``."""


def dataset_files(output_dir: Path, links: dict[str, str]) -> dict[str, Path | str | bytes]:
    """Describe the derivatives as BIDS asks, with the version that made them.

    Parameters
    ----------
    output_dir : Path
        What a person added to a description there, its links, and what a ``.bidsignore`` there
        names, is kept.
    links : dict of str
        Name of a data set in BIDS URIs → its root.

    Returns
    -------
    dict
        Names below `output_dir`, and contents.
    """
    theirs = description_of(output_dir)
    known = theirs.get('DatasetLinks')
    known = known if isinstance(known, dict) else {}
    ignored: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        ignored = (output_dir / '.bidsignore').read_text(encoding='utf-8').splitlines()
    all_links = known | {name: _uri(Path(root), output_dir) for name, root in links.items()}
    ignored += [line for line in NOT_IN_BIDS if line not in ignored]
    return {
        'dataset_description.json': _json(
            {
                'Name': 'secondglance: rodent brain tissue segmentation',
                **theirs,
                'BIDSVersion': '1.10.0',
                'DatasetType': 'derivative',
                'GeneratedBy': [{'Name': 'secondglance', 'Version': __version__}],
                **({'DatasetLinks': all_links} if all_links else {}),
            }
        ),
        '.bidsignore': ('\n'.join(ignored) + '\n').encode(),
    }


def _uri(root: Path, output_dir: Path) -> str:
    """Where a data set is: relative for results inside it, which move with it."""
    root, output_dir = Path(os.path.abspath(root)), Path(os.path.abspath(output_dir))
    inside = output_dir.is_relative_to(root)
    return os.path.relpath(root, output_dir) if inside else root.as_uri()


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + '\n').encode()


class _PublishInputSpec(DynamicTraitedSpec, BaseInterfaceInputSpec):
    output_dir = traits.Directory(mandatory=True, desc='root of the derivatives')
    folder = traits.Str(mandatory=True, desc="the scan's folder below it")
    stem = traits.Str(mandatory=True, desc='entities that every name begins with')
    suffix = traits.Str(mandatory=True, desc='suffix of the image, such as dwi')
    sidecars = traits.Dict(
        traits.Str(), traits.Any(), usedefault=True, desc='ending of a name → content of its JSON'
    )
    texts = traits.Dict(
        traits.Str(), traits.Str(), usedefault=True, desc='name below the root → text of the file'
    )
    dataset_links = traits.Dict(
        traits.Str(),
        traits.Str(),
        usedefault=True,
        desc='name of a data set in BIDS URIs → its root',
    )
    report = File(desc='HTML report', exists=True)
    report_figures = traits.Directory(desc="the report's figures", exists=True)
    citation_md = File(desc='methods paragraph and references', exists=True)
    citation_bib = File(desc='the references as BibTeX', exists=True)


class _PublishOutputSpec(TraitedSpec):
    out_files = traits.List(traits.Str(), desc='what was put there')
    report = traits.Str(desc='where the report is')


class Publish(SimpleInterface):
    """Put a scan's results below the output folder: all of them, or none.

    Parameters
    ----------
    endings : dict of str
        Field → ending of the file's name, such as ``{'dseg': 'dseg.nii.gz'}``. The fields
        become inputs.
    """

    input_spec = _PublishInputSpec
    output_spec = _PublishOutputSpec
    # What was published may since have been deleted or overwritten: always compared
    _always_run = True

    def __init__(self, endings: dict[str, str], **inputs: Any):
        super().__init__(**inputs)
        self._endings = endings
        add_traits(self.inputs, list(endings))

    def _run_interface(self, runtime: Bunch) -> Bunch:
        folder, stem = Path(self.inputs.folder), self.inputs.stem
        files: dict[str, Path | str | bytes] = {}
        for field, ending in self._endings.items():
            source = getattr(self.inputs, field)
            if isdefined(source):
                files[str(folder / f'{stem}_{ending}')] = source
        for name, text in self.inputs.texts.items():
            files[name] = text.encode()
        # A side-car of nothing says nothing
        there = list(files)
        for ending, content in self.inputs.sidecars.items():
            name = str(folder / f'{stem}_{ending}')
            if not any(other.startswith(name.removesuffix('json')) for other in there):
                continue
            # What is known beforehand, and what was found
            known = files.get(name)
            found = json.loads(Path(known).read_text()) if isinstance(known, str | Path) else {}
            files[name] = _json({**content, **found})
        files |= dataset_files(Path(self.inputs.output_dir), self.inputs.dataset_links)
        for kind in ('md', 'bib'):
            citation = getattr(self.inputs, f'citation_{kind}')
            if isdefined(citation):
                files[f'logs/{stem}_{self.inputs.suffix}_CITATION.{kind}'] = citation
        if isdefined(self.inputs.report):
            report = Path(self.inputs.report)
            figures = Path(self.inputs.report_figures)
            for figure in sorted(figures.iterdir()):
                files[f'{figures_folder(stem)}/{figure.name}'] = figure
            # Last: a report that is there speaks of files that are there
            files[report.name] = report
        self._results['out_files'] = [str(p) for p in self._publish(files)]
        self._results['report'] = self._results['out_files'][-1]
        return runtime

    def _publish(self, files: dict[str, Path | str | bytes]) -> list[Path]:
        return publish(files, self.inputs.output_dir, (self.inputs.stem, self.inputs.suffix))
