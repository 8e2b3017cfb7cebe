"""Hashes of files by content, each computed once as long as the file stays as it is."""

import functools
import hashlib
import os
from collections.abc import Callable

from nipype.interfaces.base import specs
from nipype.utils.filemanip import hash_infile


@functools.lru_cache(maxsize=4096)
def _hash(path: str, stamp: tuple[int, ...], options: tuple) -> str:
    return hash_infile(path, *options)


def content_hash(
    path: str | os.PathLike[str],
    chunk_len: int = 1 << 20,
    crypto: Callable[[], object] = hashlib.md5,
    raise_notfound: bool = False,
) -> str:
    """Do as Nipype's ``hash_infile``, without reading again what has not changed.

    The engine hashes every input of every node twice, so weights and stacks are read a dozen
    times a scan.
    """
    try:
        about = os.stat(path)
    except OSError:
        return hash_infile(path, chunk_len, crypto, raise_notfound)
    stamp = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    return _hash(str(path), stamp, (chunk_len, crypto))


def hash_once() -> None:
    """Have the engine use :func:`content_hash` in this process; its hashes stay the same."""
    specs.hash_infile = content_hash
