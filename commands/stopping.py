"""Ending a call that is told to stop: its other processes first, then itself, soon."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

STOPPED = 'secondglance: stopped; the same call goes on from here.'

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

LONGEST_SECONDS = 3.0
"""What still runs so long after a signal is left where it is."""


class Stopped(KeyboardInterrupt):
    """This process was told to stop.

    Attributes
    ----------
    code : int
        Exit code, as a shell gives it: 143 for TERM, 130 for Ctrl-C.
    """

    def __init__(self, number: int):
        super().__init__()
        self.code = 128 + number


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """Raise `Stopped` at the first signal to stop, once all processes below this one have ended.

    Only for a process that is all ours: no process below it is spared. A signal that is ignored
    already, as HUP by ``nohup``, stays so. As first process of a container, which the system
    spares unless it asks for signals, this one asks for them.
    """

    def stop(number: int, frame) -> None:
        # A second signal ends at once
        for other in taken:
            signal.signal(other, signal.SIG_DFL)
        watchdog = threading.Timer(LONGEST_SECONDS, _leave, [128 + number])
        watchdog.daemon = True
        watchdog.start()
        end_descendants()
        raise Stopped(number)

    taken = {number: signal.getsignal(number) for number in SIGNALS}
    taken = {number: before for number, before in taken.items() if before != signal.SIG_IGN}
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, before in taken.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, before)


def end_descendants() -> None:
    """Kill every process below this one; what they write appears whole or not at all.

    The tracker of what Python's processes share is spared: it ends with this one, in silence.
    """
    trackers = sys.modules.get('multiprocessing.resource_tracker')
    tracker = trackers._resource_tracker._pid if trackers else None
    for _ in range(20):
        below = [pid for pid in descendants(os.getpid()) if pid != tracker]
        if not below:
            return
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    """List the processes below one, parents first, as far as they still run."""
    children: dict[int, list[int]] = {}
    for path in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, parent = path.read_text().rpartition(')')[2].split()[:2]
            if state not in 'ZX':
                children.setdefault(int(parent), []).append(int(path.parent.name))
    found = children.get(pid, [])
    for other in found:
        found += children.get(other, [])
    return found


def _leave(code: int) -> None:
    print(STOPPED, file=sys.stderr, flush=True)
    os._exit(code)
