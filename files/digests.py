"""Digests of files: what was changed, cut or filled with zeros since it was written is known."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from secondglance.files.atomic import write_whole
from secondglance.files.json_object import read_object

DIGESTS = 'digests.json'
"""Name of the file that lists the digests of a folder's files."""


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open('rb') as stream:
        return hashlib.file_digest(stream, 'sha256').hexdigest()


def write_digests(folder: Path, ignored: tuple[str, ...] = ()) -> None:
    """List the digests of all files below a folder in its `DIGESTS`.

    Parameters
    ----------
    folder : Path
    ignored : tuple of str
        Names of files and folders that may change.
    """
    found = {
        str(path.relative_to(folder)): digest_of(path) for path in _files(folder, folder, ignored)
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
