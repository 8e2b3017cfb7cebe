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
    knows no locks, there is none to hold.

    Parameters
    ----------
    path : Path
        Of the lock's file, which is made and stays.
    waiting : callable
        Called once if another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # Linux passes these locks on to an NFS server
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(number, fcntl.LOCK_EX)
        except OSError:
            pass
        yield
    finally:
        os.close(number)
