"""One process at a time on one scan."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def alone(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock; where another process holds it, wait until it ends.

    The system gives the lock back when its process ends, however it ends. Where the file system
    knows no locks, or another user left the file, there is none to hold.

    Parameters
    ----------
    path : Path
        Of the lock's file, which is made, and removed at the end.
    waiting : callable
        Called once if another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    number = _take(path, waiting)
    try:
        yield
    finally:
        if number is not None:
            # While it is still held: who waits for it looks whether the file is still there
            path.unlink(missing_ok=True)
            os.close(number)


def _take(path: Path, waiting: Callable[[], None]) -> int | None:
    """Open and lock a file; None where it cannot be locked."""
    told = False
    while True:
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            return None
        # Linux passes these locks on to an NFS server
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                waiting()
            told = True
            fcntl.flock(number, fcntl.LOCK_EX)
        except OSError:
            os.close(number)
            return None
        if _is_there(path, number):
            return number
        os.close(number)


def _is_there(path: Path, number: int) -> bool:
    """Tell whether an open file still has its name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(number))
    except FileNotFoundError:
        return False
