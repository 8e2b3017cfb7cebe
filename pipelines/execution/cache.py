"""The cache of the stages: private, bound to its place, and checked before it is believed."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from secondglance import __version__
from secondglance.files.digests import is_intact, write_digests
from secondglance.imaging.errors import InputError

_UNSTABLE = ('_node.pklz', '_inputs.pklz', '_report', 'digests.json')
"""Files that the engine rewrites without a new result."""


def open_cache(work_dir: Path) -> Path:
    """Make or open the cache of this version in a work folder.

    The engine's results hold absolute paths, so a folder that was moved or copied would answer
    with files that lie elsewhere: the folder's name depends on its place. They are pickles, which
    are code: nobody else may have written them.

    Parameters
    ----------
    work_dir : Path
        As of ``--work-dir``.

    Returns
    -------
    Path
        Readable and writable for its owner alone.

    Raises
    ------
    InputError
        If another user owns it, or it cannot be made.
    """
    work_dir = Path(work_dir).resolve()
    place = hashlib.sha256(str(work_dir).encode()).hexdigest()[:8]
    folder = work_dir / f'secondglance-{__version__}-{place}'
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode):
            raise InputError(f'{folder} is a link: remove it, or choose another --work-dir.')
        if about.st_uid != os.geteuid():
            raise InputError(
                f'{folder} belongs to another user, and cached results can run code: '
                'choose another --work-dir.'
            )
        if stat.S_IMODE(about.st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise InputError(
            f'{folder} cannot be made ({error.strerror}): choose another --work-dir.'
        ) from error
    return folder


def seal_node(folder: Path) -> None:
    """Note what a stage left in its folder, so that a change is found before it is used."""
    if folder.is_dir():
        write_digests(folder, _UNSTABLE)


def seal_workflow(folder: Path) -> None:
    """Seal every finished stage below a workflow's folder that is not yet sealed."""
    for node in _nodes(folder):
        if _finished(node) and not (node / 'digests.json').is_file():
            seal_node(node)


def remove_broken(folder: Path) -> list[Path]:
    """Remove every stage below a workflow's folder that is not as it was written.

    Stages that were cut off go too; all of these are then run again.

    Parameters
    ----------
    folder : Path
        Of a workflow; it need not be there.

    Returns
    -------
    list of Path
        What was removed.
    """
    broken = [node for node in _nodes(folder) if _finished(node) and not is_intact(node)]
    for node in broken:
        shutil.rmtree(node, ignore_errors=True)
    return broken


def _finished(node: Path) -> bool:
    return any(node.glob('_0x*.json')) or any(node.glob('result_*.pklz'))


def _nodes(folder: Path) -> Iterator[Path]:
    """Folders of the stages below a folder; those of a MapNode's parts belong to it."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.is_symlink():
            continue
        if any(path.glob('_*.pklz')) or _finished(path):
            yield path
        else:
            yield from _nodes(path)
