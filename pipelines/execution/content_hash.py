"""Hashes of files by content, each computed once as long as the file stays as it is."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from nipype.interfaces.base import specs
from nipype.utils.filemanip import hash_infile

from secondglance.files.digests import digest_once


def content_hash(
    path: str | os.PathLike[str],
    chunk_len: int = 1 << 20,
    crypto: Callable[[], object] = hashlib.md5,
    raise_notfound: bool = False,
) -> str:
    """Do as Nipype's ``hash_infile``, by the digest that the file is sealed with.

    The engine hashes every input of every node twice, so weights and stacks are read a dozen
    times a scan.
    """
    try:
        return digest_once(Path(path))
    except OSError:
        return hash_infile(path, chunk_len, crypto, raise_notfound)


def hash_once() -> None:
    """Have the engine use :func:`content_hash` in this process."""
    specs.hash_infile = content_hash
