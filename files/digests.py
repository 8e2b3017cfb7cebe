"""Digests of files: what was changed, cut or filled with zeros since it was written is known."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from secondglance.files.atomic import write_whole
from secondglance.files.json_object import read_object

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

DIGESTS = 'digests.json'
"""Name of the file that lists the digests of a folder's files."""

PART = 2**24
"""Bytes that are read at once: after each, a thread waits for others that hold the interpreter."""


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open('rb', buffering=0) as stream:
        while part := stream.read(PART):
            digest.update(part)
    return digest.hexdigest()


def digest_once(path: Path) -> str:
    """As `digest_of`, of a file that no other process writes: read once as long as it stays."""
    about = path.stat()
    return _digest(path, (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns))


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, stamp: tuple[int, ...]) -> str:
    return digest_of(path)


def digest_of_voxels(voxels: ArrayLike) -> str:
    """Digest of a scan's voxels, by which a copy of another name is recognised.

    Parameters
    ----------
    voxels : array
        In single precision. Their order does not count: a copy with other axes has the same.

    Returns
    -------
    str
        ``voxels:`` and 32 hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> scan = np.arange(24.0).reshape(2, 3, 4)
    >>> digest_of_voxels(scan) == digest_of_voxels(scan[::-1].transpose(2, 0, 1))
    True
    >>> digest_of_voxels(scan) == digest_of_voxels(scan + 1)
    False
    """
    import numpy as np

    in_order = np.sort(np.asarray(voxels, '<f4'), axis=None)
    return f'voxels:{hashlib.sha256(in_order.tobytes()).hexdigest()[:32]}'


def write_digests(folder: Path, ignored: tuple[str, ...] = ()) -> None:
    """List the digests of all files below a folder in its `DIGESTS`.

    Parameters
    ----------
    folder : Path
    ignored : tuple of str
        Names of files and folders that may change.
    """
    found = {
        str(path.relative_to(folder)): digest_once(path)
        for path in _files(folder, folder, ignored)
    }
    write_whole(folder / DIGESTS, json.dumps(found, indent=0, sort_keys=True) + '\n')


def is_intact(folder: Path) -> bool:
    """Tell whether every file that `DIGESTS` lists is as it was; not where there is no list."""
    try:
        listed = read_object(folder / DIGESTS)
        return bool(listed) and all(
            digest_of(folder / name) == digest for name, digest in listed.items()
        )
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def _files(folder: Path, root: Path, ignored: tuple[str, ...]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in ignored or path == root / DIGESTS:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path, root, ignored)
        elif path.is_file():
            yield path
