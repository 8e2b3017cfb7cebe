"""Files that appear whole or not at all."""

import errno
import os
from pathlib import Path

_NO_ROOM = {
    errno.ENOSPC: 'The disk of {where} is full: make room',
    errno.EDQUOT: 'The quota of the disk of {where} is used up: make room',
    errno.EFBIG: 'A file in {where} would be larger than this process may write: raise ulimit -f',
}


def no_room(error: OSError, where: object) -> str | None:
    """Say that there is no room for a file, and what to do; None where that is not the error.

    Parameters
    ----------
    error : OSError
    where : path
        Named in the sentence.

    Examples
    --------
    >>> no_room(OSError(errno.ENOSPC, 'No space left on device'), '/out')
    'The disk of /out is full: make room, or choose another folder.'
    """
    said = _NO_ROOM.get(error.errno or 0)
    return f'{said.format(where=where)}, or choose another folder.' if said else None


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all, whoever else writes it.

    Parameters
    ----------
    path : Path
        Its folder is made if need be.
    text : str
        Written in UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.uname().nodename}.{os.getpid()}.partial')
    try:
        partial.write_text(text, encoding='utf-8')
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
